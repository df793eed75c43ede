// SPDX-License-Identifier: BSD-2-Clause
// --scrub: the next slice of a replica against the digests that blxapply keeps beside it. What is
// unknown is learnt. What has rotted is named, and listed as what differs from the replica.
#include <errno.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "blxsum.h"
#include "die.h"
#include "extents.h"
#include "file.h"
#include "num.h"
#include "view.h"

#define PLACE "scrub" // in the state directory: where the next slice begins
static const char FIRST[] = "blx-scrub 1\nposition: ";

enum {
	BLOCK = DIGESTFILE_BLOCK,
	CHUNK = 4 << 20,
	BLOCKS = CHUNK / BLOCK,
	ROTTEN_MAX = 1 << 20, // ranges
	PLACE_MAX = 64
};
static const uint64_t SAVE_EVERY = 1 << 30;

struct scrub {
	const char *path;
	struct view view;
	uint8_t *bytes;         // CHUNK
	uint64_t known[BLOCKS]; // entries
	uint64_t found[BLOCKS]; // of what is there; 0: it cannot be read
	struct extents rotten;  // merged where they touch
};

// ---- one chunk

// Zeroes beyond the replica's end. 0 or -1.
static int fetch(const struct scrub *s, uint64_t offset, size_t n, uint8_t *to)
{
	uint64_t end = s->view.state.size;
	size_t want = end - offset < n ? (size_t)(end - offset) : n;
	off_t data = s->view.target.block ? 0 : lseek(s->view.image, (off_t)offset, SEEK_DATA);

	if (data < 0 ? errno == ENXIO : (uint64_t)data >= offset + n) {
		memset(to, 0, n); // a hole
		return 0;
	}
	for (size_t got = 0; got < want;) { // whole blocks, as O_DIRECT wants them
		ssize_t k = pread(s->view.image, to + got, n - got, (off_t)(offset + got));
		if (k > 0)
			got += (size_t)k;
		else if (!k || errno != EINTR)
			return -1;
	}
	memset(to + want, 0, n - want);
	return 0;
}

static void find(struct scrub *s, uint64_t offset, size_t blocks)
{
	bool whole = !fetch(s, offset, blocks * BLOCK, s->bytes);

	for (size_t i = 0; i < blocks; i++) {
		uint8_t *b = s->bytes + i * BLOCK;
		bool good = whole || !fetch(s, offset + i * BLOCK, BLOCK, b);
		s->found[i] = good ? digestfile_of(b) : 0;
	}
}

// Twice, so that a glitch on the way here is not taken for rot.
static bool is_rotten(struct scrub *s, uint64_t offset, size_t i)
{
	if (s->found[i] && (!s->known[i] || s->found[i] == s->known[i]))
		return false;
	if (fetch(s, offset + i * BLOCK, BLOCK, s->bytes))
		return true;
	uint64_t again = digestfile_of(s->bytes);
	return s->known[i] && again != s->known[i];
}

static int add_rotten(struct extents *x, uint64_t offset, uint64_t length)
{
	struct extent *last = x->n ? &x->e[x->n - 1] : NULL;

	if (!last || last->offset + last->length != offset)
		return extents_add(x, (struct extent){offset, length}, ROTTEN_MAX);
	last->length += length;
	return 0;
}

// 1; 0: the replica moved on.
static int learn(struct scrub *s, uint64_t first, size_t blocks, struct fault *f)
{
	struct digestfile *d = &s->view.digests;

	for (size_t i = 0; i < blocks; i++)
		if (!s->known[i])
			s->known[i] = s->found[i];
	if (digestfile_hold(d, f))
		return -1;
	int same = view_same(&s->view);
	if (same && digestfile_write(d, first, blocks, s->known))
		same = fault_errno(f, "%s: digests: write", s->path);
	digestfile_let_go(d);
	return same;
}

// 1: done; 0: the replica moved on.
static int look_at(struct scrub *s, uint64_t offset, size_t blocks, struct extents *rotten,
		   struct fault *f)
{
	uint64_t size = s->view.state.size;
	bool bad[BLOCKS], unknown = false;

	if (digestfile_read(&s->view.digests, offset / BLOCK, blocks, s->known))
		return fault_errno(f, "%s: digests: read", s->path);
	find(s, offset, blocks);
	for (size_t i = 0; i < blocks; i++) {
		unknown = unknown || !s->known[i];
		bad[i] = is_rotten(s, offset, i);
	}
	if (!view_same(&s->view))
		return 0;
	int done = unknown ? learn(s, offset / BLOCK, blocks, f) : 1;
	for (size_t i = 0; done > 0 && i < blocks; i++) {
		uint64_t at = offset + i * BLOCK;
		if (at >= size) // it was made anew, and smaller
			break;
		uint64_t n = size - at < BLOCK ? size - at : BLOCK;
		if (bad[i] && add_rotten(rotten, at, n))
			done = fault_errno(f, "%s: too much has rotted", s->path);
	}
	return done;
}

static void say(const struct scrub *s)
{
	for (size_t i = 0; i < s->rotten.n; i++)
		warn("%s: %llu bytes at %llu are not what was written", s->path,
		     (unsigned long long)s->rotten.e[i].length,
		     (unsigned long long)s->rotten.e[i].offset);
}

// What was found before is told all the same.
static _Noreturn void give_up(const struct scrub *s, const struct fault *f)
{
	say(s);
	die_fault(f);
}

static void check(struct scrub *s, uint64_t offset, uint64_t length, struct extents *rotten)
{
	struct fault f;
	int done;

	while (!(done = look_at(s, offset, (length + BLOCK - 1) / BLOCK, rotten, &f)))
		if (view_open(&s->view, s->path, &f))
			give_up(s, &f);
	if (done < 0)
		give_up(s, &f);
}

// ---- a slice

static uint64_t place_load(const struct scrub *s)
{
	size_t n, k = strlen(FIRST);
	uint64_t at = 0;
	char *text;

	if (file_read(s->view.target.dirfd, PLACE, PLACE_MAX, &text, &n))
		return 0;
	text[strcspn(text, "\n") < n ? n - 1 : n] = 0;
	if (strncmp(text, FIRST, k) || num_u64(text + k, &at) || at % BLOCK)
		at = 0;
	free(text);
	return at;
}

static void place_save(const struct scrub *s, uint64_t at)
{
	char text[PLACE_MAX];
	int n = snprintf(text, sizeof(text), "%s%llu\n", FIRST, (unsigned long long)at);

	if (file_replace(s->view.target.dirfd, PLACE, text, (size_t)n))
		die_errno("%s/" PLACE ": write", s->view.target.dir);
}

static void check_slice(struct scrub *s, const struct options *o)
{
	uint64_t size = s->view.state.size, at = place_load(s), since = 0;
	uint64_t left = o->budget && o->budget < size ? o->budget : size;
	struct progress progress;
	struct rate rate;

	progress_init(&progress, o->progress, left);
	rate_init(&rate, o->rate);
	while (left) {
		size = s->view.state.size;
		if (at >= size)
			at = 0;
		uint64_t n = size - at < CHUNK ? size - at : CHUNK;
		if (n > left)
			n = (left + BLOCK - 1) / BLOCK * BLOCK; // the image has them
		if (n > size - at)
			n = size - at;
		check(s, at, n, &s->rotten);
		at += n;
		left -= n < left ? n : left;
		since += n;
		rate_spend(&rate, n);
		progress_add(&progress, n);
		if (since >= SAVE_EVERY) {
			place_save(s, at);
			since = 0;
		}
	}
	place_save(s, at < size ? at : 0);
	progress_end(&progress);
}

// ---- what has rotted

static int by_offset(const void *a, const void *b)
{
	const struct extent *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

// The replica may have moved on, and what had rotted been written: once more, as it is now.
static void check_again(struct scrub *s)
{
	struct extents was = s->rotten;

	s->rotten = (struct extents){0};
	if (was.n)
		qsort(was.e, was.n, sizeof(*was.e), by_offset);
	for (size_t i = 0; i < was.n; i++)
		for (uint64_t done = 0, n; done < was.e[i].length; done += n) {
			n = was.e[i].length - done < CHUNK ? was.e[i].length - done : CHUNK;
			check(s, was.e[i].offset + done, n, &s->rotten);
		}
	extents_free(&was);
}

// No token: the replica may be at another by the time the list is used, and to send these ranges
// again is right at any.
static void make_head(const struct view *v, struct head *h)
{
	const char *name = strrchr(v->target.path, '/') + 1;

	head_init(h);
	h->anonymous = true;
	h->size = h->limit = v->state.size;
	h->time = time(NULL);
	for (size_t n = 0; *name && n < HEAD_NAME_MAX; name++)
		if (isgraph((unsigned char)*name))
			h->name[n++] = *name;
}

static void print(const struct scrub *s)
{
	struct extlist_writer list;
	struct head h;

	make_head(&s->view, &h);
	if (extlist_begin(&list, stdout, &h))
		die_stdout();
	for (size_t i = 0; i < s->rotten.n; i++)
		if (extlist_put(&list, s->rotten.e[i]))
			die_stdout();
	if (extlist_end(&list))
		die_stdout();
}

int scrub(const struct options *o)
{
	static struct scrub s;
	struct fault f;

	s.path = o->path;
	view_init(&s.view);
	if (posix_memalign((void **)&s.bytes, BLOCK, CHUNK))
		die(BLX_SYSTEM, "%s: no memory", o->path);
	if (view_open(&s.view, o->path, &f))
		die_fault(&f);
	check_slice(&s, o);
	do
		check_again(&s);
	while (s.rotten.n && !view_same(&s.view));
	bool rotten = s.rotten.n;
	if (rotten) {
		say(&s);
		print(&s);
	}
	extents_free(&s.rotten);
	view_close(&s.view);
	free(s.bytes);
	return rotten ? BLX_DIFFERS : BLX_OK;
}
