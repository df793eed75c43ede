// SPDX-License-Identifier: BSD-2-Clause
// What is read: a block device (O_DIRECT) or a regular file.
#ifndef BLX_SOURCE_H
#define BLX_SOURCE_H

#include <stdbool.h>
#include <sys/stat.h>

#include "blkdev.h"
#include "extent.h"
#include "head.h"
#include "readahead.h"

struct source {
	int fd; // -1: not open
	// To be set before opening: read files with O_DIRECT too, where they can be; and holes of
	// files are told apart by this many bytes (a power of two up to READAHEAD_MAX; 0: exactly).
	bool direct;
	uint32_t grain;
	bool is_device;
	struct blkdev dev;   // of a device
	uint64_t size;       // bytes
	char name[256];      // for words
	uint64_t data, hole; // of a file: [data, hole) is known to hold data, what is before data
			     // is a hole
	struct readahead *ahead;
};

// Open PATH, whatever it is. 0 or -1.
int source_open(struct source *s, const char *path, bool threads, struct fault *f);

// Open the device that the list is of, by its number, or by PATH if not NULL, and check that it
// still is what the list describes. A source that is open already is only checked. 0 or -1
// (BLX_TARGET).
int source_open_listed(struct source *s, const struct head *h, const char *path, bool threads,
		       struct fault *f);

// OTHER is what is read, or the file below the loop device that is read.
bool source_is(const struct source *s, const struct stat *other);

// Before the first extent of a list: what is known of holes is forgotten.
void source_rewind(struct source *s);

// Queue as much of *E as there is room for, and take it off *E. 0 or -1.
int source_queue(struct source *s, struct extent *e, struct fault *f);

// The oldest chunk, to be released with readahead_release(): 1, 0: none, -1.
int source_next(struct source *s, struct readahead_chunk *c, struct fault *f);

void source_close(struct source *s);

#endif
