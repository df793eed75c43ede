// SPDX-License-Identifier: BSD-2-Clause
// A section's digests as a tree: 256 MiB, leaves of 4 KiB, each node the digest of its 16
// children's digests, one after the other. A leaf of zeroes, one that is beyond the end and one
// that is not looked at have the digest of 4096 zeroes, so that every section has all its nodes.
#ifndef BLX_TREE_H
#define BLX_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "fault.h"

enum {
	TREE_LEAF = 4096, // bytes
	TREE_FANOUT = 16,
	TREE_TOP = 4,                           // level of the root; leaves are at level 0
	TREE_LEAVES = 65536,                    // of a section
	TREE_SECTION = TREE_LEAVES * TREE_LEAF, // bytes
	TREE_PARENTS = TREE_LEAVES / TREE_FANOUT,
	TREE_WINDOW = 8, // sections at once
};

// Nodes of a level: 65536 leaves, 1 root.
static inline uint32_t tree_count(unsigned int level)
{
	return TREE_LEAVES >> 4 * level;
}

struct tree;

// NULL with the fault.
struct tree *tree_new(enum digest_algorithm a, struct fault *f);
void tree_free(struct tree *t);

// All leaves are of zeroes; costs nothing.
void tree_clear(struct tree *t);
void tree_put(struct tree *t, uint32_t leaf, const uint8_t *digest);
// After the last leaf: make the nodes above. One that has only zeroes costs next to nothing.
void tree_finish(struct tree *t);
// The digest of node I of LEVEL.
const uint8_t *tree_node(const struct tree *t, unsigned int level, uint32_t i);
// The digests of 16 nodes from FIRST on, one after the other.
void tree_family(const struct tree *t, unsigned int level, uint32_t first, uint8_t *to);

// ---- looking for what differs in a section: nodes whose children's digests are to be asked for

struct tree_hunt {
	unsigned int level; // of the nodes asked for; 0: the leaves that differ are known
	uint32_t n;
	uint16_t ask[TREE_PARENTS];        // ascending; at level 0 not used
	bool found;                        // some leaf differs
	uint64_t differ[TREE_LEAVES / 64]; // bits
};

// THEIRS: the far end's root. True: it differs.
bool tree_hunt_begin(struct tree_hunt *h, const struct tree *mine, const uint8_t *theirs);
// The children of all nodes asked for, in order, N bytes. 1: ask for what differs of them; 0: no
// more to ask; -1: what came cannot be (BLX_CORRUPT).
int tree_hunt_answer(struct tree_hunt *h, const struct tree *mine, const uint8_t *digests, size_t n,
		     struct fault *f);
// The next run of leaves that differ, from leaf *AT on, which moves behind it. Their number, 0:
// none; *first is the first.
uint32_t tree_hunt_run(const struct tree_hunt *h, uint32_t *at, uint32_t *first);

#endif
