// SPDX-License-Identifier: BSD-2-Clause
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "bytes.h"
#include "token.h"

static void hex(const uint8_t *b, size_t n, char *out)
{
	for (size_t i = 0; i < n; i++) {
		out[2 * i] = "0123456789abcdef"[b[i] >> 4];
		out[2 * i + 1] = "0123456789abcdef"[b[i] & 15];
	}
	out[2 * n] = 0;
}

void token_format(const struct token *t, char text[TOKEN_TEXT])
{
	hex(t->b, 16, text);
}

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

int token_parse(const char *text, struct token *t)
{
	for (size_t i = 0; i < 16; i++) {
		int hi = nibble(text[2 * i]), lo = hi < 0 ? -1 : nibble(text[2 * i + 1]);
		if (lo < 0)
			return -1;
		t->b[i] = (uint8_t)(hi << 4 | lo);
	}
	return text[32] ? -1 : 0;
}

void uuid_format(const struct token *t, char text[UUID_TEXT])
{
	static const uint8_t group[] = {4, 2, 2, 2, 6};
	const uint8_t *b = t->b;

	for (size_t i = 0; i < sizeof(group); i++) {
		hex(b, group[i], text);
		text += 2 * group[i];
		b += group[i];
		*text++ = i + 1 < sizeof(group) ? '-' : 0;
	}
}

int uuid_parse(const char *text, struct token *t)
{
	char plain[TOKEN_TEXT];

	if (strlen(text) != UUID_TEXT - 1)
		return -1;
	for (size_t i = 0, n = 0; i < UUID_TEXT; i++) {
		if (i == 8 || i == 13 || i == 18 || i == 23) {
			if (text[i] != '-')
				return -1;
		} else {
			plain[n++] = text[i];
		}
	}
	return token_parse(plain, t);
}

bool token_equal(const struct token *a, const struct token *b)
{
	return !memcmp(a->b, b->b, sizeof(a->b));
}

static uint64_t cycles(void)
{
#if defined(__x86_64__) || defined(__i386__)
	return __builtin_ia32_rdtsc();
#else
	return 0;
#endif
}

int token_make(struct token *t, const void *salt, size_t n)
{
	struct {
		uint8_t random[32];
		struct timespec wall, mono, boot;
		uint64_t cycles, pid;
		XXH128_hash_t salt;
	} seed;

	memset(&seed, 0, sizeof(seed));
	if (getrandom(seed.random, sizeof(seed.random), 0) != sizeof(seed.random))
		return -1;
	clock_gettime(CLOCK_REALTIME, &seed.wall);
	clock_gettime(CLOCK_MONOTONIC_RAW, &seed.mono);
	clock_gettime(CLOCK_BOOTTIME, &seed.boot);
	seed.cycles = cycles();
	seed.pid = (uint64_t)getpid();
	seed.salt = XXH3_128bits(salt, n);
	XXH128_hash_t h = XXH3_128bits(&seed, sizeof(seed));
	put_le64(t->b, h.low64);
	put_le64(t->b + 8, h.high64);
	return 0;
}

int uuid_make(struct token *t)
{
	if (token_make(t, NULL, 0))
		return -1;
	t->b[6] = (uint8_t)((t->b[6] & 0x0f) | 0x40);
	t->b[8] = (uint8_t)((t->b[8] & 0x3f) | 0x80);
	return 0;
}
