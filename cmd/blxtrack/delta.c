// SPDX-License-Identifier: BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bytes.h"
#include "delta.h"
#include "io.h"
#include "num.h"

#define MAGIC "BLXDELT1"
#define PREFIX "delta."
#define TEMPORARY PREFIX "new"
enum { PAGE = 4096, STAMP = 40, STAMPS_MAX = 1 << 22 };

static void file_name(char *buf, size_t n, uint64_t epoch)
{
	snprintf(buf, n, PREFIX "%" PRIu64, epoch);
}

static uint64_t stamps_at(uint64_t words)
{
	return PAGE + (words * 8 + PAGE - 1) / PAGE * PAGE;
}

// ---- writing

struct out {
	int fd;
	uint64_t words, blocks, changed;
	uint64_t mix; // a running figure of the content, salt for the token
};

static int out_open(struct out *o, const struct tracked *t, uint64_t words, uint64_t blocks,
		    struct fault *f)
{
	*o = (struct out){.words = words, .blocks = blocks, .mix = 0x9e3779b97f4a7c15};
	o->fd = openat(t->dirfd, TEMPORARY, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
		       0600);
	return o->fd < 0 ? fault_errno(f, "%s: create a delta", t->dev.name) : 0;
}

static int out_chunk(struct out *o, uint64_t first, const uint64_t *words, size_t n,
		     struct fault *f)
{
	uint8_t page[DELTA_CHUNK * 8];

	for (size_t i = 0; i < n; i++) {
		put_le64(page + 8 * i, words[i]);
		o->changed += (uint64_t)__builtin_popcountll(words[i]);
		o->mix = (o->mix ^ words[i]) * 0xff51afd7ed558ccd;
		o->mix ^= o->mix >> 32;
	}
	if (io_pwrite_full(o->fd, page, n * 8, PAGE + first * 8))
		return fault_errno(f, "delta: write at %" PRIu64, PAGE + first * 8);
	return 0;
}

static int out_close(struct out *o, const struct tracked *t, const struct stamp *stamps, size_t n,
		     unsigned int rename_flags, struct fault *f)
{
	uint8_t head[40] = MAGIC, *tail = malloc(n * STAMP);
	char name[64];

	if (!tail)
		return fault_errno(f, "delta: write");
	put_le64(head + 8, o->blocks);
	put_le64(head + 16, o->words);
	put_le64(head + 24, o->changed);
	put_le32(head + 32, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		uint8_t *p = tail + i * STAMP;
		put_le64(p, stamps[i].epoch);
		put_le64(p + 8, stamps[i].size);
		put_le64(p + 16, (uint64_t)stamps[i].time);
		memcpy(p + 24, stamps[i].token.b, 16);
	}
	int bad = io_pwrite_full(o->fd, head, sizeof(head), 0) ||
		  io_pwrite_full(o->fd, tail, n * STAMP, stamps_at(o->words));
	free(tail);
	file_name(name, sizeof(name), stamps[n - 1].epoch);
	if (bad || renameat2(t->dirfd, TEMPORARY, t->dirfd, name, rename_flags))
		return fault_errno(f, "%s: write delta %" PRIu64, t->dev.name, stamps[n - 1].epoch);
	return 0;
}

// Summary words of a chunk: is anything marked there?
static bool chunk_marked(const struct bitmap *b, uint64_t first)
{
	for (uint64_t s = first / 64; s < (first + DELTA_CHUNK) / 64 && s < b->nsummary; s++)
		if (b->summary[s])
			return true;
	return false;
}

int delta_write(const struct tracked *t, uint64_t epoch, const struct bitmap *b,
		struct stamp *stamp, uint64_t *changed, struct fault *f)
{
	struct out o;
	int bad = 0;

	if (out_open(&o, t, b->nwords, tracked_blocks(t), f))
		return -1;
	for (uint64_t w = 0; w < b->nwords && !bad; w += DELTA_CHUNK) {
		uint64_t n = b->nwords - w < DELTA_CHUNK ? b->nwords - w : DELTA_CHUNK;
		if (chunk_marked(b, w))
			bad = out_chunk(&o, w, b->words + w, n, f);
	}
	*stamp = (struct stamp){.epoch = epoch, .size = t->dev.size, .time = time(NULL)};
	uint64_t salt[] = {o.mix, epoch, o.changed, kernel_dev(t->dev.major, t->dev.minor)};
	if (!bad && token_make(&stamp->token, salt, sizeof(salt)))
		bad = fault_errno(f, "%s: make a token", t->dev.name);
	if (!bad)
		bad = out_close(&o, t, stamp, 1, RENAME_NOREPLACE, f);
	close(o.fd);
	if (bad)
		unlinkat(t->dirfd, TEMPORARY, 0);
	*changed = o.changed;
	return bad;
}

// ---- reading

static int read_stamps(struct delta *d, uint32_t n, struct fault *f)
{
	uint8_t *raw = malloc((size_t)n * STAMP);

	d->stamps = calloc(n, sizeof(*d->stamps));
	int bad = !raw || !d->stamps ||
		  io_pread_full(d->fd, raw, (size_t)n * STAMP, stamps_at(d->words)) !=
			  (ssize_t)n * STAMP;
	for (uint32_t i = 0; i < n && !bad; i++) {
		const uint8_t *p = raw + i * STAMP;
		d->stamps[i] = (struct stamp){
			get_le64(p), get_le64(p + 8), (int64_t)get_le64(p + 16), {{0}}};
		memcpy(d->stamps[i].token.b, p + 24, 16);
	}
	free(raw);
	d->nstamps = n;
	return bad ? fault_set(f, BLX_RESYNC, "delta %" PRIu64 ": damaged", d->epoch) : 0;
}

static int delta_open(const struct tracked *t, uint64_t epoch, struct delta *d, struct fault *f)
{
	uint8_t head[40];
	char name[64];

	*d = (struct delta){.epoch = epoch};
	file_name(name, sizeof(name), epoch);
	d->fd = openat(t->dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (d->fd < 0)
		return fault_errno(f, "%s: delta %" PRIu64, t->dev.name, epoch);
	int bad = io_pread_full(d->fd, head, sizeof(head), 0) != sizeof(head) ||
		  memcmp(head, MAGIC, 8);
	d->blocks = get_le64(head + 8);
	d->words = get_le64(head + 16);
	d->changed = get_le64(head + 24);
	uint32_t n = get_le32(head + 32);
	if (bad || !n || n > STAMPS_MAX || d->words > UINT32_MAX)
		bad = fault_set(f, BLX_RESYNC, "%s: delta %" PRIu64 ": damaged", t->dev.name,
				epoch);
	else if (!(bad = read_stamps(d, n, f)) && d->stamps[n - 1].epoch != epoch)
		bad = fault_set(f, BLX_RESYNC, "%s: delta %" PRIu64 ": damaged", t->dev.name,
				epoch);
	if (bad) {
		close(d->fd);
		free(d->stamps);
	}
	return bad;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

// Numbers of all deltas, ascending, malloc'ed.
static int list_numbers(const struct tracked *t, uint64_t **numbers, size_t *n, struct fault *f)
{
	int fd = openat(t->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	uint64_t v, *p;
	int bad = 0;

	*numbers = NULL;
	*n = 0;
	if (!d)
		return fault_errno(f, "%s: list deltas", t->dev.name);
	for (errno = 0; !bad && (e = readdir(d)); errno = 0) {
		if (strncmp(e->d_name, PREFIX, sizeof(PREFIX) - 1) ||
		    num_u64(e->d_name + sizeof(PREFIX) - 1, &v))
			continue;
		if (!(p = realloc(*numbers, (*n + 1) * sizeof(*p)))) {
			bad = fault_errno(f, "%s: list deltas", t->dev.name);
			break;
		}
		*numbers = p;
		p[(*n)++] = v;
	}
	// a delta that is overlooked would be a shorter list
	if (!bad && errno)
		bad = fault_errno(f, "%s: list deltas", t->dev.name);
	closedir(d);
	if (bad)
		free(*numbers);
	else if (*n)
		qsort(*numbers, *n, sizeof(**numbers), by_number);
	return bad;
}

int delta_all(const struct tracked *t, uint64_t after, struct delta **all, size_t *n,
	      struct fault *f)
{
	uint64_t *numbers;
	size_t count;

	*all = NULL;
	*n = 0;
	if (list_numbers(t, &numbers, &count, f))
		return -1;
	int bad = 0;
	if (!(*all = calloc(count + 1, sizeof(**all))))
		bad = fault_errno(f, "%s: deltas", t->dev.name);
	for (size_t i = 0; i < count && !bad; i++) {
		if (numbers[i] <= after)
			continue;
		bad = delta_open(t, numbers[i], &(*all)[*n], f);
		*n += !bad;
	}
	free(numbers);
	if (bad)
		delta_all_free(*all, *n);
	return bad;
}

void delta_all_free(struct delta *all, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		close(all[i].fd);
		free(all[i].stamps);
	}
	free(all);
}

int delta_drop(const struct tracked *t, uint64_t epoch, struct fault *f)
{
	uint64_t *numbers;
	size_t n;
	char name[64];
	int bad = 0;

	if (list_numbers(t, &numbers, &n, f))
		return -1;
	for (size_t i = 0; i < n && numbers[i] <= epoch && !bad; i++) {
		file_name(name, sizeof(name), numbers[i]);
		if (unlinkat(t->dirfd, name, 0))
			bad = fault_errno(f, "%s: drop delta %" PRIu64, t->dev.name, numbers[i]);
	}
	free(numbers);
	return bad;
}

int delta_or(struct delta *d, uint64_t first, uint64_t *out, size_t n, struct fault *f)
{
	uint8_t raw[DELTA_CHUNK * 8];
	uint64_t at = PAGE + first * 8, end = PAGE + d->words * 8;

	if (at >= end)
		return 0;
	if (at + n * 8 > end)
		n = (end - at) / 8;
	if (d->data_at < at) {
		off_t next = lseek(d->fd, (off_t)at, SEEK_DATA);
		if (next < 0 && errno != ENXIO)
			return fault_errno(f, "delta %" PRIu64 ": seek", d->epoch);
		d->data_at = next < 0 ? UINT64_MAX : (uint64_t)next;
	}
	if (d->data_at >= at + n * 8)
		return 0;
	if (io_pread_full(d->fd, raw, n * 8, at) != (ssize_t)(n * 8))
		return fault_errno(f, "delta %" PRIu64 ": read at %" PRIu64, d->epoch, at);
	for (size_t i = 0; i < n; i++)
		out[i] |= get_le64(raw + 8 * i);
	return 0;
}

const struct stamp *delta_stamp(const struct delta *all, size_t n, const struct token *token)
{
	for (size_t i = 0; i < n; i++)
		for (size_t s = 0; s < all[i].nstamps; s++)
			if (token_equal(&all[i].stamps[s].token, token))
				return &all[i].stamps[s];
	return NULL;
}

// ---- merging

// A and B become one file under B's number. The new file replaces B before A goes: a kill between
// leaves A's blocks in both, which only sends them twice.
static int merge_two(const struct tracked *t, struct delta *a, struct delta *b, struct fault *f)
{
	struct stamp *stamps = calloc(a->nstamps + b->nstamps, sizeof(*stamps));
	char from[64];
	struct out o;
	size_t n = 0;

	if (!stamps)
		return fault_errno(f, "%s: merge deltas", t->dev.name);
	// a kill between the two steps below left A's stamps in B as well
	for (size_t i = 0; i < a->nstamps; i++)
		if (!delta_stamp(b, 1, &a->stamps[i].token))
			stamps[n++] = a->stamps[i];
	memcpy(stamps + n, b->stamps, b->nstamps * sizeof(*stamps));
	n += b->nstamps;
	file_name(from, sizeof(from), a->epoch);
	uint64_t words = a->words > b->words ? a->words : b->words;
	int bad = n > STAMPS_MAX
			  ? fault_set(f, BLX_SYSTEM, "%s: too many epochs not acked", t->dev.name)
			  : 0;
	if (bad || out_open(&o, t, words, a->blocks > b->blocks ? a->blocks : b->blocks, f)) {
		free(stamps);
		return -1;
	}
	for (uint64_t w = 0; w < words && !bad; w += DELTA_CHUNK) {
		uint64_t chunk[DELTA_CHUNK] = {0}, any = 0;
		size_t len = words - w < DELTA_CHUNK ? words - w : DELTA_CHUNK;
		bad = delta_or(a, w, chunk, len, f) || delta_or(b, w, chunk, len, f) ? -1 : 0;
		for (size_t i = 0; i < len; i++)
			any |= chunk[i];
		if (!bad && any)
			bad = out_chunk(&o, w, chunk, len, f);
	}
	// the one case in which a number is written again: by one rename, and with more blocks than
	// it had
	if (!bad)
		bad = out_close(&o, t, stamps, n, 0, f);
	if (!bad && unlinkat(t->dirfd, from, 0))
		bad = fault_errno(f, "%s: merge deltas", t->dev.name);
	close(o.fd);
	if (bad)
		unlinkat(t->dirfd, TEMPORARY, 0);
	free(stamps);
	return bad;
}

int delta_merge(const struct tracked *t, size_t max, struct fault *f)
{
	struct delta *all;
	size_t n;

	if (delta_all(t, 0, &all, &n, f))
		return -1;
	// pairs from the oldest on, so that what is merged again and again is not one ever larger
	// file
	int bad = 0;
	size_t left = n;
	for (size_t i = 0; i + 1 < n && left > max && !bad; i += 2, left--)
		bad = merge_two(t, &all[i], &all[i + 1], f);
	delta_all_free(all, n);
	return bad;
}
