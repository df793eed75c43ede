// SPDX-License-Identifier: BSD-2-Clause
// Numbers from text, strictly: the whole string must be the number; no sign, no blank, no overflow.
#ifndef BLX_NUM_H
#define BLX_NUM_H

#include <stdint.h>

// Decimal digits only, no leading zero but "0" itself. 0, or -1 with errno EINVAL or ERANGE.
int num_u64(const char *s, uint64_t *v);

// Decimal, or hexadecimal with 0x.
int num_u64_hex(const char *s, uint64_t *v);

// A size in bytes: decimal with an optional K, M, G or T (powers of 1024; k, m, g, t too).
int num_size(const char *s, uint64_t *v);

// A duration in seconds: decimal with an optional s, m, h or d.
int num_seconds(const char *s, uint64_t *v);

// A time in UTC as 2026-01-02T03:04:05Z, from and to seconds since 1970.
enum { NUM_TIME_TEXT = 32 };
static const int64_t NUM_TIME_MAX = 253402300799; // 9999-12-31T23:59:59Z
int num_time(const char *s, int64_t *t);
void num_time_text(int64_t t, char text[NUM_TIME_TEXT]);

#endif
