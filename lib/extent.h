// SPDX-License-Identifier: BSD-2-Clause
// A byte range.
#ifndef BLX_EXTENT_H
#define BLX_EXTENT_H

#include <stdint.h>

struct extent {
	uint64_t offset; // bytes
	uint64_t length; // bytes, never 0; offset + length never overflows
};

#endif
