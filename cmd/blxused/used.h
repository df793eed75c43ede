// SPDX-License-Identifier: BSD-2-Clause
// blxused's parts: who knows what is free, and what follows from it.
#ifndef BLXUSED_USED_H
#define BLXUSED_USED_H

#include "blkdev.h"
#include "extlist.h"

// The list that is being printed: everything that was not said to be free.
struct used {
	struct blkdev dev;
	struct head head;
	bool begun; // the header was printed: when something was found to be free
	struct extlist_writer list;
	uint64_t at; // bytes: what is before has been settled
};

// [OFFSET, OFFSET + LENGTH), bytes of the device, is free. Ascending; what comes late, or lies
// beyond the device, changes nothing: it counts as used. Dies if the list cannot be written.
void used_free(struct used *u, uint64_t offset, uint64_t length);

// Each tells used_free() of all that is free, and returns 0 or -1 (BLX_TARGET: this cannot be known
// here, and why).

// By the kernel, of the file system that FD is on.
int mounted_free(struct used *u, int fd, const char *name, struct fault *f);
// By the file system's tools, of what lies on the device FD, which nobody else has open.
int unmounted_free(struct used *u, int fd, const char *name, struct fault *f);

// A file on what is mounted from the device here: its descriptor; -1 with errno 0: nothing is.
int mount_open(const struct blkdev *d);

// A program whose standard output is read; its standard error is not shown.
struct tool {
	int pid;
	FILE *out;
};

int tool_start(struct tool *t, const char *const argv[], struct fault *f);
// Its exit status; 128 and more: it was killed. What it still wants to say is not waited for.
int tool_end(struct tool *t);

#endif
