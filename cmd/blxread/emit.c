// SPDX-License-Identifier: BSD-2-Clause
// Zeroes are looked for by pieces of 4 KiB of the device; a run of them goes on over chunks.
#include <string.h>

#include "emit.h"

enum { PIECE = 4096 };

// Zero if the first 16 bytes are, and every byte equals the one 16 before it; memcmp is faster than
// any loop here.
static bool is_zero(const uint8_t *p, size_t n)
{
	size_t first = n < 16 ? n : 16;

	for (size_t i = 0; i < first; i++)
		if (p[i])
			return false;
	return !memcmp(p, p + first, n - first);
}

int emit_flush(struct emit *e)
{
	struct extent run = e->run;

	e->run.length = 0;
	if (!run.length)
		return 0;
	return e->bad ? stream_write_bad(e->to, run.offset, run.length)
		      : stream_write_zero(e->to, run.offset, run.length);
}

static int put_run(struct emit *e, uint64_t offset, uint64_t n, bool bad)
{
	progress_add(&e->progress, n);
	if (e->run.length && e->bad == bad && e->run.offset + e->run.length == offset) {
		e->run.length += n;
		return 0;
	}
	if (emit_flush(e))
		return -1;
	e->run = (struct extent){offset, n};
	e->bad = bad;
	return 0;
}

int emit_bad(struct emit *e, uint64_t offset, uint64_t n)
{
	return put_run(e, offset, n, true);
}

static int put_data(struct emit *e, uint64_t offset, const uint8_t *p, size_t n)
{
	if (emit_flush(e))
		return -1;
	rate_spend(&e->rate, n);
	progress_add(&e->progress, n);
	return stream_write_data(e->to, offset, p, n);
}

// Bytes from I on, up to N, that are all zero or all data.
static size_t run_length(const uint8_t *p, uint64_t offset, size_t i, size_t n, bool *zero)
{
	size_t end = i;

	while (end < n) {
		size_t piece = PIECE - (size_t)((offset + end) % PIECE);
		if (piece > n - end)
			piece = n - end;
		bool z = is_zero(p + end, piece);
		if (end == i)
			*zero = z;
		else if (z != *zero)
			break;
		end += piece;
	}
	return end - i;
}

int emit_chunk(struct emit *e, const struct readahead_chunk *c)
{
	if (!c->data)
		return put_run(e, c->offset, c->length, false);
	for (size_t i = 0, n; i < c->length; i += n) {
		bool zero = false;
		n = run_length(c->data, c->offset, i, (size_t)c->length, &zero);
		if (zero ? put_run(e, c->offset + i, n, false)
			 : put_data(e, c->offset + i, c->data + i, n))
			return -1;
	}
	return 0;
}
