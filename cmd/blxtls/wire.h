// SPDX-License-Identifier: BSD-2-Clause
// The messages between two blxtls (blxtls(1), WIRE): 8 bytes in front of each, little-endian: type
// (2), zero (2), length of what follows (4).
#ifndef BLX_WIRE_H
#define BLX_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fault.h"

enum { WIRE_HEADER = 8, WIRE_MAX = 65536, WIRE_DATA_MAX = WIRE_MAX - WIRE_HEADER };

enum wire_type {
	WIRE_DATA = 1,
	WIRE_EOF = 2, // no data follows
	WIRE_END = 3, // nothing follows: a struct wire_end
};

enum wire_how {
	WIRE_DONE = 0,      // all that came was written
	WIRE_EXITED = 1,    // the command, with this status
	WIRE_KILLED = 2,    // the command, by this signal
	WIRE_FULL = 3,      // no room for one more connection
	WIRE_PEER_BUSY = 4, // no more of this peer
	WIRE_NO_START = 5,  // the command could not be started
	WIRE_FAILED = 6,    // this side's own input or output failed
	WIRE_HOW_MAX = WIRE_FAILED,
};

struct wire_end {
	enum wire_how how;
	uint16_t status;
};

enum { WIRE_END_BYTES = WIRE_HEADER + 4 };

// The header of N bytes of data, N from 1 to WIRE_DATA_MAX; that of an EOF, N 0.
void wire_put_header(uint8_t to[WIRE_HEADER], enum wire_type type, uint32_t n);
void wire_put_end(uint8_t to[WIRE_END_BYTES], const struct wire_end *end);

// What comes, in pieces of any size.
struct wire {
	uint8_t part[WIRE_END_BYTES]; // of a message that is not whole
	size_t have;
	uint32_t left; // of data
	bool eof, ended;
	struct wire_end end; // if ended
};

// Take some of N bytes (*used, 1 at the least); *n of them at *data are data, perhaps none. 0, or
// -1: not such a message (BLX_CORRUPT).
int wire_take(struct wire *w, const uint8_t *p, size_t len, size_t *used, const uint8_t **data,
	      size_t *n, struct fault *f);

#endif
