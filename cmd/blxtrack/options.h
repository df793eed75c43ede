// SPDX-License-Identifier: BSD-2-Clause
// What drain, commit and run have in common on their command lines.
#ifndef BLX_OPTIONS_H
#define BLX_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct options {
	const char *consumer;
	const char *output; // directory, or NULL
	bool preview;
	uint64_t max, every, timeout; // 0: not given
};

// TAKES: the letters of those that the command has: c consumer, n preview, o output, m max, e
// every, t timeout; a + before them: they stand before the first device. USAGE prints its help.
// Dies at a wrong one.
struct options parse_options(int argc, char **argv, const char *takes, void (*usage)(FILE *to));

#endif
