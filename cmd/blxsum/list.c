// SPDX-License-Identifier: BSD-2-Clause
// Print the digests of all blocks.
#include <string.h>

#include "blocks.h"
#include "blxsum.h"
#include "die.h"

static void put_blocks(struct sums_writer *w, const struct blocks_result *r,
		       const struct options *o)
{
	size_t size = digest_size(o->algorithm);
	struct sums_line l = {.offset = r->offset, .length = r->length, .zero = true};

	if (r->hole) {
		sums_put(w, &l);
		return;
	}
	for (uint64_t at = 0, i = 0; at < r->length; at += l.length, i++) {
		l.offset = r->offset + at;
		l.length = r->length - at < o->block ? r->length - at : o->block;
		l.zero = r->zero[i];
		if (!l.zero)
			memcpy(l.digest, r->digests + i * size, size);
		sums_put(w, &l);
	}
}

// All of the subject, in order.
static void digest_all(struct subject *s, struct sums_writer *w, const struct options *o)
{
	struct extent all = {0, s->head.size};
	struct blocks_result r;
	struct progress progress;
	struct rate rate;
	struct fault f;
	int got;

	struct blocks *b = blocks_new(&s->source, o->algorithm, o->block, &f);
	if (!b)
		die_fault(&f);
	progress_init(&progress, o->progress, all.length);
	rate_init(&rate, o->rate);
	while (!(got = blocks_queue(b, &all, &f)) && (got = blocks_next(b, &r, &f)) > 0) {
		put_blocks(w, &r, o);
		if (!r.hole)
			rate_spend(&rate, r.length);
		progress_add(&progress, r.length);
		blocks_release(b);
		if (ferror(stdout))
			die_stdout();
	}
	progress_end(&progress);
	if (got < 0)
		die_fault(&f);
	blocks_free(b);
}

int list_digests(const struct options *o)
{
	static struct subject s;
	struct fault f;

	if (subject_open(&s, o, true, &f))
		die_fault(&f);
	if (s.wrong[0])
		warn("%s: %s: the digests name no token of it", s.source.name, s.wrong);
	struct sums_writer *w = sums_begin(stdout, &s.head, &f);
	if (!w)
		die_fault(&f);
	digest_all(&s, w, o);
	if (subject_unchanged(&s, &f))
		die_fault(&f);
	if (sums_end(w))
		die_stdout();
	subject_close(&s);
	return BLX_OK;
}
