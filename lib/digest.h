// SPDX-License-Identifier: BSD-2-Clause
// Digests of blocks: XXH128 (XXH3, 128 bits, as `xxhsum -H128` prints it: fast, finds damage) and
// SHA-256 (as sha256sum prints it: finds forgery too). SHA-256 needs OpenSSL at build time.
#ifndef BLX_DIGEST_H
#define BLX_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "fault.h"

enum digest_algorithm { DIGEST_XXH128 = 1, DIGEST_SHA256 = 2 };

enum { DIGEST_MAX = 32, DIGEST_TEXT = 2 * DIGEST_MAX + 1 }; // bytes, and as text with its NUL

// "xxh128" or "sha256"; -1: neither.
int digest_parse_algorithm(const char *name, enum digest_algorithm *a);
const char *digest_name(enum digest_algorithm a);
size_t digest_size(enum digest_algorithm a); // bytes

struct digest; // one thread's

// NULL with the fault: no memory, or not built in (BLX_SYSTEM).
struct digest *digest_new(enum digest_algorithm a, struct fault *f);
void digest_free(struct digest *d);

// The digest of N bytes to OUT, digest_size() bytes.
void digest_of(struct digest *d, const void *p, size_t n, uint8_t *out);

// The same by pieces: digest_begin, digest_add as often as need be, digest_end.
void digest_begin(struct digest *d);
void digest_add(struct digest *d, const void *p, size_t n);
void digest_end(struct digest *d, uint8_t *out);

// Lower-case hexadecimal digits, and back; -1: not exactly the digits of N bytes.
void digest_format(const uint8_t *digest, size_t n, char text[DIGEST_TEXT]);
int digest_parse(const char *text, size_t n, uint8_t *digest);

// All N bytes are zero.
int digest_is_zero(const uint8_t *p, size_t n);

#endif
