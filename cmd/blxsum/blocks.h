// SPDX-License-Identifier: BSD-2-Clause
// Digests of a source's blocks: read ahead, digested by several threads, handed out in order.
#ifndef BLX_BLOCKS_H
#define BLX_BLOCKS_H

#include "digest.h"
#include "source.h"

// Whole blocks, but for the source's end: one read's, or a hole of any length.
struct blocks_result {
	uint64_t offset, length;
	bool hole;              // all zero, and there are no digests
	const uint8_t *digests; // digest_size() bytes for each block, but for those that are zero
	const bool *zero;
};

struct blocks;

// Blocks are of BLOCK bytes, a power of two from 4096 to READAHEAD_MAX. SOURCE stays the caller's
// and must be closed later than the blocks are freed. NULL with the fault.
struct blocks *blocks_new(struct source *source, enum digest_algorithm a, uint32_t block,
			  struct fault *f);
void blocks_free(struct blocks *b);

// Queue as much of *E, which begins where a block does, as there is room for, and take it off *E. 0
// or -1.
int blocks_queue(struct blocks *b, struct extent *e, struct fault *f);
// Wait for the oldest result; valid until it is released. 1; 0: nothing is queued; -1.
int blocks_next(struct blocks *b, struct blocks_result *r, struct fault *f);
void blocks_release(struct blocks *b);

#endif
