// SPDX-License-Identifier: BSD-2-Clause
// A replica's image, its state and the digests beside it, seen together while blxapply may be at
// work: no lock is held, but what was read is of this state if view_same() afterwards. blxapply
// says in the state that it writes before it does, and a state never comes twice.
#ifndef BLXSUM_VIEW_H
#define BLXSUM_VIEW_H

#include "digestfile.h"
#include "fault.h"
#include "replica.h"
#include "target.h"

struct view {
	struct target target;
	struct replica state; // complete, and the image as it says
	struct digestfile digests;
	int image; // O_DIRECT where that is possible
};

void view_init(struct view *v);
// Look, anew if it was open; waits while an epoch is being put in place. 0, or -1: no replica, an
// incomplete, changed or promoted one, or none whose digests are kept (BLX_TARGET).
int view_open(struct view *v, const char *path, struct fault *f);
bool view_same(const struct view *v);
void view_close(struct view *v);

#endif
