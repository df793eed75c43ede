// SPDX-License-Identifier: BSD-2-Clause
// Everything that a command started, to be ended with it.
#ifndef BLX_OFFSPRING_H
#define BLX_OFFSPRING_H

#include <sys/types.h>

// From now on what descends from this process stays its offspring, orphans too. Not a process group
// of its own: that would take the terminal away from an ssh that asks for a passphrase. 0, or -1
// with errno.
int offspring_adopt(void);

// SIGTERM to all of it at one instant, so that what is forked meanwhile is not left out; SIGKILL to
// what is left after a few seconds. Reaps; *status is PID's, if it was still there.
void offspring_end(pid_t pid, int *status);

#endif
