// SPDX-License-Identifier: BSD-2-Clause
// Samples of a device's content, so that one that was written to while nobody tracked it is known
// again: both ends, where partitions begin and end, the place where the log of an xfs goes on, what
// was written last, and some of the rest.
#ifndef BLX_PRINTS_H
#define BLX_PRINTS_H

#include <stdio.h>

#include "delta.h"
#include "extents.h"
#include "kv.h"
#include "state.h"

// Write lines `print: OFFSET LENGTH CHECK`. ALL: its deltas; EXCEPT: ranges whose content does not
// count.
int prints_take(const struct tracked *t, struct delta *all, size_t n, const struct extents *except,
		FILE *to, struct fault *f);
// Is all as the lines in KV say? 1; 0, and where it is not.
int prints_compare(const struct tracked *t, const struct kv *kv, const struct extents *except,
		   uint64_t *differs, struct fault *f);

#endif
