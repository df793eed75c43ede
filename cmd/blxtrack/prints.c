// SPDX-License-Identifier: BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "io.h"
#include "prints.h"

enum {
	PAGE = 4096,
	PIECE = 1 << 16, // of each range that is checked by itself
	ENDS = 1 << 20,
	PART_ENDS = 1 << 17,
	SPREAD = 256, // samples of the rest
	NEWEST = 512, // blocks of the newest delta
	OLDER = 256,  // of all others
	PRINTS_MAX = 1 << 13,
	SECTOR = 512,
};

struct taking {
	const struct tracked *t;
	const struct extents *except;
	struct extents want;
	int fd;
	uint8_t *buf; // PIECE bytes, page-aligned
};

static int open_device(struct taking *g, const struct tracked *t, const struct extents *except,
		       struct fault *f)
{
	*g = (struct taking){.t = t, .except = except, .fd = -1};
	if (!(g->buf = aligned_alloc(PAGE, PIECE)))
		return fault_errno(f, "%s: samples", t->dev.name);
	// past the page cache, which does not see what a file system has written
	g->fd = blkdev_open(&t->dev, O_RDONLY | O_DIRECT, f);
	if (g->fd >= 0)
		return 0;
	free(g->buf);
	return -1;
}

static void close_device(struct taking *g)
{
	close(g->fd);
	free(g->buf);
	extents_free(&g->want);
}

// ---- what to look at

// [FROM, FROM + LENGTH), whole pages, as far as it lies on the device.
static int want(struct taking *g, uint64_t from, uint64_t length, struct fault *f)
{
	uint64_t size = g->t->dev.size, end = from + length;

	from = from / PAGE * PAGE;
	end = (end + PAGE - 1) / PAGE * PAGE;
	end = end > size ? size : end;
	for (; from < end; from += PIECE)
		if (extents_add(&g->want,
				(struct extent){from, end - from < PIECE ? end - from : PIECE},
				PRINTS_MAX))
			return fault_errno(f, "%s: samples", g->t->dev.name);
	return 0;
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int read_at(struct taking *g, size_t n, uint64_t at, struct fault *f)
{
	ssize_t got = io_pread_full(g->fd, g->buf, n, at);

	if (got < 0)
		return fault_errno(f, "%s: read at %" PRIu64, g->t->dev.name, at);
	memset(g->buf + got, 0, n - (size_t)got);
	return 0;
}

// The cycle in which a sector of the log was written stands at its beginning, or behind the magic
// number of a record's head.
static int log_cycle(struct taking *g, uint64_t at, uint32_t *cycle, struct fault *f)
{
	if (read_at(g, PAGE, at / PAGE * PAGE, f))
		return -1;
	const uint8_t *p = g->buf + at % PAGE;
	*cycle = be32(p) == 0xfeedbabe ? be32(p + 4) : be32(p);
	return 0;
}

// An xfs that begins at FROM: whoever mounts it to write goes on where its log ends, that is where
// the cycle changes.
static int want_log(struct taking *g, uint64_t from, struct fault *f)
{
	if (from + PAGE > g->t->dev.size || read_at(g, PAGE, from, f))
		return from + PAGE > g->t->dev.size ? 0 : -1;
	const uint8_t *sb = g->buf;
	uint64_t block = be32(sb + 4), start = (uint64_t)be32(sb + 48) << 32 | be32(sb + 52);
	uint64_t ag_blocks = be32(sb + 84), log_blocks = be32(sb + 96);
	unsigned int ag_log = sb[124];
	if (memcmp(sb, "XFSB", 4) || !start || ag_log > 31 || block < SECTOR || block > 1 << 16)
		return 0;
	uint64_t ag = start >> ag_log, in_ag = start & ((1ull << ag_log) - 1);
	uint64_t log = from + (ag * ag_blocks + in_ag) * block;
	uint64_t sectors = log_blocks * block / SECTOR, low = 0, high = sectors;
	uint32_t first, cycle;
	if (log > g->t->dev.size || log_blocks * block > g->t->dev.size - log || !sectors ||
	    log_cycle(g, log, &first, f))
		return 0;
	while (low + 1 < high) {
		uint64_t middle = low + (high - low) / 2;
		if (log_cycle(g, log + middle * SECTOR, &cycle, f))
			return -1;
		if (cycle == first)
			low = middle;
		else
			high = middle;
	}
	uint64_t head = high % sectors * SECTOR;
	return want(g, log + head, PIECE, f) || want(g, log, PIECE, f);
}

static bool read_number(const char *dir, const char *name, const char *attr, uint64_t *v)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%.64s/%s", dir, name, attr);
	FILE *in = fopen(path, "re");
	bool got = in && fscanf(in, "%" SCNu64, v) == 1;
	if (in)
		fclose(in);
	return got;
}

static int want_partitions(struct taking *g, struct fault *f)
{
	const struct blkdev *d = &g->t->dev;
	char path[64];
	struct dirent *e;
	uint64_t number, start, sectors;
	int bad = 0;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", d->major, d->minor);
	DIR *dir = d->partition ? NULL : opendir(path);
	while (dir && !bad && (e = readdir(dir))) {
		if (!read_number(path, e->d_name, "partition", &number) ||
		    !read_number(path, e->d_name, "start", &start) ||
		    !read_number(path, e->d_name, "size", &sectors))
			continue;
		start *= SECTOR;
		uint64_t end = start + sectors * SECTOR;
		bad = want(g, start, PART_ENDS, f) || want_log(g, start, f) ||
		      (end > PART_ENDS && want(g, end - PART_ENDS, PART_ENDS, f));
	}
	if (dir)
		closedir(dir);
	return bad;
}

// About ROOM blocks of a delta, from all over it.
static int want_changed(struct taking *g, struct delta *d, uint64_t room, struct fault *f)
{
	uint64_t step = d->bits.set / room + 1, nth = 0, words[BITFILE_CHUNK];
	uint32_t block = g->t->block;

	d->bits.data_at = 0;
	for (uint64_t at = 0; at < d->bits.words; at += BITFILE_CHUNK) {
		memset(words, 0, sizeof(words));
		if (bitfile_or(&d->bits, at, words, BITFILE_CHUNK, f))
			return -1;
		for (uint64_t i = 0; i < (uint64_t)BITFILE_CHUNK * 64; i++)
			if (words[i / 64] >> i % 64 & 1 && nth++ % step == 0 &&
			    want(g, (at * 64 + i) * block, block < PIECE ? block : PIECE, f))
				return -1;
	}
	return 0;
}

static int by_offset(const void *a, const void *b)
{
	const struct extent *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int choose(struct taking *g, struct delta *all, size_t n, struct fault *f)
{
	uint64_t size = g->t->dev.size;

	if (want(g, 0, ENDS, f) || (size > ENDS && want(g, size - ENDS, ENDS, f)) ||
	    want_log(g, 0, f) || want_partitions(g, f))
		return -1;
	for (uint64_t i = 1; i < SPREAD; i++)
		if (want(g, size / SPREAD * i, PAGE, f))
			return -1;
	for (size_t i = n; i-- > 0;)
		if (want_changed(g, &all[i], i + 1 == n ? NEWEST : OLDER / n + 1, f))
			return -1;
	qsort(g->want.e, g->want.n, sizeof(*g->want.e), by_offset);
	return 0;
}

// ---- looking

// The check of a range, with what is excepted taken for zeroes.
static int print_of(struct taking *g, struct extent e, uint64_t *sum, struct fault *f)
{
	if (read_at(g, e.length, e.offset, f))
		return -1;
	for (size_t i = 0; i < g->except->n; i++) {
		const struct extent *x = &g->except->e[i];
		uint64_t from = x->offset > e.offset ? x->offset : e.offset;
		uint64_t end = x->offset + x->length < e.offset + e.length ? x->offset + x->length
									   : e.offset + e.length;
		if (from < end)
			memset(g->buf + (from - e.offset), 0, end - from);
	}
	*sum = check_of(g->buf, e.length, 0);
	return 0;
}

int prints_take(const struct tracked *t, struct delta *all, size_t n, const struct extents *except,
		FILE *to, struct fault *f)
{
	struct taking g;
	uint64_t sum;

	if (open_device(&g, t, except, f))
		return -1;
	int bad = choose(&g, all, n, f);
	for (size_t i = 0; i < g.want.n && !bad; i++) {
		bad = print_of(&g, g.want.e[i], &sum, f);
		fprintf(to, "print: %" PRIu64 " %" PRIu64 " %016" PRIx64 "\n", g.want.e[i].offset,
			g.want.e[i].length, sum);
	}
	close_device(&g);
	return bad;
}

int prints_compare(const struct tracked *t, const struct kv *kv, const struct extents *except,
		   uint64_t *differs, struct fault *f)
{
	struct taking g;
	int same = 1;

	if (open_device(&g, t, except, f))
		return -1;
	for (const char *p = kv->text; p < kv->text + kv->n && same == 1; p += strlen(p) + 1) {
		struct extent e;
		uint64_t sum, was;
		if (sscanf(p, "print: %" SCNu64 " %" SCNu64 " %" SCNx64, &e.offset, &e.length,
			   &was) != 3)
			continue;
		if (e.length > PIECE || print_of(&g, e, &sum, f))
			same = e.length > PIECE ? fault_set(f, BLX_CORRUPT, "saved state: samples")
						: -1;
		else if (sum != was)
			same = 0;
		*differs = e.offset;
	}
	close_device(&g);
	return same;
}
