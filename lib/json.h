// SPDX-License-Identifier: BSD-2-Clause
// The one thing about writing JSON that is easy to get wrong.
#ifndef BLX_JSON_H
#define BLX_JSON_H

#include <stdio.h>

// S in quotes, what must be escaped escaped; bytes that are no UTF-8 are the caller's business. S
// NULL: null.
void json_string(FILE *to, const char *s);

#endif
