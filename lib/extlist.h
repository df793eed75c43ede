// SPDX-License-Identifier: BSD-2-Clause
// Extent lists (blx-extents(5)): header, `OFFSET LENGTH` lines ascending and coalesced, end line
// with the counts.
#ifndef BLX_EXTLIST_H
#define BLX_EXTLIST_H

#include <stdio.h>

#include "extent.h"
#include "fault.h"
#include "head.h"

// ---- reading

struct extlist_reader;

// FD stays the caller's. NULL with errno.
struct extlist_reader *extlist_reader_new(int fd);
void extlist_reader_free(struct extlist_reader *r);
// Notice that OUT has no reader any more while waiting for a list (io_wait_input).
void extlist_reader_watch(struct extlist_reader *r, int out);

// The next list's header: 1, valid in *h until the call after next that returns a header; 0: input
// ended after at least one whole list; -1 (empty input is BLX_CORRUPT).
int extlist_head(struct extlist_reader *r, const struct head **h, struct fault *f);

// The next extent of the list: 1; 0: the end line came and its counts agree; -1: not ascending, not
// coalesced, beyond size or limit, cut, not a number (the fault names the line).
int extlist_next(struct extlist_reader *r, struct extent *e, struct fault *f);

// A hand-written list (--plain): no header needed, `#` lines and blank lines skipped, any order,
// overlaps, decimal or 0x; more columns are ignored. Returns all of it sorted and merged,
// malloc'ed, in *e and *n; a range that ends beyond SIZE is BLX_TARGET. At most 2 Mi extents after
// merging (BLX_USAGE says so). Input without a single extent is BLX_CORRUPT.
int extlist_plain(int fd, uint64_t size, struct extent **e, size_t *n, struct fault *f);

// ---- writing

struct extlist_writer {
	FILE *to;
	struct extent run; // not yet written: the next extent may touch it
	uint64_t count, bytes;
};

// Each returns 0, or -1 with errno from stdio. put() takes ascending extents and coalesces
// neighbours that touch; overlap or disorder is EINVAL. end() flushes.
int extlist_begin(struct extlist_writer *w, FILE *to, const struct head *h);
int extlist_put(struct extlist_writer *w, struct extent e);
int extlist_end(struct extlist_writer *w);

#endif
