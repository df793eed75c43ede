// SPDX-License-Identifier: BSD-2-Clause
// Other programs of the toolkit: found beside this one, where it was built or installed, else in
// PATH.
#ifndef BLX_SUM_SPAWN_H
#define BLX_SUM_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

// Become ARGV[0].
_Noreturn void exec_sibling(char *const argv[]);

// Start it with its standard output a pipe, whose end is returned; *pid is to be waited for. Ends
// this program if it cannot.
int spawn_reader(char *const argv[], int *pid);

// Fork: in the child, which is ended when this process ends, 0; OUT is its standard output (-1:
// ours). Signals that the parent catches end it.
pid_t spawn_self(int out);

#endif
