// SPDX-License-Identifier: BSD-2-Clause
// The far end of a tree comparison: says what it has, digests what is wanted, and answers.
#include <string.h>
#include <unistd.h>

#include "blxsum.h"
#include "bytes.h"
#include "die.h"
#include "forest.h"
#include "link.h"

struct server {
	const struct options *o;
	struct link link;
	struct subject s;
	struct sums_head client;
	bool live; // the client knows that the replica moves on
	struct forest *forest;
	struct progress progress;
};

static void say(struct server *v, enum treemsg_type type, uint32_t section, const void *p, size_t n)
{
	struct treemsg m = {.type = type, .section = section, .payload = p, .n = (uint32_t)n};
	struct fault f;

	if (link_say(&v->link, &m, &f))
		link_fail(&v->link, &f);
}

static void await_hello(struct server *v)
{
	struct treemsg m;
	struct fault f;

	if (link_next(&v->link, -1, &m, &f) < 0 || m.type != TREEMSG_HELLO ||
	    sums_head_parse(&v->client, (const char *)m.payload, m.n, &f))
		link_fail(&v->link, &f);
	v->live = m.level & TREEMSG_LIVE;
	if (v->client.block == TREE_LEAF)
		return;
	fault_set(&f, BLX_CORRUPT, "leaves of %u bytes are asked for, not %d", v->client.block,
		  TREE_LEAF);
	link_fail(&v->link, &f);
}

// A list of what differs from a replica that is at no epoch would be of no use.
static void open_subject(struct server *v, const struct options *o)
{
	struct fault f;

	if (subject_open(&v->s, o, true, &f))
		link_fail(&v->link, &f);
	if (v->live || !v->s.wrong[0])
		return;
	if (!v->s.head.has_replica) { // nobody may know
		fault_set(&f, BLX_SYSTEM, "%s (it takes the replica's owner)", v->s.wrong);
		link_fail(&v->link, &f);
	}
	fault_set(&f, BLX_TARGET, "%s: %s; `blxapply --allow resync %s` takes it as it is",
		  v->s.source.name, v->s.wrong, v->s.source.name);
	link_fail(&v->link, &f);
}

static void begin(struct server *v)
{
	struct options o = *v->o;
	char text[SUMS_HEAD_MAX];
	struct fault f;

	await_hello(v);
	o.algorithm = v->client.algorithm;
	o.block = TREE_LEAF;
	open_subject(v, &o);
	uint64_t limit = v->client.size < v->s.head.size ? v->client.size : v->s.head.size;
	if (o.progress)
		progress_init(&v->progress, true, 0);
	v->forest = forest_new(&v->s.source, o.algorithm, limit, o.rate,
			       o.progress ? &v->progress : NULL, &f);
	if (!v->forest)
		link_fail(&v->link, &f);
	v->link.moving = forest_moving;
	v->link.arg = v->forest;
	treemsg_agree(&v->link.parser, o.algorithm);
	say(v, TREEMSG_HELLO, 0, text, sums_head_format(&v->s.head, text));
}

static void say_roots(struct server *v)
{
	uint32_t section;
	struct fault f;
	int got;

	while ((got = forest_ready(v->forest, &section, &f)) > 0)
		say(v, TREEMSG_ROOT, section,
		    tree_node(forest_tree(v->forest, section), TREE_TOP, 0),
		    digest_size(v->client.algorithm));
	if (got < 0)
		link_fail(&v->link, &f);
}

static void say_nodes(struct server *v, const struct treemsg *m)
{
	static uint8_t nodes[TREE_LEAVES * DIGEST_MAX];
	size_t family = TREE_FANOUT * digest_size(v->client.algorithm), n = 0;
	const struct tree *t = forest_tree(v->forest, m->section);
	struct fault f;

	if (!t) {
		fault_set(&f, BLX_CORRUPT, "section %u: asked for, but not there", m->section);
		link_fail(&v->link, &f);
	}
	for (uint32_t at = 0; at < m->n; at += 2, n += family) {
		uint32_t first = get_le16(m->payload + at) * (uint32_t)TREE_FANOUT;
		tree_family(t, m->level - 1u, first, nodes + n);
	}
	say(v, TREEMSG_NODES, m->section, nodes, n);
}

// The client has all that it wanted. Nothing may have changed meanwhile.
static void end(struct server *v)
{
	struct fault f;

	if (!v->live && subject_unchanged(&v->s, &f))
		link_fail(&v->link, &f);
	say(v, TREEMSG_END, 0, NULL, 0);
	if (link_flush(&v->link, &f))
		die_fault(&f);
	if (v->o->progress)
		progress_end(&v->progress);
}

// False: that was the end.
static bool answer(struct server *v, const struct treemsg *m)
{
	struct fault f;
	int bad = 0;

	switch (m->type) {
	case TREEMSG_WANT:
		bad = forest_want(v->forest, m->section, m->payload, m->n, &f);
		break;
	case TREEMSG_DONE:
		bad = forest_drop(v->forest, m->section, &f);
		break;
	case TREEMSG_GET:
		say_nodes(v, m);
		break;
	default: // TREEMSG_END; the parser lets nothing else through
		end(v);
		return false;
	}
	if (bad)
		link_fail(&v->link, &f);
	return true;
}

int serve(const struct options *o)
{
	static struct server v;
	struct treemsg m;
	struct fault f;
	int got;

	v.o = o;
	if (link_open(&v.link, STDIN_FILENO, STDOUT_FILENO, true, o->timeout_ms, &f))
		die_fault(&f);
	begin(&v);
	while ((got = link_next(&v.link, forest_wake(v.forest), &m, &f)) >= 0)
		if (!got)
			say_roots(&v);
		else if (!answer(&v, &m))
			break;
	if (got < 0)
		link_fail(&v.link, &f);
	forest_free(v.forest);
	subject_close(&v.s);
	link_close(&v.link);
	return BLX_OK;
}
