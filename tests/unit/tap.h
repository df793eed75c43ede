// SPDX-License-Identifier: BSD-2-Clause
// TAP for unit tests: ok() for each assertion, done() as main's return value.
#ifndef BLX_TESTS_TAP_H
#define BLX_TESTS_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static int tap_count, tap_failed;

__attribute__((format(printf, 2, 3))) static inline bool ok(bool good, const char *fmt, ...)
{
	va_list ap;

	printf("%sok %d - ", good ? "" : "not ", ++tap_count);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	tap_failed += !good;
	return good;
}

// Print the plan; 0 if all was well, else 1.
static inline int done(void)
{
	printf("1..%d\n", tap_count);
	return tap_failed || !tap_count || fflush(stdout) ? 1 : 0;
}

#endif
