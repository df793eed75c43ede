// SPDX-License-Identifier: BSD-2-Clause
// Ranges of a device that may be written while no kernel tracks it: by the firmware, by the boot
// loader, and by blxtrack when it saves its state there. After a restore they count as changed.
#ifndef BLX_PENDING_H
#define BLX_PENDING_H

#include "extents.h"
#include "store.h"

// PATHS: what was named, N files or partitions. ON: the store, if it lies on the device; NULL. ALL
// is to be freed. BLX_USAGE: a boot loader that keeps something, nobody knows where.
int pending_find(const struct blkdev *d, char *const *paths, size_t n, const struct store *on,
		 struct extents *all, struct fault *f);

#endif
