// SPDX-License-Identifier: BSD-2-Clause
// 128-bit names: the lineage of a tracking (a UUID) and the token of an epoch.
#ifndef BLX_TOKEN_H
#define BLX_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct token {
	uint8_t b[16];
};

enum { TOKEN_TEXT = 33, UUID_TEXT = 37 }; // buffer sizes with the final NUL

// 32 lower-case hexadecimal digits.
void token_format(const struct token *t, char text[TOKEN_TEXT]);
// Exactly 32 lower-case hexadecimal digits; else -1.
int token_parse(const char *text, struct token *t);

// 8-4-4-4-12 lower-case hexadecimal digits.
void uuid_format(const struct token *t, char text[UUID_TEXT]);
int uuid_parse(const char *text, struct token *t);

bool token_equal(const struct token *a, const struct token *b);

// A fresh token: getrandom(2) hashed (XXH3-128) with the clocks, the cycle counter, the pid and the
// N bytes at SALT. A machine set back to a snapshot may draw the same random numbers again; it does
// not see the same clocks and content. 0, or -1 with errno from getrandom(2).
int token_make(struct token *t, const void *salt, size_t n);

// The same as a version 4 UUID (RFC 9562).
int uuid_make(struct token *t);

#endif
