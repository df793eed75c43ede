// SPDX-License-Identifier: BSD-2-Clause
// A private directory for the lists of one run, below /run/blx; under the state lock.
#ifndef BLX_SCRATCH_H
#define BLX_SCRATCH_H

#include "fault.h"

struct scratch {
	char path[64];
	int fd;
};

// Make it, and remove those of runs that were killed. It is ours as long as the fd is open.
int scratch_make(struct scratch *s, struct fault *f);
// The only list is on the command's standard input: LABEL.extents leads there.
int scratch_link_stdin(const struct scratch *s, const char *label, struct fault *f);
void scratch_remove(struct scratch *s);

#endif
