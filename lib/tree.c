// SPDX-License-Identifier: BSD-2-Clause
// The nodes of all levels stand in one piece of memory, the leaves first.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tree.h"

struct tree {
	struct digest *digest;
	size_t size; // of a digest
	bool filled; // false: all is zero, and the nodes hold nothing
	uint8_t *nodes;
	uint8_t zero[TREE_TOP + 1]
		    [TREE_FANOUT * DIGEST_MAX]; // children that are all zero, by level
};

// Nodes below LEVEL.
static uint32_t below(unsigned int level)
{
	uint32_t n = 0;

	for (unsigned int l = 0; l < level; l++)
		n += tree_count(l);
	return n;
}

static uint8_t *place(const struct tree *t, unsigned int level, uint32_t i)
{
	return t->nodes + (below(level) + i) * t->size;
}

static void make_zeroes(struct tree *t)
{
	static const uint8_t leaf[TREE_LEAF];

	for (unsigned int level = 0; level <= TREE_TOP; level++) {
		if (level)
			digest_of(t->digest, t->zero[level - 1], TREE_FANOUT * t->size,
				  t->zero[level]);
		else
			digest_of(t->digest, leaf, sizeof(leaf), t->zero[0]);
		for (size_t i = 1; i < TREE_FANOUT; i++)
			memcpy(t->zero[level] + i * t->size, t->zero[level], t->size);
	}
}

struct tree *tree_new(enum digest_algorithm a, struct fault *f)
{
	struct tree *t = calloc(1, sizeof(*t));

	if (!t) {
		fault_errno(f, "tree");
		return NULL;
	}
	t->size = digest_size(a);
	t->digest = digest_new(a, f);
	t->nodes = malloc(below(TREE_TOP + 1) * t->size);
	if (t->digest && t->nodes) {
		make_zeroes(t);
		return t;
	}
	if (t->digest)
		fault_errno(f, "tree");
	tree_free(t);
	return NULL;
}

void tree_free(struct tree *t)
{
	if (!t)
		return;
	digest_free(t->digest);
	free(t->nodes);
	free(t);
}

void tree_clear(struct tree *t)
{
	t->filled = false;
}

void tree_put(struct tree *t, uint32_t leaf, const uint8_t *digest)
{
	for (uint32_t i = 0; !t->filled && i < TREE_LEAVES; i += TREE_FANOUT)
		memcpy(place(t, 0, i), t->zero[0], TREE_FANOUT * t->size);
	t->filled = true;
	memcpy(place(t, 0, leaf), digest, t->size);
}

void tree_finish(struct tree *t)
{
	size_t family = TREE_FANOUT * t->size;

	if (!t->filled)
		return;
	for (unsigned int level = 1; level <= TREE_TOP; level++)
		for (uint32_t i = 0; i < tree_count(level); i++) {
			const uint8_t *children = place(t, level - 1, i * TREE_FANOUT);
			if (memcmp(children, t->zero[level - 1], family) != 0)
				digest_of(t->digest, children, family, place(t, level, i));
			else
				memcpy(place(t, level, i), t->zero[level], t->size);
		}
}

const uint8_t *tree_node(const struct tree *t, unsigned int level, uint32_t i)
{
	return t->filled ? place(t, level, i) : t->zero[level];
}

void tree_family(const struct tree *t, unsigned int level, uint32_t first, uint8_t *to)
{
	memcpy(to, tree_node(t, level, first), TREE_FANOUT * t->size);
}

// ---- what differs

bool tree_hunt_begin(struct tree_hunt *h, const struct tree *mine, const uint8_t *theirs)
{
	memset(h->differ, 0, sizeof(h->differ));
	h->found = false;
	h->level = TREE_TOP;
	h->n = memcmp(tree_node(mine, TREE_TOP, 0), theirs, mine->size) != 0;
	h->ask[0] = 0;
	return h->n;
}

// Which children of NODE differ, as bits.
static uint32_t unequal(const struct tree_hunt *h, const struct tree *mine, uint32_t node,
			const uint8_t *theirs)
{
	uint32_t bits = 0;

	for (uint32_t i = 0; i < TREE_FANOUT; i++, theirs += mine->size)
		if (memcmp(tree_node(mine, h->level - 1, node * TREE_FANOUT + i), theirs,
			   mine->size) != 0)
			bits |= 1u << i;
	return bits;
}

int tree_hunt_answer(struct tree_hunt *h, const struct tree *mine, const uint8_t *digests, size_t n,
		     struct fault *f)
{
	size_t family = TREE_FANOUT * mine->size;
	uint16_t ask[TREE_PARENTS];
	uint32_t more = 0;

	if (!h->level || n != h->n * family)
		return fault_set(f, BLX_CORRUPT, "digests that were not asked for");
	for (uint32_t i = 0; i < h->n; i++, digests += family) {
		uint32_t bits = unequal(h, mine, h->ask[i], digests);
		uint32_t first = h->ask[i] * (uint32_t)TREE_FANOUT;
		if (!bits)
			return fault_set(f, BLX_CORRUPT, "a digest that is not that of its parts");
		if (h->level == 1) {
			h->found = true;
			h->differ[first / 64] |= (uint64_t)bits << first % 64;
			continue;
		}
		for (uint32_t b = 0; b < TREE_FANOUT; b++)
			if (bits & 1u << b)
				ask[more++] = (uint16_t)(first + b);
	}
	h->level--;
	h->n = more;
	memcpy(h->ask, ask, more * sizeof(*ask));
	return h->level > 0;
}

static bool differs(const struct tree_hunt *h, uint32_t leaf)
{
	return h->differ[leaf / 64] >> leaf % 64 & 1;
}

uint32_t tree_hunt_run(const struct tree_hunt *h, uint32_t *at, uint32_t *first)
{
	uint32_t i = *at;

	while (i < TREE_LEAVES && !differs(h, i))
		i += !(i % 64) && !h->differ[i / 64] ? 64 : 1;
	*first = i;
	while (i < TREE_LEAVES && differs(h, i))
		i++;
	*at = i;
	return i - *first;
}
