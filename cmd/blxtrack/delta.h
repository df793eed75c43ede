// SPDX-License-Identifier: BSD-2-Clause
// Deltas: one immutable file per flip and device with the blocks that changed since the flip
// before. A sparse bitmap; neighbours may be merged, then the file counts as its last number and
// keeps every token.
// The stamps, the file's records: epoch u64, size u64, time i64, after u64, token 16 bytes; oldest
// first.
#ifndef BLX_DELTA_H
#define BLX_DELTA_H

#include "bitfile.h"
#include "kernel.h"
#include "state.h"

struct stamp {
	uint64_t epoch;
	uint64_t size;  // of the device, bytes, when it was cut
	int64_t time;   // when it was cut, seconds since 1970
	uint64_t after; // epoch of the delta before; 0: none
	struct token token;
};

struct delta {
	uint64_t epoch; // the last stamp's
	struct bitfile bits;
	struct stamp *stamps; // malloc'ed
	size_t nstamps;
};

// Write the bitmap as delta EPOCH with a fresh token, by rename. An existing delta is never written
// again (EEXIST). The bitmap is only read.
int delta_write(const struct tracked *t, uint64_t epoch, const struct bitmap *b,
		struct stamp *stamp, struct fault *f);

// All deltas of a device after epoch AFTER, ascending, opened; malloc'ed. BLX_RESYNC if one of them
// is damaged, or gone.
int delta_all(const struct tracked *t, uint64_t after, struct delta **all, size_t *n,
	      struct fault *f);
void delta_all_free(struct delta *all, size_t n);

// How many there are.
int delta_count(const struct tracked *t, size_t *n, struct fault *f);

// Drop those with numbers up to and including EPOCH.
int delta_drop(const struct tracked *t, uint64_t epoch, struct fault *f);
// While there are more than MAX, merge pairs of neighbours (one pass: at least half of them are
// left).
int delta_merge(const struct tracked *t, size_t max, struct fault *f);

// The stamp with TOKEN, or NULL.
const struct stamp *delta_stamp(const struct delta *all, size_t n, const struct token *token);

#endif
