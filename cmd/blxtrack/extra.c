// SPDX-License-Identifier: BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "extra.h"
#include "num.h"

#define PREFIX "extra."

static void file_name(char *buf, size_t n, const char *consumer, uint64_t number)
{
	snprintf(buf, n, PREFIX "%s.%" PRIu64, consumer, number);
}

int extra_begin(struct extra_writer *w, const struct tracked *t, struct fault *f)
{
	uint64_t blocks = tracked_blocks(t);

	memset(w, 0, sizeof(*w));
	w->t = t;
	return bitfile_create(&w->to, t->dirfd, NULL, blocks, (blocks + 63) / 64, f);
}

static int flush(struct extra_writer *w, struct fault *f)
{
	uint64_t any = 0, n = w->to.words - w->first;

	if (n > BITFILE_CHUNK)
		n = BITFILE_CHUNK;
	for (uint64_t i = 0; i < n; i++)
		any |= w->words[i];
	int bad = any ? bitfile_put(&w->to, w->first, w->words, n, f) : 0;
	memset(w->words, 0, sizeof(w->words));
	return bad;
}

// Have the chunk of a word in hand.
static int go_to(struct extra_writer *w, uint64_t word, struct fault *f)
{
	uint64_t chunk = word / BITFILE_CHUNK * BITFILE_CHUNK;

	if (chunk == w->first)
		return 0;
	if (flush(w, f))
		return -1;
	w->first = chunk;
	return 0;
}

int extra_add(struct extra_writer *w, struct extent e, struct fault *f)
{
	uint64_t last = (e.offset + e.length - 1) / w->t->block;

	for (uint64_t b = e.offset / w->t->block; b <= last; b++) {
		if (go_to(w, b / 64, f))
			return -1;
		uint64_t *word = &w->words[b / 64 - w->first];
		if (b % 64 || last - b < 63) {
			*word |= 1ull << b % 64;
		} else {
			*word = ~0ull;
			b += 63;
		}
	}
	return 0;
}

// The chunk at word AT of FROM, without the blocks before FIRST.
static int or_from(struct extra_writer *w, struct bitfile *from, uint64_t at, uint64_t first,
		   struct fault *f)
{
	uint64_t chunk[BITFILE_CHUNK] = {0};

	if (bitfile_or(from, at, chunk, BITFILE_CHUNK, f))
		return -1;
	for (size_t i = 0; i < BITFILE_CHUNK; i++) {
		uint64_t block = (at + i) * 64;
		if (block + 64 <= first)
			continue;
		w->words[i] |= block < first ? chunk[i] & ~0ull << first % 64 : chunk[i];
	}
	return 0;
}

int extra_merge(struct extra_writer *w, const struct extent *e, size_t n, struct bitfile *from,
		uint64_t first, struct fault *f)
{
	const uint64_t span = (uint64_t)BITFILE_CHUNK * 64 * w->t->block;
	size_t i = 0;

	if (from)
		from->data_at = 0;
	for (uint64_t at = 0; at < w->to.words; at += BITFILE_CHUNK) {
		uint64_t begin = at / BITFILE_CHUNK * span, end = begin + span;
		if (go_to(w, at, f) || (from && or_from(w, from, at, first, f)))
			return -1;
		for (; i < n && e[i].offset < end; i++) {
			uint64_t from_byte = e[i].offset > begin ? e[i].offset : begin;
			uint64_t to = e[i].offset + e[i].length;
			if (extra_add(w,
				      (struct extent){from_byte, (to < end ? to : end) - from_byte},
				      f))
				return -1;
			if (to > end)
				break;
		}
	}
	return 0;
}

// Write a chunk again with WORDS besides what it has, which then counts once.
static int join_chunk(struct bitfile *to, uint64_t at, uint64_t *words, uint64_t n, struct fault *f)
{
	uint64_t own[BITFILE_CHUNK] = {0};

	if (bitfile_or(to, at, own, n, f))
		return -1;
	for (uint64_t i = 0; i < n; i++) {
		to->set -= (uint64_t)__builtin_popcountll(own[i]);
		words[i] |= own[i];
	}
	return bitfile_put(to, at, words, n, f);
}

int extra_join(struct extra_writer *w, struct bitfile *from, struct fault *f)
{
	uint64_t chunk[BITFILE_CHUNK];

	if (flush(w, f))
		return -1;
	w->to.data_at = from->data_at = 0;
	for (uint64_t at = 0; at < w->to.words; at += BITFILE_CHUNK) {
		uint64_t n = w->to.words - at, any = 0;
		if (n > BITFILE_CHUNK)
			n = BITFILE_CHUNK;
		memset(chunk, 0, sizeof(chunk));
		if (bitfile_or(from, at, chunk, n, f))
			return -1;
		for (uint64_t i = 0; i < n; i++)
			any |= chunk[i];
		if (any && join_chunk(&w->to, at, chunk, n, f))
			return -1;
	}
	return 0;
}

void extra_drop(struct extra_writer *w)
{
	bitfile_close(&w->to);
}

// A number that the record does not name; a file of that name was left by somebody who was killed.
static int give_name(const struct extra_writer *w, const struct consumer *c, uint64_t *number,
		     struct fault *f)
{
	char name[128], self[64];

	*number = 1;
	for (int i = 0; i < EXTRAS; i++)
		if (c->extra[i] >= *number)
			*number = c->extra[i] + 1;
	file_name(name, sizeof(name), c->name, *number);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", w->to.fd);
	if (unlinkat(w->t->dirfd, name, 0) && errno != ENOENT)
		return fault_errno(f, "%s: %s: remove", w->t->dev.name, name);
	if (linkat(AT_FDCWD, self, w->t->dirfd, name, AT_SYMLINK_FOLLOW))
		return fault_errno(f, "%s: %s: create", w->t->dev.name, name);
	return 0;
}

int extra_end(struct extra_writer *w, struct consumer *c, enum extra kind, struct fault *f)
{
	uint64_t number = 0;
	int bad = flush(w, f) || bitfile_end(&w->to, NULL, 0, 0, f);

	if (!bad && w->to.set)
		bad = give_name(w, c, &number, f);
	bitfile_close(&w->to);
	if (bad)
		return -1;
	c->extra[kind] = number;
	return 0;
}

int extra_open(struct bitfile *b, const struct tracked *t, const struct consumer *c,
	       enum extra kind, struct fault *f)
{
	char name[128], what[192];

	if (!c->extra[kind])
		return 0;
	file_name(name, sizeof(name), c->name, c->extra[kind]);
	snprintf(what, sizeof(what), "%s: what consumer %s lacks besides", t->dev.name, c->name);
	return bitfile_open(b, t->dirfd, name, what, f) ? -1 : 1;
}

static bool named(const struct consumer *c, uint64_t number)
{
	for (int i = 0; i < EXTRAS; i++)
		if (c->extra[i] == number)
			return true;
	return false;
}

int extra_tidy(const struct tracked *t, const struct consumer *c, struct fault *f)
{
	char prefix[128];
	size_t len = (size_t)snprintf(prefix, sizeof(prefix), PREFIX "%s.", c->name);
	int fd = openat(t->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), bad = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	uint64_t number;

	if (!d)
		return fault_errno(f, "%s: list the consumers' files", t->dev.name);
	while (!bad && (e = readdir(d)))
		if (!strncmp(e->d_name, prefix, len) && !num_u64(e->d_name + len, &number) &&
		    !named(c, number) && unlinkat(t->dirfd, e->d_name, 0))
			bad = fault_errno(f, "%s: %s: remove", t->dev.name, e->d_name);
	closedir(d);
	return bad;
}
