// SPDX-License-Identifier: BSD-2-Clause
// The one module that sees the algorithms of block digests. A failure of OpenSSL's after the first
// digest would be one of memory: it ends the program, as no digest may be wrong.
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>
#ifdef HAVE_OPENSSL
#include <openssl/evp.h>
#endif

#include "digest.h"

struct digest {
	enum digest_algorithm algorithm;
	XXH3_state_t *xxh;
#ifdef HAVE_OPENSSL
	EVP_MD *sha;
	EVP_MD_CTX *ctx;
#endif
};

static const char *const names[] = {[DIGEST_XXH128] = "xxh128", [DIGEST_SHA256] = "sha256"};

int digest_parse_algorithm(const char *name, enum digest_algorithm *a)
{
	for (int i = DIGEST_XXH128; i <= DIGEST_SHA256; i++)
		if (!strcmp(name, names[i])) {
			*a = (enum digest_algorithm)i;
			return 0;
		}
	return -1;
}

const char *digest_name(enum digest_algorithm a)
{
	return names[a];
}

size_t digest_size(enum digest_algorithm a)
{
	return a == DIGEST_SHA256 ? 32 : 16;
}

// ---- SHA-256

#ifdef HAVE_OPENSSL
static int sha_new(struct digest *d, struct fault *f)
{
	d->sha = EVP_MD_fetch(NULL, "SHA256", NULL);
	d->ctx = EVP_MD_CTX_new();
	if (!d->sha || !d->ctx || !EVP_DigestInit_ex2(d->ctx, d->sha, NULL))
		return fault_set(f, BLX_SYSTEM, "sha256: OpenSSL does not offer it");
	return 0;
}

static void sha_free(struct digest *d)
{
	EVP_MD_CTX_free(d->ctx);
	EVP_MD_free(d->sha);
}

static void sure(int good)
{
	if (!good)
		__builtin_trap();
}

static void sha_begin(struct digest *d)
{
	sure(EVP_DigestInit_ex2(d->ctx, d->sha, NULL));
}

static void sha_add(struct digest *d, const void *p, size_t n)
{
	sure(EVP_DigestUpdate(d->ctx, p, n));
}

static void sha_end(struct digest *d, uint8_t *out)
{
	sure(EVP_DigestFinal_ex(d->ctx, out, NULL));
}
#else
static int sha_new(struct digest *d, struct fault *f)
{
	(void)d;
	return fault_set(f, BLX_SYSTEM, "sha256: built without OpenSSL");
}

static void sha_free(struct digest *d)
{
	(void)d;
}

static void sha_begin(struct digest *d)
{
	(void)d;
}

static void sha_add(struct digest *d, const void *p, size_t n)
{
	(void)d, (void)p, (void)n;
}

static void sha_end(struct digest *d, uint8_t *out)
{
	(void)d, (void)out;
}
#endif

// ---- both

struct digest *digest_new(enum digest_algorithm a, struct fault *f)
{
	struct digest *d = calloc(1, sizeof(*d));
	bool good = d;

	if (d) {
		d->algorithm = a;
		d->xxh = XXH3_createState();
		good = d->xxh;
	}
	if (!good) {
		errno = ENOMEM;
		fault_errno(f, "digest");
	}
	if (good && (a != DIGEST_SHA256 || !sha_new(d, f)))
		return d;
	digest_free(d);
	return NULL;
}

void digest_free(struct digest *d)
{
	if (!d)
		return;
	if (d->algorithm == DIGEST_SHA256)
		sha_free(d);
	XXH3_freeState(d->xxh);
	free(d);
}

static void put_xxh(XXH128_hash_t h, uint8_t *out)
{
	XXH128_canonical_t c;

	XXH128_canonicalFromHash(&c, h);
	memcpy(out, c.digest, sizeof(c.digest));
}

void digest_of(struct digest *d, const void *p, size_t n, uint8_t *out)
{
	if (d->algorithm == DIGEST_XXH128) {
		put_xxh(XXH3_128bits(p, n), out);
		return;
	}
	sha_begin(d);
	sha_add(d, p, n);
	sha_end(d, out);
}

void digest_begin(struct digest *d)
{
	if (d->algorithm == DIGEST_XXH128)
		XXH3_128bits_reset(d->xxh);
	else
		sha_begin(d);
}

void digest_add(struct digest *d, const void *p, size_t n)
{
	if (d->algorithm == DIGEST_XXH128)
		XXH3_128bits_update(d->xxh, p, n);
	else
		sha_add(d, p, n);
}

void digest_end(struct digest *d, uint8_t *out)
{
	if (d->algorithm == DIGEST_XXH128)
		put_xxh(XXH3_128bits_digest(d->xxh), out);
	else
		sha_end(d, out);
}

// ---- text

static const char digits[] = "0123456789abcdef";

void digest_format(const uint8_t *digest, size_t n, char text[DIGEST_TEXT])
{
	for (size_t i = 0; i < n; i++) {
		text[2 * i] = digits[digest[i] >> 4];
		text[2 * i + 1] = digits[digest[i] & 15];
	}
	text[2 * n] = 0;
}

int digest_parse(const char *text, size_t n, uint8_t *digest)
{
	if (strlen(text) != 2 * n || strspn(text, digits) != 2 * n)
		return -1;
	for (size_t i = 0; i < n; i++) {
		long high = strchr(digits, text[2 * i]) - digits;
		long low = strchr(digits, text[2 * i + 1]) - digits;
		digest[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

int digest_is_zero(const uint8_t *p, size_t n)
{
	size_t first = n < 16 ? n : 16;

	for (size_t i = 0; i < first; i++)
		if (p[i])
			return 0;
	return !memcmp(p, p + first, n - first);
}
