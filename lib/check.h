// SPDX-License-Identifier: BSD-2-Clause
// Checks of what blxtrack keeps, so that damage is told and never read: 64-bit XXH3.
#ifndef BLX_CHECK_H
#define BLX_CHECK_H

#include <stddef.h>
#include <stdint.h>

// Of N bytes; SEED: the check of what comes before them, 0 at the beginning.
uint64_t check_of(const void *p, size_t n, uint64_t seed);

// Text ends with a line of its own check, `end ` and 16 hexadecimal digits.
enum { CHECK_LINE = 21 }; // with its newline, without a NUL

// The line for N bytes of TEXT, with a NUL.
void check_line(const char *text, size_t n, char line[CHECK_LINE + 1]);
// Do the N bytes of TEXT, NUL-terminated, end with the line for what stands before it? 0 or -1.
int check_text(const char *text, size_t n);

#endif
