// SPDX-License-Identifier: BSD-2-Clause
// One line on stderr, redrawn at most five times a second: bytes done, of how many, speed, time
// left.
#ifndef BLX_PROGRESS_H
#define BLX_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool on, drawn;
	uint64_t done, total; // bytes; total 0: unknown
	int64_t begun_ns, drawn_ns;
};

// ON: forced by --progress; otherwise only if stderr is a terminal.
void progress_init(struct progress *p, bool on, uint64_t total);
void progress_add(struct progress *p, uint64_t n);
// Draw the last figures and end the line, if anything was drawn.
void progress_end(struct progress *p);

#endif
