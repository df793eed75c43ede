// SPDX-License-Identifier: BSD-2-Clause
// blxread's command line.
#ifndef BLXREAD_OPTIONS_H
#define BLXREAD_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct options {
	bool anonymous, plain, whole, used, threads, progress;
	uint64_t rate;
	const char *label; // NULL: that of the list
	const char *out;   // NULL: stdout
	const char *skip;  // list of what cannot be read; NULL: that is an error
	const char *path;  // NULL: the device that the list names
	char **lists;      // files; NULL: standard input
	int nlists;
};

// Fill in *o, which points into ARGV then; exits if it is wrong, or asks for help or the version.
void parse_options(struct options *o, int argc, char **argv);

#endif
