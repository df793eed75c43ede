// SPDX-License-Identifier: BSD-2-Clause
// Both directions of a connection, a buffer each: what goes now without waiting.
#ifndef BLX_PUMP_H
#define BLX_PUMP_H

#include "session.h"

struct pump {
	struct session *s;
	bool ours;     // messages; else the data as it is
	bool out_sock; // OUT is a socket
	bool one_sock; // and IN the same, so that closing OUT tells nobody
	bool unread;   // nobody reads it any more

	uint8_t *to; // to the other end: TO_N bytes at TO_AT
	size_t to_at, to_n;
	bool eof_sent, end_sent, closed; // ..., and our close_notify
	struct wire_end end;             // ours
	short wanted;        // sending waits for this event of the socket; 0: it does not
	int64_t send_ms;     // not before
	struct fault broken; // sending failed: code not 0
	size_t discarded;    // bytes, since

	uint8_t *from; // from it, PUMP_FROM bytes: FROM_N bytes at FROM_AT, of which N at DATA are
		       // to be written now
	size_t from_at, from_n;
	const uint8_t *data;
	size_t n;
	bool dry;                // tls_read said AGAIN: poll
	struct fault unreadable; // or it failed: code not 0
	bool peer_eof;           // no more data comes
	bool peer_closed;        // its close_notify
	bool hung_up;            // the socket is through both ways
	struct wire wire;

	int pidfd, status; // the command's
	bool exited;
	int64_t moved_ms, closed_ms; // when something went; when we closed
	int64_t ask_ms;              // when to look whether the other host answers
	struct fault *f;
};

enum { PUMP_FROM = 4 * WIRE_MAX };

// All that may fail return 0, or -1 with the fault at P->f.

// IN can be read, and there is room.
int pump_read(struct pump *p);
// IN can be read, and nobody wants it: an ack does no harm, but a command that has much to say need
// not say it, and gets SIGPIPE.
void pump_discard(struct pump *p);
// Send what is there, and, in its time, that it ends. Failing to is no fault yet: P->broken.
void pump_send(struct pump *p);
// Send this end and close, if it goes at once.
void pump_say_end(struct pump *p, const struct wire_end *end);
// Take and write a buffer's worth of what came; there may be more while DRY is not set.
int pump_take(struct pump *p);
// If no data comes any more, and all is written: close OUT.
int pump_end(struct pump *p);
void pump_close_in(struct pump *p);
int pump_close_out(struct pump *p);

#endif
