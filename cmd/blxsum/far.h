// SPDX-License-Identifier: BSD-2-Clause
// The command that reaches the far end.
#ifndef BLX_FAR_H
#define BLX_FAR_H

#include "fault.h"

struct far {
	int in, out; // what it writes, what it reads; -1: closed
	int pid;
	const char *name;
};

// Start CMD with two pipes; it is ended when this program ends. 0 or -1.
int far_start(struct far *a, char **cmd, struct fault *f);
// Close the pipes and wait for it, TIMEOUT_MS at most (-1: for ever): 0, or -1: it did not do well.
int far_wait(struct far *a, int timeout_ms, struct fault *f);
// The connection is gone: say so if the command has ended, and not well.
void far_ended(struct far *a);

#endif
