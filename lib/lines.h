// SPDX-License-Identifier: BSD-2-Clause
// Lines from a file descriptor, with a bound on their length and on the time to wait for them.
#ifndef BLX_LINES_H
#define BLX_LINES_H

#include <stdint.h>

#include "fault.h"

enum { LINE_MAX_BYTES = 4096 };

struct lines; // buffers 64 KiB

// FD stays the caller's. NULL with errno ENOMEM.
struct lines *lines_new(int fd);
void lines_free(struct lines *l);

// Watch OUT (see io_wait_input): an idle reader notices that its own reader has gone (fault
// BLX_SYSTEM, errno EPIPE).
void lines_watch(struct lines *l, int out);

// The next line, without its newline, valid until the next call. 1; 0 at end of input; -1: too
// long, a NUL byte, a last line without newline (BLX_CORRUPT), a failed read (BLX_SYSTEM),
// TIMEOUT_MS passed with no line (BLX_SYSTEM; -1: wait for ever).
int lines_next(struct lines *l, char **line, int timeout_ms, struct fault *f);

// Number of the line last returned, from 1.
uint64_t lines_number(const struct lines *l);

#endif
