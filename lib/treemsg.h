// SPDX-License-Identifier: BSD-2-Clause
// The messages of a tree comparison (blx-tree(5)): 8 bytes of magic each way, then a header of 16
// bytes and a payload each. Nothing is read or written here.
#ifndef BLX_TREEMSG_H
#define BLX_TREEMSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "fault.h"
#include "tree.h"

enum treemsg_type {
	TREEMSG_HELLO = 1, // both: a digest list's header (lib/sums)
	TREEMSG_WANT,      // client: digest the section, or those leaves of it
	TREEMSG_ROOT,      // server: the root's digest
	TREEMSG_GET,       // client: nodes of a level whose children it wants
	TREEMSG_NODES,     // server: the children's digests
	TREEMSG_DONE,      // client: the section is not needed any more
	TREEMSG_PULSE,     // both: still at work
	TREEMSG_END,       // client: that was all; server: nothing changed meanwhile
	TREEMSG_FAIL,      // both: words, level is the exit code
};

enum {
	TREEMSG_MAGIC = 8,
	TREEMSG_HEADER = 16,
	TREEMSG_HELLO_MAX = 4096,
	TREEMSG_FAIL_MAX = 320,
	TREEMSG_RANGE = 4, // bytes of a range of leaves: the first, and how many but one, as u16
	TREEMSG_RANGES_MAX = TREE_LEAVES / 2,
	TREEMSG_LIVE = 1, // level of the client's HELLO: the server's replica may move on
};

extern const uint8_t treemsg_magic[TREEMSG_MAGIC];

struct treemsg {
	enum treemsg_type type;
	uint8_t level;
	uint32_t section;
	uint32_t n; // bytes of payload
	const uint8_t *payload;
};

// What one side has been told. Its members are its own.
struct treemsg_parser {
	bool server;    // this side is
	uint8_t digest; // bytes of a digest; 0 until treemsg_agree()
	bool magic, hello, end;
	struct digest *check;
};

// 0 or -1 with the fault.
int treemsg_parser_init(struct treemsg_parser *p, bool server, struct fault *f);
void treemsg_parser_free(struct treemsg_parser *p);
// After the HELLOs: what digests there will be.
void treemsg_agree(struct treemsg_parser *p, enum digest_algorithm a);

// The bytes that the largest message to this side takes, its header included.
size_t treemsg_max(const struct treemsg_parser *p);

// Take one message off HAVE bytes at BUF: 1, *used bytes were it, and m->payload points into BUF;
// 0: it is not all there, *used bytes can go (the magic); -1: no message, or none that may come
// here and now (BLX_CORRUPT). What it returns is as it should be: payloads of the size that type
// and level allow, ranges and nodes ascending and below their level's count.
int treemsg_parse(struct treemsg_parser *p, const uint8_t *buf, size_t have, size_t *used,
		  struct treemsg *m, struct fault *f);

// The header of a message, with the check of it and its payload.
void treemsg_header(const struct treemsg_parser *p, const struct treemsg *m,
		    uint8_t to[TREEMSG_HEADER]);

#endif
