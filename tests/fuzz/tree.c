// SPDX-License-Identifier: BSD-2-Clause
// Both ends of a tree comparison: no message leaves the parser that breaks the rules of
// blx-tree(5), in whatever pieces it comes; digests that come are compared with a tree. The first
// byte says which end, and whether checks are to be made right, so that what is behind them is
// reached.
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "fuzz.h"
#include "sums.h"
#include "treemsg.h"

enum { ROOM = 1 << 20, SERVER = 1, FORGE = 2, SHA = 4 };

// The messages of the input, with the magic before them and right checks.
static size_t forge(const uint8_t *data, size_t size, uint8_t *to)
{
	struct treemsg_parser p;
	struct fault f;
	size_t n = TREEMSG_MAGIC;

	fuzz_check(treemsg_parser_init(&p, false, &f) == 0);
	memcpy(to, treemsg_magic, n);
	while (size >= 8) {
		struct treemsg m = {.type = (enum treemsg_type)data[0],
				    .level = data[1],
				    .section = data[2],
				    .n = get_le32(data + 4),
				    .payload = data + 8};
		data += 8;
		size -= 8;
		if (m.n > size)
			m.n = (uint32_t)size;
		treemsg_header(&p, &m, to + n);
		if (m.n)
			memcpy(to + n + TREEMSG_HEADER, data, m.n);
		n += TREEMSG_HEADER + m.n;
		data += m.n;
		size -= m.n;
	}
	treemsg_parser_free(&p);
	return n;
}

static void check_nodes(const struct treemsg *m)
{
	fuzz_check(m->level >= 1 && m->level <= TREE_TOP && m->n >= 2);
	for (uint32_t at = 0; at < m->n; at += 2)
		fuzz_check(get_le16(m->payload + at) < tree_count(m->level));
}

static void check_ranges(const struct treemsg *m)
{
	for (uint32_t at = 0; at < m->n; at += TREEMSG_RANGE)
		fuzz_check(get_le16(m->payload + at) + get_le16(m->payload + at + 2) < TREE_LEAVES);
}

// What the caller does with it.
static void use(const struct treemsg *m, struct tree *t, struct tree_hunt *h)
{
	static uint32_t at, first;
	struct sums_head head;
	struct fault f;

	if (m->type == TREEMSG_HELLO)
		sums_head_parse(&head, (const char *)m->payload, m->n, &f);
	else if (m->type == TREEMSG_GET)
		check_nodes(m);
	else if (m->type == TREEMSG_WANT)
		check_ranges(m);
	else if (m->type == TREEMSG_ROOT)
		tree_hunt_begin(h, t, m->payload);
	else if (m->type == TREEMSG_NODES && !tree_hunt_answer(h, t, m->payload, m->n, &f))
		for (at = 0; tree_hunt_run(h, &at, &first);)
			fuzz_check(first < at && at <= TREE_LEAVES);
}

static void run(const uint8_t *p, size_t n, uint8_t how)
{
	static struct tree_hunt hunt;
	enum digest_algorithm a = how & SHA ? DIGEST_SHA256 : DIGEST_XXH128;
	struct treemsg_parser parser;
	struct treemsg m;
	struct fault f;
	size_t used, seen = how >> 4;
	int got = 0;

	memset(&hunt, 0, sizeof(hunt));
	fuzz_check(treemsg_parser_init(&parser, how & SERVER, &f) == 0);
	treemsg_agree(&parser, a);
	struct tree *t = tree_new(a, &f);
	fuzz_check(t != NULL);
	// In pieces of some size, as a pipe brings them.
	for (size_t have = seen < n ? seen : n; got >= 0;) {
		got = treemsg_parse(&parser, p, have, &used, &m, &f);
		fuzz_check(used <= have);
		if (got > 0) {
			fuzz_check(m.payload >= p && m.payload + m.n <= p + have);
			fuzz_check(TREEMSG_HEADER + m.n <= treemsg_max(&parser) + TREEMSG_MAGIC);
			use(&m, t, &hunt);
		}
		p += used;
		have -= used;
		n -= used;
		if (got == 0 && have == n)
			break;
		if (got == 0)
			have = n - have > 40 ? have + 40 : n;
	}
	fuzz_check(got >= 0 || f.code == BLX_CORRUPT);
	tree_free(t);
	treemsg_parser_free(&parser);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t forged[ROOM];

	if (!size || size > ROOM / 4)
		return 0;
	if (data[0] & FORGE)
		run(forged, forge(data + 1, size - 1, forged), data[0]);
	else
		run(data + 1, size - 1, data[0]);
	return 0;
}
