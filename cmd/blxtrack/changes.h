// SPDX-License-Identifier: BSD-2-Clause
// What a consumer lacks, as a list: the union of the deltas after its position and the device from
// its cursor on.
#ifndef BLX_CHANGES_H
#define BLX_CHANGES_H

#include <stdio.h>

#include "delta.h"
#include "extent.h"
#include "extra.h"
#include "head.h"

struct changes {
	struct delta *deltas; // after the consumer's epoch; owned
	size_t ndeltas;
	struct bitmap live[2]; // preview only: what no flip has seen yet
	size_t nlive;
	struct bitfile extra[EXTRAS]; // fd -1: none of this kind
	struct head head;
	uint64_t after_partial; // below block partial_block only deltas after this epoch count
	uint64_t partial_block;
	uint64_t cursor_block; // from here on everything
	uint64_t blocks;
	uint32_t block; // bytes
};

// Under the lock, after a flip and its proof; STAMP is the flip's. The files stay readable when
// commits drop them, so printing needs no lock. MAX_BYTES limits the list (0: whole).
int changes_open(struct changes *ch, const struct tracked *t, const struct consumer *c,
		 const struct stamp *stamp, uint64_t max_bytes, struct fault *f);
// The same without a flip, live bitmaps included, as an anonymous list: a look, not something to
// ack.
int changes_preview(struct changes *ch, const struct kernel *k, struct tracked *t,
		    const struct consumer *c, struct fault *f);
void changes_close(struct changes *ch);

// Print the list. -1 with the fault.
int changes_print(struct changes *ch, FILE *to, struct fault *f);
// Bytes in it.
int changes_bytes(struct changes *ch, uint64_t *bytes, struct fault *f);

#endif
