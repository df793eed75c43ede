// SPDX-License-Identifier: BSD-2-Clause
// Blocks that a consumer lacks besides those of the deltas after its epoch: bitmaps in files of its
// own, extra.NAME.NUMBER. A file is whole before the consumer's record names it, and goes only
// after the record does not name it any more.
#ifndef BLX_EXTRA_H
#define BLX_EXTRA_H

#include "bitfile.h"
#include "extent.h"
#include "state.h"

struct extra_writer {
	const struct tracked *t;
	struct bitfile to; // without a name
	uint64_t first;    // of the chunk that is being filled, in words
	uint64_t words[BITFILE_CHUNK];
};

// Needs no lock: what is written belongs to nobody yet.
int extra_begin(struct extra_writer *w, const struct tracked *t, struct fault *f);
// The blocks that E touches; extents ascend.
int extra_add(struct extra_writer *w, struct extent e, struct fault *f);
// Instead: the blocks that N ascending extents touch, and what FROM (NULL: nothing) has from block
// FIRST on.
int extra_merge(struct extra_writer *w, const struct extent *e, size_t n, struct bitfile *from,
		uint64_t first, struct fault *f);
// After the last of either: what FROM has, too.
int extra_join(struct extra_writer *w, struct bitfile *from, struct fault *f);
// Under the lock: it is what C lacks besides, in place of an earlier one of this kind; none if
// nothing was added. The caller saves the record and tidies up then.
int extra_end(struct extra_writer *w, struct consumer *c, enum extra kind, struct fault *f);
// Instead of extra_end(), after a failure.
void extra_drop(struct extra_writer *w);

// 1; 0: there is none of this kind.
int extra_open(struct bitfile *b, const struct tracked *t, const struct consumer *c,
	       enum extra kind, struct fault *f);

// Remove the files of the consumer that its record does not name.
int extra_tidy(const struct tracked *t, const struct consumer *c, struct fault *f);

#endif
