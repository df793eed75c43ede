// SPDX-License-Identifier: BSD-2-Clause
// Slots are free, wanted, ready, or told to be. Rings of their numbers say in which order they are
// read and become ready.
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "blocks.h"
#include "bytes.h"
#include "forest.h"
#include "treemsg.h"

enum { RATE_STEP = 64 * 1024 }; // bytes, between two signs of life

struct slot {
	enum { FREE, WANTED, READY, TOLD } is;
	uint32_t section;
	uint8_t ranges[TREEMSG_RANGES_MAX * TREEMSG_RANGE];
	uint32_t n, at;    // bytes of them, and how many are queued
	struct extent now; // what of a range is not queued yet
	uint64_t left;     // bytes that have not come yet
	struct tree *tree;
};

struct forest {
	struct blocks *blocks;
	uint64_t limit;
	size_t digest_size;
	struct progress *progress;
	struct rate rate;
	int wake;
	pthread_t thread;
	bool running;

	struct slot slot[TREE_WINDOW];
	// The slots wanted, in order; counted from the beginning.
	struct slot *ring[TREE_WINDOW];
	uint64_t queued, come; // the thread's: wholly queued, wholly come

	pthread_mutex_t lock; // of what follows, and of slots' state
	pthread_cond_t work;
	uint64_t wanted, ready, told;
	uint64_t beyond;              // sections wanted so far: the source is read in order
	uint64_t moved, moved_before; // bytes
	bool stop, failed;
	struct fault fault;
};

static struct slot *ring(struct forest *t, uint64_t i)
{
	return t->ring[i % TREE_WINDOW];
}

// ---- the thread

static bool next_range(const struct forest *t, struct slot *s)
{
	uint64_t base = (uint64_t)s->section * TREE_SECTION;

	if (s->at == s->n)
		return false;
	s->now.offset = base + get_le16(s->ranges + s->at) * (uint64_t)TREE_LEAF;
	s->now.length = (get_le16(s->ranges + s->at + 2) + (uint64_t)1) * TREE_LEAF;
	if (s->now.length > t->limit - s->now.offset)
		s->now.length = t->limit - s->now.offset;
	s->at += TREEMSG_RANGE;
	return true;
}

// Queue of what is wanted as much as there is room for. 0 or -1.
static int feed(struct forest *t, uint64_t wanted, struct fault *f)
{
	for (; t->queued < wanted; t->queued++) {
		struct slot *s = ring(t, t->queued);
		while (s->now.length || next_range(t, s)) {
			if (blocks_queue(t->blocks, &s->now, f))
				return -1;
			if (s->now.length)
				return 0;
		}
	}
	return 0;
}

static void plant(struct forest *t, const struct blocks_result *r, struct slot *s)
{
	uint32_t leaf = (uint32_t)(r->offset % TREE_SECTION / TREE_LEAF);
	uint64_t n = r->hole ? 0 : (r->length + TREE_LEAF - 1) / TREE_LEAF;

	for (uint32_t i = 0; i < n; i++)
		if (!r->zero[i])
			tree_put(s->tree, leaf + i, r->digests + i * t->digest_size);
	s->left -= r->length;
	if (s->left)
		return;
	tree_finish(s->tree);
	t->come++;
	pthread_mutex_lock(&t->lock);
	s->is = READY;
	t->ready++;
	pthread_mutex_unlock(&t->lock);
	eventfd_write(t->wake, 1);
}

// False: stop.
static bool account(struct forest *t, uint64_t n)
{
	if (t->progress)
		progress_add(t->progress, n);
	pthread_mutex_lock(&t->lock);
	t->moved += n;
	bool stop = t->stop;
	pthread_mutex_unlock(&t->lock);
	return !stop;
}

// Spend what was read, in steps: who is kept waiting by a low rate is alive.
static void spend(struct forest *t, const struct blocks_result *r)
{
	uint64_t n, left = r->length;

	for (bool go = true; go && left; left -= n) {
		n = r->hole || left < RATE_STEP ? left : RATE_STEP;
		if (!r->hole)
			rate_spend(&t->rate, n);
		go = account(t, n);
	}
}

// Wait for something to do. False: stop.
static bool await_work(struct forest *t, bool idle, uint64_t *wanted)
{
	pthread_mutex_lock(&t->lock);
	while (!t->stop && idle && t->wanted == t->queued)
		pthread_cond_wait(&t->work, &t->lock);
	*wanted = t->wanted;
	bool stop = t->stop;
	pthread_mutex_unlock(&t->lock);
	return !stop;
}

static void *run(void *arg)
{
	struct forest *t = arg;
	struct blocks_result r;
	uint64_t wanted;
	struct fault f;
	int got = 0;

	while (got >= 0 && await_work(t, !got, &wanted)) {
		got = feed(t, wanted, &f);
		if (got < 0)
			break;
		got = blocks_next(t->blocks, &r, &f);
		if (got <= 0)
			continue;
		spend(t, &r);
		plant(t, &r, ring(t, t->come));
		blocks_release(t->blocks);
	}
	if (got < 0) {
		pthread_mutex_lock(&t->lock);
		t->failed = true;
		t->fault = f;
		pthread_mutex_unlock(&t->lock);
		eventfd_write(t->wake, 1);
	}
	return NULL;
}

// ---- its making

static int make_parts(struct forest *t, struct source *source, enum digest_algorithm a,
		      struct fault *f)
{
	for (size_t i = 0; i < TREE_WINDOW; i++)
		if (!(t->slot[i].tree = tree_new(a, f)))
			return -1;
	t->blocks = blocks_new(source, a, TREE_LEAF, f);
	if (!t->blocks)
		return -1;
	t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->wake < 0)
		return fault_errno(f, "eventfd");
	errno = pthread_create(&t->thread, NULL, run, t);
	t->running = !errno;
	return errno ? fault_errno(f, "thread") : 0;
}

struct forest *forest_new(struct source *source, enum digest_algorithm a, uint64_t limit,
			  uint64_t rate, struct progress *progress, struct fault *f)
{
	struct forest *t = calloc(1, sizeof(*t));

	if (!t) {
		fault_errno(f, "trees");
		return NULL;
	}
	t->limit = limit;
	t->digest_size = digest_size(a);
	t->progress = progress;
	t->wake = -1;
	rate_init(&t->rate, rate);
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->work, NULL);
	if (!make_parts(t, source, a, f))
		return t;
	forest_free(t);
	return NULL;
}

void forest_free(struct forest *t)
{
	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->stop = true;
	pthread_cond_broadcast(&t->work);
	pthread_mutex_unlock(&t->lock);
	if (t->running)
		pthread_join(t->thread, NULL);
	blocks_free(t->blocks);
	for (size_t i = 0; i < TREE_WINDOW; i++)
		tree_free(t->slot[i].tree);
	if (t->wake >= 0)
		close(t->wake);
	pthread_cond_destroy(&t->work);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

int forest_wake(const struct forest *t)
{
	return t->wake;
}

// ---- from outside

// The slot of a section, if it is so.
static struct slot *find(struct forest *t, uint32_t section, int is)
{
	struct slot *found = NULL;

	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < TREE_WINDOW; i++)
		if ((int)t->slot[i].is == is && (is == FREE || t->slot[i].section == section))
			found = &t->slot[i];
	pthread_mutex_unlock(&t->lock);
	return found;
}

// All of the section, as one range.
static void want_all(struct slot *s)
{
	put_le16(s->ranges, 0);
	put_le16(s->ranges + 2, TREE_LEAVES - 1);
	s->n = TREEMSG_RANGE;
}

static uint64_t sum_up(const struct forest *t, struct slot *s)
{
	uint64_t sum = 0, end = 0, base = (uint64_t)s->section * TREE_SECTION;

	for (s->at = 0; s->at < s->n; sum += s->now.length) {
		if (base + get_le16(s->ranges + s->at) * (uint64_t)TREE_LEAF >= t->limit)
			return 0;
		next_range(t, s);
		end = s->now.offset + s->now.length;
	}
	s->at = 0;
	s->now.length = 0;
	return end ? sum : 0;
}

int forest_want(struct forest *t, uint32_t section, const uint8_t *ranges, uint32_t n,
		struct fault *f)
{
	struct slot *s = find(t, 0, FREE);

	if (!s || section < t->beyond)
		return fault_set(f, BLX_CORRUPT, "section %u: out of order, or too many at once",
				 section);
	t->beyond = (uint64_t)section + 1;
	s->section = section;
	s->n = n;
	if (n)
		memcpy(s->ranges, ranges, n);
	else
		want_all(s);
	s->left = sum_up(t, s);
	if (!s->left)
		return fault_set(f, BLX_CORRUPT, "section %u: beyond the end", section);
	tree_clear(s->tree);
	pthread_mutex_lock(&t->lock);
	s->is = WANTED;
	t->ring[t->wanted++ % TREE_WINDOW] = s;
	pthread_cond_signal(&t->work);
	pthread_mutex_unlock(&t->lock);
	return 0;
}

int forest_ready(struct forest *t, uint32_t *section, struct fault *f)
{
	pthread_mutex_lock(&t->lock);
	int got = t->told < t->ready;
	if (got) {
		struct slot *s = ring(t, t->told++);
		s->is = TOLD;
		*section = s->section;
	} else if (t->failed) {
		*f = t->fault;
		got = -1;
	}
	pthread_mutex_unlock(&t->lock);
	return got;
}

const struct tree *forest_tree(struct forest *t, uint32_t section)
{
	struct slot *s = find(t, section, TOLD);

	return s ? s->tree : NULL;
}

int forest_drop(struct forest *t, uint32_t section, struct fault *f)
{
	struct slot *s = find(t, section, TOLD);

	if (!s)
		return fault_set(f, BLX_CORRUPT, "section %u: done, but not wanted", section);
	pthread_mutex_lock(&t->lock);
	s->is = FREE;
	pthread_mutex_unlock(&t->lock);
	return 0;
}

bool forest_moving(void *arg)
{
	struct forest *t = arg;

	pthread_mutex_lock(&t->lock);
	bool yes = t->moved != t->moved_before || t->ready == t->wanted;
	t->moved_before = t->moved;
	pthread_mutex_unlock(&t->lock);
	return yes;
}
