// SPDX-License-Identifier: BSD-2-Clause
// Who may be at the other end: lines `NAME ID` of a file, or IDs alone.
#ifndef BLX_PEERS_H
#define BLX_PEERS_H

#include <stddef.h>

#include "fault.h"
#include "tls_key.h"

enum { PEER_NAME = 64 + 1 };

struct peer {
	char name[PEER_NAME]; // "": known by its ID
	char *id;
};

struct peers {
	struct peer *all;
	size_t n;
};

// 1 to 64 of [A-Za-z0-9._:-], not beginning with a dot or a dash: a component of a path, and a word
// that no shell and no option parser takes for something else.
bool peer_name_ok(const char *name);

// One more. -1: no NAME (NULL: none), no ID, an ID that is there already (BLX_USAGE).
int peers_add(struct peers *p, const char *name, const char *id, struct fault *f);
// The lines of TEXT, N bytes with a NUL behind them; WHERE is for the words. -1 with the line that
// is wrong.
int peers_parse(struct peers *p, char *text, size_t n, const char *where, struct fault *f);
// Those of a file that nobody but its owner may write, root or us.
int peers_load(struct peers *p, const char *path, struct fault *f);
void peers_free(struct peers *p);

// NULL: CERT is none of them. *ALSO: one of another name that it is, too, or NULL.
const struct peer *peers_find(const struct peers *p, const struct tls_cert *cert,
			      const struct peer **also);

#endif
