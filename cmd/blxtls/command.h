// SPDX-License-Identifier: BSD-2-Clause
// The command that serves a connection.
#ifndef BLX_COMMAND_H
#define BLX_COMMAND_H

#include <stdbool.h>
#include <sys/types.h>

#include "fault.h"

// CMD's words, each with %p as NAME and %% as %: an array that ends with NULL, for
// command_free_words(). NULL with the fault: another %, or %p where there is no NAME (NULL)
// (BLX_USAGE); no memory.
char **command_words(char *const cmd[], const char *name, struct fault *f);
void command_free_words(char **words);

// Start it, with BLX_PEER and BLX_PEER_ADDRESS in its environment. *IN: what it writes to its
// standard output; *OUT: its standard input; both do not block. If this process dies, it gets
// SIGTERM. 0 or -1.
int command_start(char *const words[], const char *peer, const char *address, int *in, int *out,
		  pid_t *pid, struct fault *f);

#endif
