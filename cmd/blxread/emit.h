// SPDX-License-Identifier: BSD-2-Clause
// Chunks into frames: runs of zeroes become ZERO, the rest DATA; and BAD for what has no chunk.
#ifndef BLX_EMIT_H
#define BLX_EMIT_H

#include "extent.h"
#include "progress.h"
#include "rate.h"
#include "readahead.h"
#include "stream.h"

struct emit {
	struct stream_writer *to;
	struct rate rate; // of DATA
	struct progress progress;
	struct extent run; // not yet written, as what follows may go on with it: zeroes, or
	bool bad;          // what could not be read
};

// Each 0, or -1 with errno of the write.
int emit_chunk(struct emit *e, const struct readahead_chunk *c);
int emit_bad(struct emit *e, uint64_t offset, uint64_t n);
int emit_flush(struct emit *e); // the run

#endif
