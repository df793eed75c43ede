// SPDX-License-Identifier: BSD-2-Clause
// Where saved state lies: a file; a block device; or fixed ranges of a block device (of a file that
// was allocated before), which can be read where the file system cannot be mounted yet. In pages.
#ifndef BLX_STORE_H
#define BLX_STORE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "blkdev.h"
#include "extents.h"
#include "fault.h"

#define STORE_MAGIC "BLXSAVE1"
enum { STORE_PAGE = 4096, STORE_NAME = PATH_MAX };

struct store {
	char name[STORE_NAME]; // as it was given
	bool raw;              // ranges of a device, not a file
	bool whole;            // all of a device
	bool replaces;         // a file that is written beside and renamed
	int fd;                // -1: not open
	struct blkdev dev;     // raw
	struct extents at;     // raw: ranges of the device, in the order of what they hold
	uint64_t room;         // bytes; UINT64_MAX: as much as there is
};

// NAME: a file, a block device, or DEVICE@OFFSET+LENGTH[,OFFSET+LENGTH...]. Touches nothing.
int store_find(struct store *s, const char *name, struct fault *f);
// The same, of a file on a file system that lies on DEV: by the ranges that the file has there, so
// that the file system is not needed. BLX_TARGET: it has none, or they may move.
int store_map(struct store *s, const char *file, const struct blkdev *dev, struct fault *f);
// As store_find() takes it, into the N bytes at TEXT.
int store_spell(const struct store *s, char *text, size_t n, struct fault *f);
void store_close(struct store *s);

// May it be written to, for SAVED? BLX_BUSY: it is in use; BLX_TARGET: it holds something else.
int store_check(const struct store *s, const struct blkdev *saved, struct fault *f);
// Open to write anew: what was there is no saved state any more.
int store_begin(struct store *s, struct fault *f);
// Open what is there. 0; 1: there is nothing.
int store_open(struct store *s, struct fault *f);

// N bytes (whole pages, page-aligned memory) at byte OFF.
int store_write(struct store *s, const void *buf, size_t n, uint64_t off, struct fault *f);
// Bytes read, fewer at the end.
ssize_t store_read(const struct store *s, void *buf, size_t n, uint64_t off, struct fault *f);
// What was written is durable.
int store_sync(const struct store *s, struct fault *f);
// All of it is, under its name.
int store_end(struct store *s, struct fault *f);

// A figure of where it lies, when it is open.
uint64_t store_place(const struct store *s);

#endif
