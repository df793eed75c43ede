// SPDX-License-Identifier: BSD-2-Clause
// Bad sectors (--skip-bad): what cannot be read is found by halves, leaves as BAD frames, and is
// listed in a file.
#ifndef BLXREAD_SKIP_H
#define BLXREAD_SKIP_H

#include "emit.h"
#include "extlist.h"
#include "output.h"
#include "source.h"

struct skip {
	const char *name; // of the file; NULL: a bad sector is an error
	bool together;    // the file holds the lists of all epochs, not only of the last one
	const struct output *stream;
	struct output out;
	FILE *to; // NULL: not open
	struct extlist_writer list;
	uint8_t *buf;
};

// The file is made at once, so that a wrong name is told before anything is read. 0 or -1.
int skip_init(struct skip *k, const char *name, bool together, const struct output *stream,
	      struct fault *f);

// Is ERROR, of source_next(), of the medium there? Others (the device is gone) are never skipped.
bool skip_may(int error);

// E, of which a read has failed: what can be read of it goes to TO as it is, the rest as BAD.
// 0 or -1.
int skip_read(struct skip *k, const struct source *s, struct extent e, struct emit *to,
	      struct fault *f);

// Around each epoch. Nothing happens without a file. 0 or -1; end() tells how much was left out.
int skip_begin(struct skip *k, const struct head *h, struct fault *f);
int skip_end(struct skip *k, const struct source *s, struct fault *f);
// At the end of all: the file is durable and has its name; or dies.
void skip_finish(struct skip *k);

#endif
