// SPDX-License-Identifier: BSD-2-Clause
// Say no by name to what cannot be tracked.
#ifndef BLX_TRACKABLE_H
#define BLX_TRACKABLE_H

#include "blkdev.h"
#include "fault.h"
#include "kernel.h"

// By what its writes are seen. NVMe heads have no queue of their own; their paths are hidden disks.
enum way trackable_way(const struct blkdev *d);
// Bytes of kernel memory that tracking it in blocks of BLOCK bytes takes.
uint64_t trackable_memory(const struct blkdev *d, uint32_t block);
// BLX_TARGET: what it is; BLX_USAGE: the block is too small; BLX_SYSTEM: there is no memory for it.
int trackable_check(const struct blkdev *d, uint32_t block, struct fault *f);

#endif
