// SPDX-License-Identifier: BSD-2-Clause
// The ways of blxls to show a stream, each a table of three functions that print to stdout.
#ifndef BLXLS_VIEW_H
#define BLXLS_VIEW_H

#include "ack.h"
#include "extents.h"
#include "extlist.h"
#include "stream.h"

// What has been shown so far; every view uses what it needs of it.
struct show {
	bool begun;     // something was printed
	bool begins;    // the frame is a stream's first
	uint64_t start; // of the stream in the input
	bool in_epoch;  // between HEAD and COMMIT (JSON)
	bool list_open; // the list of the epoch before still lacks its end line
	struct extlist_writer list;
	uint64_t packs;
	struct stream_counts epoch, total; // so far; no digests
	uint64_t epoch_bad;                // bytes of BAD in the epoch
	uint64_t bad, bad_bytes;           // BAD frames of all streams, counted by the caller
	bool has_ack;
	struct ack ack;        // of the last whole epoch
	struct extents unread; // its BAD frames (--ack)
	bool want_ack;         // --ack
	bool no_ack;           // a stream had none
	FILE *acks;            // of the streams so far; NULL: none
	char *acks_text;
	size_t acks_len;
};

struct view {
	bool packs; // frame() wants PACK frames too
	void (*frame)(struct show *s, const struct frame *fr, const struct head *h);
	// The stream is whole. BYTES is its length. 0, or -1 with the fault.
	int (*done)(struct show *s, uint64_t bytes, struct fault *f);
	// It is not: F says why, and goes to stderr afterwards.
	void (*failed)(struct show *s, uint64_t bytes, const struct fault *f);
};

extern const struct view view_list, view_verbose, view_json, view_check;

#endif
