// SPDX-License-Identifier: BSD-2-Clause
// Acks (blx-acks(5)): the one word that lets a source forget a change, one text line each.
//
//   blx-ack 1 done lineage=UUID device=7:3 consumer=default epoch=12 token=HEX [unread=2]
//   blx-ack 1 upto lineage=... device=... consumer=... epoch=12 token=HEX offset=1048576 [unread=2]
//   [last]
//   blx-ack 1 unread lineage=... device=... consumer=... epoch=12 token=HEX offset=4096 length=512
//   blx-ack 1 failed [lineage=... device=... consumer=... epoch=... token=...] code=5 why=words to
//   the end of the line
#ifndef BLX_ACK_H
#define BLX_ACK_H

#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "head.h"
#include "token.h"

enum { ACK_TEXT_MAX = 1024 }; // with newline and NUL

enum ack_kind {
	ACK_DONE,   // the whole epoch is durable
	ACK_UPTO,   // durable below offset; last: and the list ended there by its own limit (--max)
	ACK_UNREAD, // this range could not be read at the source and is not in what the next DONE
		    // or UPTO of this epoch says
	ACK_FAILED, // not applied: code (an exit code, 1 to 7) and why
};

struct ack {
	enum ack_kind kind;
	bool bound; // names an epoch; always so but for FAILED
	struct token lineage;
	uint32_t major, minor;
	char consumer[HEAD_NAME_MAX + 1];
	uint64_t epoch;
	struct token token;
	uint64_t offset;    // UPTO, UNREAD
	uint64_t length;    // UNREAD
	uint64_t unread;    // DONE, UPTO: how many UNREAD of this epoch came before
	bool last;          // UPTO
	enum blx_exit code; // FAILED
	char why[256];      // FAILED
};

// An ack of KIND bound to the epoch of H (a FAILED one with H NULL or anonymous is unbound).
void ack_for(struct ack *a, enum ack_kind kind, const struct head *h);

// The line with its newline; its length.
size_t ack_format(const struct ack *a, char text[ACK_TEXT_MAX]);

// One line without newline. 0, or -1: BLX_CORRUPT, the fault quotes what was found (a login banner,
// say).
int ack_parse(const char *line, struct ack *a, struct fault *f);

#endif
