// SPDX-License-Identifier: BSD-2-Clause
// The trees of a few sections at once, made by a thread of their own in the order in which they are
// wanted, from a source that is read once.
#ifndef BLX_FOREST_H
#define BLX_FOREST_H

#include "blxsum.h"
#include "tree.h"

struct forest;

// LIMIT: nothing from there on is read. PROGRESS: NULL, or drawn by the thread. SOURCE and PROGRESS
// stay the caller's. NULL with the fault.
struct forest *forest_new(struct source *source, enum digest_algorithm a, uint64_t limit,
			  uint64_t rate, struct progress *progress, struct fault *f);
// Joins the thread.
void forest_free(struct forest *t);

// An eventfd, raised when there is something for forest_ready().
int forest_wake(const struct forest *t);
// Want a section: leaves as N bytes of ranges of a WANT (lib/treemsg), none: all. They must begin
// below LIMIT. -1 (BLX_CORRUPT): TREE_WINDOW sections are wanted already, one that is not before
// this one was, or it is beyond the limit.
int forest_want(struct forest *t, uint32_t section, const uint8_t *ranges, uint32_t n,
		struct fault *f);
// The next section whose tree has become ready, in the order wanted: 1; 0: none yet; -1: reading
// failed.
int forest_ready(struct forest *t, uint32_t *section, struct fault *f);
// The tree of a section that forest_ready() has named and that is still wanted, or NULL.
const struct tree *forest_tree(struct forest *t, uint32_t section);
// It is not wanted any more. -1 (BLX_CORRUPT): it was not, or forest_ready() has not named it.
int forest_drop(struct forest *t, uint32_t section, struct fault *f);
// Something was read since the last call, or nothing is to be. ARG is the forest.
bool forest_moving(void *arg);

#endif
