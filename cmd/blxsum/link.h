// SPDX-License-Identifier: BSD-2-Clause
// The connection to the other end of a tree comparison: messages in and out without ever blocking
// on one of the two, pulses, and a limit on silence.
#ifndef BLX_LINK_H
#define BLX_LINK_H

#include "treemsg.h"

struct link {
	int in, out;    // the caller's
	int timeout_ms; // -1: none
	struct treemsg_parser parser;
	uint8_t *buf; // what came: [at, have) is not parsed yet
	size_t at, have, room;
	uint8_t *pending; // what is to be written: [written, pend)
	size_t written, pend, pend_room;
	int64_t heard_ms, said_ms;
	bool told; // the far end said why it ends
	bool cut;  // it is gone
	// True unless work is stuck; what is stuck sends no pulses. NULL: never.
	bool (*moving)(void *arg);
	void *arg;
};

// 0 or -1.
int link_open(struct link *l, int in, int out, bool server, int timeout_ms, struct fault *f);
void link_close(struct link *l);

// Queue a message. 0 or -1.
int link_say(struct link *l, const struct treemsg *m, struct fault *f);
// Write what is queued and wait for the next message, valid until the next call: 1; 0: WAKE (an
// eventfd, read then; -1: none) was raised; -1: cut (BLX_CORRUPT), silent for too long
// (BLX_SYSTEM), or the far end failed (its code and words).
int link_next(struct link *l, int wake, struct treemsg *m, struct fault *f);
// Write all that is queued. 0 or -1.
int link_flush(struct link *l, struct fault *f);
// Tell the far end, if it can be told, and end the program; a server that was heard or told says no
// words of its own.
_Noreturn void link_fail(struct link *l, const struct fault *f);

#endif
