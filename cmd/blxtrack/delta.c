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
#include "num.h"

#define PREFIX "delta."
#define TEMPORARY PREFIX "new"
enum { STAMP = 48, STAMPS_MAX = 1 << 22 };

static void file_name(char *buf, size_t n, uint64_t epoch)
{
	snprintf(buf, n, PREFIX "%" PRIu64, epoch);
}

// ---- writing

// The file gets its stamps, and its name by the last one.
static int finish(struct bitfile *b, const struct tracked *t, const struct stamp *stamps, size_t n,
		  unsigned int rename_flags, struct fault *f)
{
	uint8_t *tail = malloc(n * STAMP);
	char name[64];

	if (!tail)
		return fault_errno(f, "delta: write");
	for (size_t i = 0; i < n; i++) {
		uint8_t *p = tail + i * STAMP;
		put_le64(p, stamps[i].epoch);
		put_le64(p + 8, stamps[i].size);
		put_le64(p + 16, (uint64_t)stamps[i].time);
		put_le64(p + 24, stamps[i].after);
		memcpy(p + 32, stamps[i].token.b, 16);
	}
	int bad = bitfile_end(b, tail, (uint32_t)n, STAMP, f);
	free(tail);
	file_name(name, sizeof(name), stamps[n - 1].epoch);
	if (!bad && renameat2(t->dirfd, TEMPORARY, t->dirfd, name, rename_flags))
		bad = fault_errno(f, "%s: write delta %" PRIu64, t->dev.name, stamps[n - 1].epoch);
	return bad;
}

// Summary words of a chunk: is anything marked there?
static bool chunk_marked(const struct bitmap *b, uint64_t first)
{
	for (uint64_t s = first / 64; s < (first + BITFILE_CHUNK) / 64 && s < b->nsummary; s++)
		if (b->summary[s])
			return true;
	return false;
}

int delta_write(const struct tracked *t, uint64_t epoch, const struct bitmap *b,
		struct stamp *stamp, struct fault *f)
{
	struct bitfile o;
	int bad = 0;

	if (bitfile_create(&o, t->dirfd, TEMPORARY, tracked_blocks(t), b->nwords, f))
		return -1;
	for (uint64_t w = 0; w < b->nwords && !bad; w += BITFILE_CHUNK) {
		uint64_t n = b->nwords - w < BITFILE_CHUNK ? b->nwords - w : BITFILE_CHUNK;
		if (chunk_marked(b, w))
			bad = bitfile_put(&o, w, b->words + w, n, f);
	}
	*stamp = (struct stamp){
		.epoch = epoch, .size = t->dev.size, .time = time(NULL), .after = t->newest};
	uint64_t salt[] = {o.mix, epoch, o.set, kernel_dev(t->dev.major, t->dev.minor)};
	if (!bad && token_make(&stamp->token, salt, sizeof(salt)))
		bad = fault_errno(f, "%s: make a token", t->dev.name);
	if (!bad)
		bad = finish(&o, t, stamp, 1, RENAME_NOREPLACE, f);
	bitfile_close(&o);
	if (bad)
		unlinkat(t->dirfd, TEMPORARY, 0);
	return bad;
}

// ---- reading

static int read_stamps(struct delta *d, const char *what, struct fault *f)
{
	uint32_t n = d->bits.records;
	uint8_t *raw = malloc((size_t)n * STAMP);

	d->stamps = calloc(n, sizeof(*d->stamps));
	int bad = !raw || !d->stamps ? fault_errno(f, "%s", what)
				     : bitfile_records(&d->bits, raw, STAMP, f);
	for (uint32_t i = 0; i < n && !bad; i++) {
		const uint8_t *p = raw + i * STAMP;
		d->stamps[i] = (struct stamp){.epoch = get_le64(p),
					      .size = get_le64(p + 8),
					      .time = (int64_t)get_le64(p + 16),
					      .after = get_le64(p + 24)};
		memcpy(d->stamps[i].token.b, p + 32, 16);
	}
	free(raw);
	d->nstamps = n;
	return bad;
}

static int delta_open(const struct tracked *t, uint64_t epoch, struct delta *d, struct fault *f)
{
	char name[64], what[128];

	*d = (struct delta){.epoch = epoch};
	file_name(name, sizeof(name), epoch);
	snprintf(what, sizeof(what), "%s: delta %" PRIu64, t->dev.name, epoch);
	if (bitfile_open(&d->bits, t->dirfd, name, what, f))
		return -1;
	uint32_t n = d->bits.records;
	int bad = n ? read_stamps(d, what, f) : 0;
	if (!bad && (!n || d->stamps[n - 1].epoch != epoch))
		bad = fault_set(f, BLX_RESYNC, "%s: damaged", what);
	if (bad) {
		bitfile_close(&d->bits);
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

// Those after epoch AFTER.
static int open_all(const struct tracked *t, uint64_t after, struct delta **all, size_t *n,
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
	if (!bad)
		return 0;
	delta_all_free(*all, *n);
	*all = NULL;
	*n = 0;
	return -1;
}

// Each stamp names the one before it, the tracker's record the last: a file that somebody removed
// leaves a gap. (Numbers alone do not tell: that of a flip that was killed belongs to no delta.)
static bool complete(const struct tracked *t, uint64_t after, const struct delta *all, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t s = 0; s < all[i].nstamps; s++) {
			if (all[i].stamps[s].after > after)
				return false;
			if (all[i].stamps[s].epoch > after)
				after = all[i].stamps[s].epoch;
		}
	}
	return t->newest <= after;
}

int delta_all(const struct tracked *t, uint64_t after, struct delta **all, size_t *n,
	      struct fault *f)
{
	if (open_all(t, after, all, n, f))
		return -1;
	if (complete(t, after, *all, *n))
		return 0;
	delta_all_free(*all, *n);
	*all = NULL;
	*n = 0;
	return fault_set(f, BLX_RESYNC, "%s: a delta after epoch %" PRIu64 " is gone", t->dev.name,
			 after);
}

void delta_all_free(struct delta *all, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bitfile_close(&all[i].bits);
		free(all[i].stamps);
	}
	free(all);
}

int delta_count(const struct tracked *t, size_t *n, struct fault *f)
{
	uint64_t *numbers;

	if (list_numbers(t, &numbers, n, f))
		return -1;
	free(numbers);
	return 0;
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

const struct stamp *delta_stamp(const struct delta *all, size_t n, const struct token *token)
{
	for (size_t i = 0; i < n; i++)
		for (size_t s = 0; s < all[i].nstamps; s++)
			if (token_equal(&all[i].stamps[s].token, token))
				return &all[i].stamps[s];
	return NULL;
}

// ---- merging

// The union of both, to the file that is being written.
static int put_both(struct bitfile *o, struct bitfile *a, struct bitfile *b, struct fault *f)
{
	for (uint64_t w = 0; w < o->words; w += BITFILE_CHUNK) {
		uint64_t chunk[BITFILE_CHUNK] = {0}, any = 0;
		size_t len = o->words - w < BITFILE_CHUNK ? o->words - w : BITFILE_CHUNK;
		if (bitfile_or(a, w, chunk, len, f) || bitfile_or(b, w, chunk, len, f))
			return -1;
		for (size_t i = 0; i < len; i++)
			any |= chunk[i];
		if (any && bitfile_put(o, w, chunk, len, f))
			return -1;
	}
	return 0;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

// A and B become one file under B's number. The new file replaces B before A goes: a kill between
// leaves A's blocks in both, which only sends them twice.
static int merge_two(const struct tracked *t, struct delta *a, struct delta *b, struct fault *f)
{
	struct stamp *stamps = calloc(a->nstamps + b->nstamps, sizeof(*stamps));
	struct bitfile o;
	char from[64];
	size_t n = 0;

	if (!stamps)
		return fault_errno(f, "%s: merge deltas", t->dev.name);
	// a kill between the two steps below left A's stamps in B as well
	for (size_t i = 0; i < a->nstamps; i++)
		if (!delta_stamp(b, 1, &a->stamps[i].token))
			stamps[n++] = a->stamps[i];
	memcpy(stamps + n, b->stamps, b->nstamps * sizeof(*stamps));
	n += b->nstamps;
	int bad = n > STAMPS_MAX
			  ? fault_set(f, BLX_SYSTEM, "%s: too many epochs not acked", t->dev.name)
			  : 0;
	if (bad || bitfile_create(&o, t->dirfd, TEMPORARY, larger(a->bits.blocks, b->bits.blocks),
				  larger(a->bits.words, b->bits.words), f)) {
		free(stamps);
		return -1;
	}
	bad = put_both(&o, &a->bits, &b->bits, f);
	// the one case in which a number is written again: by one rename, and with more blocks than
	// it had
	if (!bad)
		bad = finish(&o, t, stamps, n, 0, f);
	file_name(from, sizeof(from), a->epoch);
	if (!bad && unlinkat(t->dirfd, from, 0))
		bad = fault_errno(f, "%s: merge deltas", t->dev.name);
	bitfile_close(&o);
	if (bad)
		unlinkat(t->dirfd, TEMPORARY, 0);
	free(stamps);
	return bad;
}

int delta_merge(const struct tracked *t, size_t max, struct fault *f)
{
	struct delta *all;
	size_t n;

	if (delta_count(t, &n, f))
		return -1;
	if (n <= max) // most often; and what nobody reads need not be whole
		return 0;
	if (open_all(t, 0, &all, &n, f))
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
