// SPDX-License-Identifier: BSD-2-Clause
// lib/tree and lib/treemsg: a root is what the page says, a hunt ends with exactly the leaves that
// differ, and a message that was changed anywhere, or comes at the wrong time, is refused.
#include "bytes.h"
#include "input.h"
#include "tap.h"
#include "treemsg.h"

static struct fault f;

// The root of a section whose leaves are all of one digest, as the page describes it.
static void root_of(const uint8_t *leaf, uint8_t *out)
{
	struct digest *d = must(digest_new(DIGEST_XXH128, &f));
	uint8_t children[TREE_FANOUT * 16];

	memcpy(out, leaf, 16);
	for (int level = 1; level <= TREE_TOP; level++) {
		for (int i = 0; i < TREE_FANOUT; i++)
			memcpy(children + i * 16, out, 16);
		digest_of(d, children, sizeof(children), out);
	}
	digest_free(d);
}

static void roots(void)
{
	static const uint8_t zeroes[TREE_LEAF];
	struct digest *d = must(digest_new(DIGEST_XXH128, &f));
	struct tree *t = must(tree_new(DIGEST_XXH128, &f));
	uint8_t leaf[16], want[16];

	digest_of(d, zeroes, sizeof(zeroes), leaf);
	root_of(leaf, want);
	ok(!memcmp(tree_node(t, TREE_TOP, 0), want, 16), "the root of zeroes");
	tree_put(t, 77, leaf);
	tree_finish(t);
	ok(!memcmp(tree_node(t, TREE_TOP, 0), want, 16), "the same by way of its leaves");
	memset(leaf, 5, sizeof(leaf));
	for (uint32_t i = 0; i < TREE_LEAVES; i++)
		tree_put(t, i, leaf);
	tree_finish(t);
	root_of(leaf, want);
	ok(!memcmp(tree_node(t, TREE_TOP, 0), want, 16), "the root of other leaves");
	tree_clear(t);
	ok(memcmp(tree_node(t, TREE_TOP, 0), want, 16) != 0, "cleared it is zero again");
	tree_free(t);
	digest_free(d);
}

// Hunt through THEIRS as a server would answer. Bytes of answers, or -1.
static long hunt(struct tree_hunt *h, const struct tree *mine, const struct tree *theirs)
{
	static uint8_t answer[TREE_LEAVES * 16];
	long bytes = 0;
	int more = tree_hunt_begin(h, mine, tree_node(theirs, TREE_TOP, 0));

	while (more > 0) {
		size_t n = 0;
		for (uint32_t i = 0; i < h->n; i++, n += 256)
			tree_family(theirs, h->level - 1, h->ask[i] * 16u, answer + n);
		bytes += (long)n;
		more = tree_hunt_answer(h, mine, answer, n, &f);
	}
	return more < 0 ? -1 : bytes;
}

static void hunts(void)
{
	static bool differs[TREE_LEAVES];
	static struct tree_hunt h;
	struct tree *a = must(tree_new(DIGEST_XXH128, &f)), *b = must(tree_new(DIGEST_XXH128, &f));
	uint8_t leaf[16];
	uint32_t at = 0, first, n;
	bool good = true;

	ok(hunt(&h, a, b) == 0, "equal trees cost no answer");
	srand(1);
	for (int i = 0; i < 3000; i++) {
		uint32_t where = (uint32_t)rand() % TREE_LEAVES;
		memset(leaf, i, sizeof(leaf));
		tree_put(a, where, leaf);
		if (i % 3)
			tree_put(b, where, leaf);
		else
			differs[where] = true;
		differs[where] = i % 3 == 0; // the last one counts
		if (!(i % 3)) {
			leaf[15] ^= 1;
			tree_put(b, where, leaf);
		}
	}
	tree_finish(a);
	tree_finish(b);
	ok(hunt(&h, a, b) > 0, "a hunt comes to its end");
	for (uint32_t i = 0; (n = tree_hunt_run(&h, &at, &first)); i = at) {
		for (; i < first; i++)
			good &= !differs[i];
		for (; i < first + n; i++)
			good &= differs[i];
		differs[first] = false;
		memset(differs + first, 0, n);
	}
	for (uint32_t i = 0; i < TREE_LEAVES; i++)
		good &= !differs[i];
	ok(good, "with exactly the leaves that differ");
	h.level = 2;
	h.n = 1;
	ok(tree_hunt_answer(&h, a, leaf, 16, &f) == -1 && f.code == BLX_CORRUPT,
	   "an answer of another size is refused");
	tree_free(a);
	tree_free(b);
}

static size_t put(const struct treemsg_parser *p, uint8_t *to, struct treemsg m)
{
	treemsg_header(p, &m, to);
	if (m.n)
		memcpy(to + TREEMSG_HEADER, m.payload, m.n);
	return TREEMSG_HEADER + m.n;
}

// How the parser takes the bytes: the number of messages, or -1.
static int parse(bool server, const uint8_t *p, size_t n)
{
	struct treemsg_parser parser;
	struct treemsg m;
	size_t used;
	int got, count = 0;

	if (treemsg_parser_init(&parser, server, &f))
		must(NULL);
	treemsg_agree(&parser, DIGEST_XXH128);
	while ((got = treemsg_parse(&parser, p, n, &used, &m, &f)) > 0) {
		count++;
		p += used;
		n -= used;
	}
	treemsg_parser_free(&parser);
	return got < 0 ? -1 : count;
}

static void messages(void)
{
	struct treemsg_parser p;
	uint8_t b[512], range[4] = {1, 0, 2, 0}, nodes[4] = {3, 0, 4, 0};
	struct treemsg hello = {TREEMSG_HELLO, 0, 0, 1, (const uint8_t *)"x"};
	size_t n = TREEMSG_MAGIC;
	bool good = true;

	if (treemsg_parser_init(&p, true, &f))
		must(NULL);
	memcpy(b, treemsg_magic, n);
	n += put(&p, b + n, hello);
	n += put(&p, b + n, (struct treemsg){TREEMSG_WANT, 0, 7, 4, range});
	n += put(&p, b + n, (struct treemsg){TREEMSG_GET, 2, 7, 4, nodes});
	n += put(&p, b + n, (struct treemsg){TREEMSG_END, 0, 0, 0, NULL});
	ok(parse(true, b, n) == 4, "a client's messages");
	for (size_t i = 0; i < n; i++) {
		b[i] ^= 1;
		good &= parse(true, b, n) < 4;
		b[i] ^= 1;
	}
	ok(good, "one bit changed anywhere and they are not taken");
	for (size_t i = 0; i < n; i++)
		good &= parse(true, b, i) >= 0 && parse(true, b, i) < 4;
	ok(good, "cut anywhere there is more to come");
	ok(parse(false, b, n) == -1 && strstr(f.text, "of the wrong side"), "not for a client");
	size_t end = n + put(&p, b + n, (struct treemsg){.type = TREEMSG_PULSE});
	ok(parse(true, b, end) == -1 && strstr(f.text, "after the end"), "nothing after the end");
	n = TREEMSG_MAGIC +
	    put(&p, b + TREEMSG_MAGIC, (struct treemsg){TREEMSG_WANT, 0, 7, 4, range});
	ok(parse(true, b, n) == -1 && strstr(f.text, "at the wrong time"), "HELLO comes first");
	treemsg_parser_free(&p);
}

static void payloads(void)
{
	static const struct {
		const char *what;
		enum treemsg_type type;
		uint8_t level;
		uint32_t n;
		uint8_t bytes[8];
	} bad[] = {
		{"a range beyond the section", TREEMSG_WANT, 0, 4, {255, 255, 1, 0}},
		{"ranges that touch", TREEMSG_WANT, 0, 8, {0, 0, 3, 0, 4, 0, 0, 0}},
		{"ranges that descend", TREEMSG_WANT, 0, 8, {9, 0, 0, 0, 1, 0, 0, 0}},
		{"half a range", TREEMSG_WANT, 0, 2, {0}},
		{"children of leaves", TREEMSG_GET, 0, 2, {0}},
		{"nodes of no level", TREEMSG_GET, 5, 2, {0}},
		{"a second root", TREEMSG_GET, 4, 2, {1, 0}},
		{"nodes that descend", TREEMSG_GET, 1, 4, {1, 0, 0, 0}},
		{"no nodes", TREEMSG_GET, 1, 0, {0}},
		{"a payload where none is", TREEMSG_DONE, 0, 1, {0}},
	};
	struct treemsg_parser p;
	uint8_t b[128];

	if (treemsg_parser_init(&p, true, &f))
		must(NULL);
	memcpy(b, treemsg_magic, TREEMSG_MAGIC);
	size_t n =
		TREEMSG_MAGIC + put(&p, b + TREEMSG_MAGIC,
				    (struct treemsg){TREEMSG_HELLO, 0, 0, 1, (const uint8_t *)"x"});
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct treemsg m = {bad[i].type, bad[i].level, 0, bad[i].n, bad[i].bytes};
		ok(parse(true, b, n + put(&p, b + n, m)) == -1 && f.code == BLX_CORRUPT,
		   "refused: %s: %s", bad[i].what, f.text);
	}
	treemsg_parser_free(&p);
}

int main(void)
{
	roots();
	hunts();
	messages();
	payloads();
	return done();
}
