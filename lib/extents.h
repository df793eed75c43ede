// SPDX-License-Identifier: BSD-2-Clause
// A growing array of byte ranges.
#ifndef BLX_EXTENTS_H
#define BLX_EXTENTS_H

#include <stddef.h>

#include "extent.h"

// All zero: empty, nothing to free.
struct extents {
	struct extent *e;
	size_t n, room;
};

// Append. 0, or -1 with errno: ENOMEM, or E2BIG if there are MAX.
int extents_add(struct extents *s, struct extent e, size_t max);
void extents_free(struct extents *s);
// Sum of the lengths.
uint64_t extents_bytes(const struct extents *s);

#endif
