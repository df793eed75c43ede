// SPDX-License-Identifier: BSD-2-Clause
// Other programs of blx, started from this one.
#ifndef BLX_CHILD_H
#define BLX_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "fault.h"

// Start ARGV[0], the one beside this program, else the one in PATH, with /dev/null as its standard
// input and OUT (-1: /dev/null) as its standard output; QUIET: its words go there, too. 0 or -1.
int child_start(char *const argv[], int out, bool quiet, pid_t *pid, struct fault *f);
// The same with a pipe as its standard output, whose other end is *FROM.
int child_pipe(char *const argv[], int *from, pid_t *pid, struct fault *f);
// Its exit status, or 128 and the signal that killed it. -1 with errno: EINTR, if a handler ran.
int child_wait(pid_t pid);

#endif
