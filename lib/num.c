// SPDX-License-Identifier: BSD-2-Clause
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "num.h"

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 99;
}

static int refuse(int why)
{
	errno = why;
	return -1;
}

// The digits of S up to its end or, with END, up to the first byte that is none.
static int digits(const char *s, unsigned int base, uint64_t *v, const char **end)
{
	const char *p = s;
	uint64_t sum = 0;

	for (; digit(*p) < (int)base; p++) {
		if (__builtin_mul_overflow(sum, base, &sum) ||
		    __builtin_add_overflow(sum, (uint64_t)digit(*p), &sum))
			return refuse(ERANGE);
	}
	if (p == s || (base == 10 && *s == '0' && p - s > 1) || (*p && !end))
		return refuse(EINVAL);
	if (end)
		*end = p;
	*v = sum;
	return 0;
}

int num_u64(const char *s, uint64_t *v)
{
	return digits(s, 10, v, NULL);
}

int num_u64_hex(const char *s, uint64_t *v)
{
	if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))
		return digits(s + 2, 16, v, NULL);
	return num_u64(s, v);
}

static int scaled(const char *s, const char *units, const uint64_t *factor, uint64_t *v)
{
	const char *end;

	if (digits(s, 10, v, &end))
		return -1;
	if (!*end)
		return 0;
	const char *u = strchr(units, tolower((unsigned char)*end));
	if (!u || end[1])
		return refuse(EINVAL);
	if (__builtin_mul_overflow(*v, factor[u - units], v))
		return refuse(ERANGE);
	return 0;
}

int num_size(const char *s, uint64_t *v)
{
	static const uint64_t factor[] = {1ull << 10, 1ull << 20, 1ull << 30, 1ull << 40};

	return scaled(s, "kmgt", factor, v);
}

int num_seconds(const char *s, uint64_t *v)
{
	static const uint64_t factor[] = {1, 60, 3600, 86400};

	return scaled(s, "smhd", factor, v);
}

void num_time_text(int64_t t, char text[NUM_TIME_TEXT])
{
	struct tm tm;
	time_t tt = (time_t)t;

	gmtime_r(&tt, &tm);
	strftime(text, NUM_TIME_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

int num_time(const char *s, int64_t *t)
{
	struct tm tm = {0};
	char again[NUM_TIME_TEXT];
	const char *end = strptime(s, "%Y-%m-%dT%H:%M:%SZ", &tm);

	if (!end || *end || strlen(s) != 20)
		return refuse(EINVAL);
	*t = timegm(&tm);
	if (*t < 0 || *t > NUM_TIME_MAX)
		return refuse(ERANGE);
	num_time_text(*t, again); // strptime takes a 31st of February
	return strcmp(s, again) ? refuse(EINVAL) : 0;
}
