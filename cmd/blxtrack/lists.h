// SPDX-License-Identifier: BSD-2-Clause
// The lists of one drain: of one device, or of several from one instant.
#ifndef BLX_LISTS_H
#define BLX_LISTS_H

#include "blxtrack.h"
#include "options.h"

struct lists {
	struct changes *each; // parallel to the session's want
	size_t n;
};

// Flip, prove, and find what the consumer lacks of each of the session's devices; several are a
// group. With o->preview nothing is flipped, and the session must stay open until the lists are
// closed. -1: not of any device (lost is BLX_RESYNC; two with one label BLX_USAGE).
int lists_prepare(struct lists *l, struct session *s, const struct options *o, struct fault *f);
void lists_close(struct lists *l);

// Write each to DIR/LABEL.extents, all before any gets its name. DIR exists or is made. BLX_BUSY
// if another one writes there.
int lists_write(struct lists *l, const char *dir, struct fault *f);
// The same in an open directory that nobody else writes to.
int lists_write_at(struct lists *l, int dirfd, const char *dir, struct fault *f);

#endif
