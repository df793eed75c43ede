// SPDX-License-Identifier: BSD-2-Clause
// Which ranges of its device a file has, which devices lie below a file system, and who has a
// device in use.
#ifndef BLX_FSMAP_H
#define BLX_FSMAP_H

#include <stdbool.h>
#include <sys/types.h>

#include "blkdev.h"
#include "extents.h"
#include "fault.h"

// Ranges of the device that the file system lies on, in the order of the file; to be freed.
// BLX_TARGET: a file system that moves what is written (all but ext2/3/4 and xfs), or a file that
// has holes, shares blocks, or is not on the disk yet.
int fsmap_file(const char *path, struct extents *all, struct fault *f);

// The number of the file system that PATH, or the nearest directory above it, is on. 0, or -1 with
// errno.
int fsmap_home(const char *path, dev_t *home);

// The block device that the file system of PATH (or of the nearest directory above it that is
// there) lies on: 1; 0: it lies on none that outlives a reboot and could be tracked (nfs); a tmpfs
// is BLX_TARGET.
int fsmap_device(const char *path, struct blkdev *d, struct fault *f);

// Does D lie on the same sectors as TO, or, through device-mapper, md or loop, on some of them?
enum below { BELOW_NOT, BELOW_DIRECT, BELOW_THROUGH };
enum below fsmap_below(const struct blkdev *d, const struct blkdev *to);

// Have nobody write to it: the descriptor that claims it (to be closed); or, if all that has it is
// file systems that are mounted read-only, one that claims nothing. BLX_BUSY: who has it.
int fsmap_claim(const struct blkdev *d, struct fault *f);

#endif
