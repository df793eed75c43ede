// SPDX-License-Identifier: BSD-2-Clause
// The near end of a tree comparison: sections in order, a window of them at once; of those whose
// roots differ, digests are asked for level by level.
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "blxsum.h"
#include "bytes.h"
#include "die.h"
#include "far.h"
#include "forest.h"
#include "link.h"

struct section {
	uint32_t number;
	bool rooted, hunting, done;
	uint8_t root[DIGEST_MAX];
	struct tree_hunt hunt;
};

struct near {
	const struct options *o;
	struct subject s;
	struct sums_head theirs;
	uint64_t limit; // bytes that both have
	struct far far;
	struct link link;
	struct forest *forest;
	struct progress progress;
	struct ranges *ranges;
	struct section window[TREE_WINDOW];
	uint64_t begun, finished; // sections, in order
	struct diff diff;
};

static _Noreturn void fail(struct near *n, const struct fault *f)
{
	if (!n->link.told && f->code == BLX_CORRUPT)
		far_ended(&n->far);
	link_fail(&n->link, f);
}

static void say(struct near *n, const struct treemsg *m)
{
	struct fault f;

	if (link_say(&n->link, m, &f))
		fail(n, &f);
}

// ---- HELLO

// --live: is it the replica of this device and consumer?
static bool is_pair(const struct near *n, struct fault *f)
{
	const struct sums_head *a = &n->s.head, *b = &n->theirs;

	if (b->has_replica && a->has_since && token_equal(&a->since, &b->lineage) &&
	    !strcmp(b->consumer, n->o->consumer) && b->size <= n->s.source.size)
		return true;
	fault_set(f, BLX_TARGET,
		  "%s: the far end has no replica of it, as it is tracked now, for consumer %s",
		  n->s.source.name, n->o->consumer);
	return false;
}

static void await_hello(struct near *n)
{
	struct treemsg m;
	struct fault f;

	if (link_next(&n->link, -1, &m, &f) < 0 || m.type != TREEMSG_HELLO ||
	    sums_head_parse(&n->theirs, (const char *)m.payload, m.n, &f))
		fail(n, &f);
	if (n->theirs.algorithm != n->o->algorithm || n->theirs.block != TREE_LEAF) {
		fault_set(&f, BLX_CORRUPT, "the far end digests in another way");
		fail(n, &f);
	}
	if (diff_limit(&n->s, &n->theirs, &n->limit, &f) || (n->o->live && !is_pair(n, &f)))
		fail(n, &f);
	treemsg_agree(&n->link.parser, n->o->algorithm);
}

static void say_hello(struct near *n)
{
	char text[SUMS_HEAD_MAX];
	struct treemsg m = {.type = TREEMSG_HELLO,
			    .level = n->o->live ? TREEMSG_LIVE : 0,
			    .payload = (const uint8_t *)text};

	m.n = (uint32_t)sums_head_format(&n->s.head, text);
	say(n, &m);
}

// ---- wanting

static uint32_t put_ranges(struct near *n, uint64_t base, uint64_t end, uint8_t *to)
{
	uint32_t bytes = 0;
	struct extent e;

	while (ranges_next(n->ranges, end, &e)) {
		uint64_t leaves = (e.length + TREE_LEAF - 1) / TREE_LEAF;
		put_le16(to + bytes, (uint16_t)((e.offset - base) / TREE_LEAF));
		put_le16(to + bytes + 2, (uint16_t)(leaves - 1));
		bytes += TREEMSG_RANGE;
		if (e.offset == base && e.offset + e.length == end)
			return 0; // all of it goes without saying
	}
	return bytes;
}

// The next section that has something to be compared. False: that was all.
static bool want(struct near *n)
{
	static uint8_t ranges[TREEMSG_RANGES_MAX * TREEMSG_RANGE];
	struct section *w = &n->window[n->begun % TREE_WINDOW];
	struct treemsg m = {.type = TREEMSG_WANT, .payload = ranges};
	uint64_t offset;
	struct fault f;

	if (!ranges_peek(n->ranges, &offset) || offset >= n->limit)
		return false;
	m.section = (uint32_t)(offset / TREE_SECTION);
	uint64_t base = (uint64_t)m.section * TREE_SECTION, end = base + TREE_SECTION;
	m.n = put_ranges(n, base, end < n->limit ? end : n->limit, ranges);
	if (forest_want(n->forest, m.section, m.payload, m.n, &f))
		fail(n, &f);
	say(n, &m);
	*w = (struct section){.number = m.section};
	n->begun++;
	return true;
}

// ---- comparing

static void done(struct near *n, struct section *w)
{
	struct fault f;

	w->hunting = false;
	w->done = true;
	say(n, &(struct treemsg){.type = TREEMSG_DONE, .section = w->number});
	if (forest_drop(n->forest, w->number, &f))
		fail(n, &f);
}

static void ask(struct near *n, const struct section *w)
{
	static uint8_t nodes[TREE_PARENTS * 2];

	for (uint32_t i = 0; i < w->hunt.n; i++)
		put_le16(nodes + 2 * (size_t)i, w->hunt.ask[i]);
	say(n, &(struct treemsg){.type = TREEMSG_GET,
				 .level = (uint8_t)w->hunt.level,
				 .section = w->number,
				 .payload = nodes,
				 .n = 2 * w->hunt.n});
}

// Once both roots are there.
static void compare_roots(struct near *n, struct section *w)
{
	const struct tree *mine = forest_tree(n->forest, w->number);

	if (!mine || !w->rooted)
		return;
	w->hunting = tree_hunt_begin(&w->hunt, mine, w->root);
	if (w->hunting)
		ask(n, w);
	else
		done(n, w);
}

static struct section *find(struct near *n, uint32_t number)
{
	for (uint64_t i = n->finished; i < n->begun; i++)
		if (n->window[i % TREE_WINDOW].number == number)
			return &n->window[i % TREE_WINDOW];
	return NULL;
}

static void take_root(struct near *n, struct section *w, const struct treemsg *m)
{
	memcpy(w->root, m->payload, m->n);
	w->rooted = true;
	compare_roots(n, w);
}

static void take_nodes(struct near *n, struct section *w, const struct treemsg *m)
{
	struct fault f;
	int more =
		tree_hunt_answer(&w->hunt, forest_tree(n->forest, w->number), m->payload, m->n, &f);

	if (more < 0)
		fail(n, &f);
	if (more)
		ask(n, w);
	else
		done(n, w);
}

static void take(struct near *n, const struct treemsg *m)
{
	struct section *w = find(n, m->section);
	struct fault f;

	if (m->type == TREEMSG_ROOT && w && !w->rooted) {
		take_root(n, w, m);
		return;
	}
	if (m->type == TREEMSG_NODES && w && w->hunting) {
		take_nodes(n, w, m);
		return;
	}
	fault_set(&f, BLX_CORRUPT, "the far end answers what was not asked");
	fail(n, &f);
}

static void take_ready(struct near *n)
{
	uint32_t section;
	struct fault f;
	int got;

	while ((got = forest_ready(n->forest, &section, &f)) > 0)
		compare_roots(n, find(n, section));
	if (got < 0)
		fail(n, &f);
}

// ---- the list

static void print(struct near *n, const struct section *w)
{
	uint64_t base = (uint64_t)w->number * TREE_SECTION;
	uint32_t at = 0, first, count;

	while (w->hunt.found && (count = tree_hunt_run(&w->hunt, &at, &first))) {
		uint64_t offset = base + first * (uint64_t)TREE_LEAF;
		uint64_t length = count * (uint64_t)TREE_LEAF;
		if (length > n->limit - offset)
			length = n->limit - offset;
		diff_put(&n->diff, offset, length);
	}
}

static void print_finished(struct near *n)
{
	for (; n->finished < n->begun; n->finished++) {
		const struct section *w = &n->window[n->finished % TREE_WINDOW];
		if (!w->done)
			break;
		print(n, w);
	}
}

// ---- all of it

static void compare(struct near *n)
{
	struct treemsg m;
	struct fault f;

	for (;;) {
		while (n->begun - n->finished < TREE_WINDOW && want(n))
			;
		if (n->begun == n->finished)
			return;
		int got = link_next(&n->link, forest_wake(n->forest), &m, &f);
		if (got < 0)
			fail(n, &f);
		if (got)
			take(n, &m);
		else
			take_ready(n);
		print_finished(n);
	}
}

// The far end sees that nothing changed there meanwhile, and CMD that it did well.
static void end(struct near *n)
{
	struct treemsg m;
	struct fault f;

	say(n, &(struct treemsg){.type = TREEMSG_END});
	if (link_next(&n->link, -1, &m, &f) < 0)
		fail(n, &f);
	if (m.type != TREEMSG_END)
		take(n, &m);
	if (far_wait(&n->far, n->o->timeout_ms, &f))
		die_fault(&f);
	diff_rest(&n->diff, n->o, n->ranges, n->limit, n->s.source.size);
}

int tree_compare(const struct options *options)
{
	static struct near n;
	struct options o = *options;
	struct fault f;

	o.block = TREE_LEAF;
	n.o = &o;
	if (subject_open(&n.s, &o, false, &f) || far_start(&n.far, o.cmd, &f))
		die_fault(&f);
	if (link_open(&n.link, n.far.in, n.far.out, false, o.timeout_ms, &f))
		die_fault(&f);
	say_hello(&n);
	await_hello(&n);
	n.ranges = ranges_open(&o, n.s.source.size, TREE_LEAF);
	progress_init(&n.progress, o.progress, o.only || o.used ? 0 : n.limit);
	n.forest = forest_new(&n.s.source, o.algorithm, n.limit, o.rate, &n.progress, &f);
	if (!n.forest)
		fail(&n, &f);
	n.link.moving = forest_moving;
	n.link.arg = n.forest;
	diff_begin(&n.diff, &o, &n.s, &n.theirs);
	compare(&n);
	end(&n);
	progress_end(&n.progress);
	forest_free(n.forest);
	subject_close(&n.s);
	link_close(&n.link);
	return diff_end(&n.diff);
}
