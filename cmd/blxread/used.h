// SPDX-License-Identifier: BSD-2-Clause
// What a device's file system uses (--used), as blxused(1) says it.
#ifndef BLXREAD_USED_H
#define BLXREAD_USED_H

#include <sys/types.h>

#include "extlist.h"

struct used {
	const char *name; // of the device
	pid_t pid;
	int fd;
	struct extlist_reader *in;
	struct extent now; // the first range in use that does not end before what was asked for;
			   // length 0: there is none any more
};

// Start blxused (from the directory of this program, else from PATH) on the device NAME of SIZE
// bytes. 0 or -1; what blxused has to say it says on standard error.
int used_open(struct used *u, const char *name, uint64_t size, struct fault *f);

// The first piece of E that is all in use, or all free: its length in *n. E ascends from call to
// call. 1: in use; 0: free; -1.
int used_piece(struct used *u, struct extent e, uint64_t *n, struct fault *f);

// After the last piece: 0 if its list was whole, else -1. Before that nothing may be committed.
int used_close(struct used *u, struct fault *f);

#endif
