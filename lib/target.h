// SPDX-License-Identifier: BSD-2-Clause
// Where a replica is: an image or a block device, the directory of its state (lib/replica), the
// lock on it, and what the image itself looks like. All return 0, or -1 with the fault.
#ifndef BLX_TARGET_H
#define BLX_TARGET_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "blkdev.h"
#include "fault.h"
#include "replica.h"

struct target {
	char path[PATH_MAX];   // links resolved
	char parent[PATH_MAX]; // directory of an image
	char dir[PATH_MAX];    // state directory: IMAGE.blx, or by stable id below /var/lib/blx
	bool block, exists;
	bool made, made_parent; // the state directory (and its parent) by this run
	struct blkdev dev;      // block only
	int fd, dirfd, lockfd;  // -1: not open
};

// Look, touch nothing. What does not exist yet (exists false) is an image in a directory that does.
// BLX_TARGET: neither an image nor a block device.
int target_find(struct target *t, const char *name, struct fault *f);
// Open the state directory (MAKE: and make it if need be); dirfd stays -1 if there is none.
int target_open_dir(struct target *t, bool make, struct fault *f);
// Make the state directory and hold its lock until target_close(); BLX_BUSY if another holds it.
int target_lock(struct target *t, struct fault *f);
// Let go of everything; a state directory that this run made and left empty is removed.
void target_close(struct target *t);

// Open what exists for writing; refuse (BLX_TARGET) what is mounted, attached or locked. Sets fd
// and exists.
int target_open(struct target *t, struct fault *f);
// Is the image in use by a loop device? The fault says which.
int target_in_use(const struct target *t, int fd, struct fault *f);

// What it looks like now (block: makes others' dirty pages count first if it is open).
int target_stamp(const struct target *t, struct replica_image *m, struct fault *f);
// Has the machine been started anew since the state was written? If it cannot be told: yes.
bool target_rebooted(const struct replica *r);
// Why the image is not what the state says, in WHY; "" if all is well. R NULL is well.
int target_compare(const struct target *t, const struct replica *r, char *why, size_t n,
		   struct fault *f);

#endif
