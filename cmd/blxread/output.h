// SPDX-License-Identifier: BSD-2-Clause
// Where the stream goes, and the list of what could not be read. A regular file is written beside,
// as NAME.new, and takes the name only when all of it is durable: a run that fails leaves what was
// there alone.
#ifndef BLXREAD_OUTPUT_H
#define BLXREAD_OUTPUT_H

#include <stdbool.h>
#include <sys/stat.h>

#include "fault.h"

enum output_kind { OUTPUT_STREAM, OUTPUT_LIST, OUTPUT_KINDS }; // one of each at a time

struct output {
	enum output_kind kind;
	int fd;
	const char *name; // for the words; NULL: standard output
	bool fresh;       // NAME.new is being written
	struct stat old;  // what it goes to, or will replace; all 0 if there is none
};

// NAME NULL: standard output. -1 with the fault if it cannot be written; dies if it is a block
// device or, for a stream, a terminal. From here on any exit, and the usual signals, remove
// NAME.new.
int output_open(struct output *o, enum output_kind kind, const char *name, struct fault *f);

// What was written is durable and has its name; or dies.
void output_finish(struct output *o);

// Die of a failed write (errno).
_Noreturn void output_die(const struct output *o);

#endif
