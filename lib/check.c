// SPDX-License-Identifier: BSD-2-Clause
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "check.h"

uint64_t check_of(const void *p, size_t n, uint64_t seed)
{
	return XXH3_64bits_withSeed(p, n, seed);
}

void check_line(const char *text, size_t n, char line[CHECK_LINE + 1])
{
	snprintf(line, CHECK_LINE + 1, "end %016" PRIx64 "\n", check_of(text, n, 0));
}

int check_text(const char *text, size_t n)
{
	char line[CHECK_LINE + 1];

	if (n < CHECK_LINE)
		return -1;
	check_line(text, n - CHECK_LINE, line);
	return memcmp(text + n - CHECK_LINE, line, CHECK_LINE) ? -1 : 0;
}
