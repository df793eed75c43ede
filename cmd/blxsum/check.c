// SPDX-License-Identifier: BSD-2-Clause
// Compare with a digest list: both go by in order, the list's lines and the blocks that were read.
#include <string.h>
#include <unistd.h>

#include "blocks.h"
#include "blxsum.h"
#include "die.h"

struct check {
	const struct options *o;
	struct subject s;
	struct sums_head theirs;
	struct sums_reader *list;
	struct sums_line line; // the one that holds the offset looked at last
	struct diff diff;
};

// Go on to the line that holds OFFSET.
static void seek(struct check *c, uint64_t offset)
{
	struct fault f;

	while (c->line.offset + c->line.length <= offset)
		if (sums_next(c->list, &c->line, &f) <= 0)
			die_fault(&f);
}

// What was read is zero; the list may have many lines for it, or one for more.
static void compare_zero(struct check *c, uint64_t offset, uint64_t length)
{
	for (uint64_t end = offset + length, n; offset < end; offset += n) {
		seek(c, offset);
		n = c->line.offset + c->line.length - offset;
		n = n < end - offset ? n : end - offset;
		if (!c->line.zero)
			diff_put(&c->diff, offset, n);
	}
}

static void compare(struct check *c, const struct blocks_result *r)
{
	size_t size = digest_size(c->theirs.algorithm);
	uint64_t n, block = c->theirs.block;

	if (r->hole) {
		compare_zero(c, r->offset, r->length);
		return;
	}
	for (uint64_t at = 0, i = 0; at < r->length; at += n, i++) {
		n = r->length - at < block ? r->length - at : block;
		if (r->zero[i]) {
			compare_zero(c, r->offset + at, n);
			continue;
		}
		seek(c, r->offset + at);
		if (c->line.zero || memcmp(r->digests + i * size, c->line.digest, size))
			diff_put(&c->diff, r->offset + at, n);
	}
}

static void compare_ranges(struct check *c, uint64_t limit)
{
	struct extent e = {0, 0};
	struct blocks_result r;
	struct progress progress;
	struct rate rate;
	struct fault f;
	int got = 1;

	struct ranges *ranges = ranges_open(c->o, c->s.source.size, c->theirs.block);
	struct blocks *b = blocks_new(&c->s.source, c->theirs.algorithm, c->theirs.block, &f);
	if (!b)
		die_fault(&f);
	progress_init(&progress, c->o->progress, c->o->only || c->o->used ? 0 : limit);
	rate_init(&rate, c->o->rate);
	for (;;) {
		while (got > 0 && (e.length || ranges_next(ranges, limit, &e))) {
			if (blocks_queue(b, &e, &f))
				die_fault(&f);
			if (e.length)
				break;
		}
		got = blocks_next(b, &r, &f);
		if (got <= 0)
			break;
		compare(c, &r);
		if (!r.hole)
			rate_spend(&rate, r.length);
		progress_add(&progress, r.length);
		blocks_release(b);
	}
	if (got < 0)
		die_fault(&f);
	progress_end(&progress);
	blocks_free(b);
	diff_rest(&c->diff, c->o, ranges, limit, c->s.source.size);
}

// The end line says whether the list is whole.
static void finish_list(struct check *c)
{
	struct fault f;
	int got;

	while ((got = sums_next(c->list, &c->line, &f)) > 0)
		;
	if (got < 0)
		die_fault(&f);
}

int check_digests(const struct options *o)
{
	static struct check c;
	struct options mine = *o;
	uint64_t limit;
	struct fault f;

	c.o = &mine;
	c.list = sums_reader_new(STDIN_FILENO, &f);
	if (!c.list || sums_reader_head(c.list, &c.theirs, &f))
		die_fault(&f);
	mine.block = c.theirs.block;
	mine.algorithm = c.theirs.algorithm;
	if (subject_open(&c.s, &mine, false, &f) || diff_limit(&c.s, &c.theirs, &limit, &f))
		die_fault(&f);
	diff_begin(&c.diff, o, &c.s, &c.theirs);
	compare_ranges(&c, limit);
	finish_list(&c);
	int code = diff_end(&c.diff);
	sums_reader_free(c.list);
	subject_close(&c.s);
	return code;
}
