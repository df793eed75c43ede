// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "changes.h"
#include "extlist.h"
#include "flip.h"

static void describe(struct head *h, const struct tracked *t)
{
	head_init(h);
	h->size = t->dev.size;
	h->time = time(NULL);
	h->limit = h->size;
	snprintf(h->name, sizeof(h->name), "%s", t->dev.name);
	snprintf(h->label, sizeof(h->label), "%s", t->label);
}

static void describe_tracked(struct head *h, const struct tracked *t, const struct consumer *c,
			     const struct stamp *stamp)
{
	h->lineage = t->lineage;
	h->major = t->dev.major;
	h->minor = t->dev.minor;
	h->diskseq = t->dev.diskseq;
	h->start = t->dev.start;
	h->block = t->block;
	snprintf(h->serial, sizeof(h->serial), "%s", t->dev.serial);
	snprintf(h->consumer, sizeof(h->consumer), "%s", c->name);
	h->time = stamp->time;
	h->epoch = stamp->epoch;
	h->token = stamp->token;
	h->has_base = c->has_base;
	h->base_epoch = c->has_base ? c->epoch : 0;
	h->base = c->base;
	h->cursor = c->cursor;
	h->resync = c->resync;
	h->replica = c->replica;
	h->held = c->base;
}

static size_t stamps_after(const struct changes *ch, uint64_t epoch)
{
	size_t n = 0;

	for (size_t i = 0; i < ch->ndeltas; i++)
		for (size_t s = 0; s < ch->deltas[i].nstamps; s++)
			n += ch->deltas[i].stamps[s].epoch > epoch;
	return n;
}

// Base, then the tokens of all deltas after it. Beyond HEAD_CHAIN_MAX the oldest go (but never the
// partial's): a replica that stands at one of them is refused, which is safe.
static int fill_chain(struct changes *ch, const struct consumer *c, struct fault *f)
{
	size_t n = stamps_after(ch, c->epoch), room = HEAD_CHAIN_MAX - 2,
	       skip = n > room ? n - room : 0;
	int bad = c->has_base ? head_chain_add(&ch->head, &c->base) : 0;

	for (size_t i = 0; i < ch->ndeltas; i++) {
		for (size_t s = 0; s < ch->deltas[i].nstamps; s++) {
			const struct stamp *st = &ch->deltas[i].stamps[s];
			bool partial =
				ch->head.has_partial && token_equal(&st->token, &ch->head.partial);
			if (st->epoch <= c->epoch || (skip && skip-- && !partial))
				continue;
			bad = bad || head_chain_add(&ch->head, &st->token);
		}
	}
	return bad ? fault_errno(f, "list of %s", ch->head.name) : 0;
}

// A position within a block is rounded down: the block is sent as if all of it were beyond.
static void set_bounds(struct changes *ch, const struct tracked *t, const struct consumer *c)
{
	struct head *h = &ch->head;

	ch->block = t->block;
	ch->blocks = tracked_blocks(t);
	ch->cursor_block = c->cursor < h->size ? c->cursor / t->block : ch->blocks;
	ch->partial_block =
		c->has_partial && c->partial_epoch > c->epoch ? c->partial_upto / t->block : 0;
	ch->after_partial = c->partial_epoch;
	h->cursor = c->cursor < h->size ? ch->cursor_block * t->block : h->size;
	if (ch->partial_block) {
		h->has_partial = true;
		h->partial_epoch = c->partial_epoch;
		h->partial = c->partial;
		h->partial_upto = ch->partial_block * t->block;
		if (h->partial_upto > h->size)
			h->partial_upto = h->size;
	}
}

// ---- iteration

struct walk {
	struct changes *ch;
	uint64_t first; // word
	size_t at, n;   // bit within the chunk, bits in it
	uint64_t words[BITFILE_CHUNK];
};

static void live_or(const struct bitmap *b, uint64_t first, uint64_t *out, size_t n)
{
	for (size_t i = 0; i < n && first + i < b->nwords; i++)
		out[i] |= b->words[first + i];
}

static void set_from(uint64_t *words, size_t nbits, uint64_t first_bit)
{
	for (uint64_t b = first_bit; b < nbits; b = (b | 63) + 1)
		words[b / 64] |= ~0ull << (b & 63);
}

// What a comparison found counts below the partial no more; what is to come again, everywhere.
static int or_extra(struct changes *ch, uint64_t first, uint64_t *from, uint64_t *below, size_t n,
		    struct fault *f)
{
	struct bitfile *b = ch->extra;

	if (b[EXTRA_RESYNC].fd >= 0 && bitfile_or(&b[EXTRA_RESYNC], first, from, n, f))
		return -1;
	return b[EXTRA_AGAIN].fd >= 0 && (bitfile_or(&b[EXTRA_AGAIN], first, from, n, f) ||
					  bitfile_or(&b[EXTRA_AGAIN], first, below, n, f))
		       ? -1
		       : 0;
}

static int fill(struct walk *w, struct fault *f)
{
	struct changes *ch = w->ch;
	uint64_t block0 = w->first * 64, end = (ch->blocks + 63) / 64;
	size_t n = end - w->first < BITFILE_CHUNK ? (size_t)(end - w->first) : BITFILE_CHUNK;
	uint64_t below[BITFILE_CHUNK] = {0}, *from = w->words;

	memset(w->words, 0, sizeof(w->words));
	for (size_t i = 0; i < ch->ndeltas; i++) {
		uint64_t one[BITFILE_CHUNK] = {0};
		if (bitfile_or(&ch->deltas[i].bits, w->first, one, n, f))
			return -1;
		for (size_t j = 0; j < n; j++) {
			from[j] |= one[j];
			if (ch->deltas[i].epoch > ch->after_partial)
				below[j] |= one[j];
		}
	}
	if (or_extra(ch, w->first, from, below, n, f))
		return -1;
	for (size_t j = 0; j < n && block0 + j * 64 < ch->partial_block; j++) {
		uint64_t left = ch->partial_block - (block0 + j * 64);
		uint64_t mask = left >= 64 ? ~0ull : (1ull << left) - 1;
		from[j] = (from[j] & ~mask) | (below[j] & mask);
	}
	for (size_t i = 0; i < ch->nlive; i++)
		live_or(&ch->live[i], w->first, from, n);
	w->n = ch->blocks - block0 < n * 64 ? (size_t)(ch->blocks - block0) : n * 64;
	w->at = 0;
	if (ch->cursor_block < block0 + w->n)
		set_from(from, w->n, ch->cursor_block > block0 ? ch->cursor_block - block0 : 0);
	return 0;
}

// The next bit from AT on that is SET or not, up to N.
static size_t find(const uint64_t *words, size_t at, size_t n, bool set)
{
	while (at < n) {
		uint64_t w = (set ? words[at / 64] : ~words[at / 64]) >> (at & 63);
		if (w) {
			at += (size_t)__builtin_ctzll(w);
			break;
		}
		at = (at | 63) + 1;
	}
	return at < n ? at : n;
}

static void walk_begin(struct walk *w, struct changes *ch)
{
	*w = (struct walk){.ch = ch};
	for (size_t i = 0; i < ch->ndeltas; i++)
		ch->deltas[i].bits.data_at = 0;
	for (int i = 0; i < EXTRAS; i++)
		ch->extra[i].data_at = 0;
}

// The next run of blocks (a run may touch the one before: chunks end runs). 1, 0 or -1.
static int walk_next(struct walk *w, struct extent *e, struct fault *f)
{
	uint32_t block = w->ch->block;
	uint64_t end = (w->ch->blocks + 63) / 64;

	for (;;) {
		size_t from = find(w->words, w->at, w->n, true);
		if (from < w->n) {
			w->at = find(w->words, from, w->n, false);
			uint64_t base = (w->first - BITFILE_CHUNK) * 64;
			e->offset = (base + from) * block;
			e->length = (uint64_t)(w->at - from) * block;
			if (e->offset + e->length > w->ch->head.size)
				e->length = w->ch->head.size - e->offset;
			return 1;
		}
		if (w->first >= end)
			return 0;
		if (fill(w, f))
			return -1;
		w->first += BITFILE_CHUNK;
	}
}

static void blank(struct changes *ch)
{
	memset(ch, 0, sizeof(*ch));
	for (int i = 0; i < EXTRAS; i++)
		ch->extra[i].fd = -1;
}

// Before anything of the list is printed.
static int check_all(struct changes *ch, struct fault *f)
{
	for (size_t i = 0; i < ch->ndeltas; i++)
		if (bitfile_check(&ch->deltas[i].bits, f))
			return -1;
	for (int i = 0; i < EXTRAS; i++)
		if (ch->extra[i].fd >= 0 && bitfile_check(&ch->extra[i], f))
			return -1;
	return 0;
}

static int open_extra(struct changes *ch, const struct tracked *t, const struct consumer *c,
		      struct fault *f)
{
	for (enum extra i = 0; i < EXTRAS; i++)
		if (extra_open(&ch->extra[i], t, c, i, f) < 0)
			return -1;
	return 0;
}

// ---- the limit

// Where MAX_BYTES beyond the partial are spent: below it the list must be whole, or an ack could
// never pass it.
static int set_limit(struct changes *ch, uint64_t max_bytes, struct fault *f)
{
	uint32_t block = ch->block;
	struct walk w;
	struct extent e;
	int got;

	if (max_bytes >= ch->head.size)
		return 0;
	max_bytes = (max_bytes + block - 1) / block * block;
	walk_begin(&w, ch);
	while ((got = walk_next(&w, &e, f)) == 1) {
		uint64_t from = ch->head.has_partial ? ch->head.partial_upto : 0;
		if (e.offset + e.length <= from)
			continue;
		if (e.offset < from) {
			e.length -= from - e.offset;
			e.offset = from;
		}
		if (e.length > max_bytes) {
			ch->head.limit = e.offset + max_bytes;
			return 0;
		}
		max_bytes -= e.length;
	}
	return got;
}

int changes_open(struct changes *ch, const struct tracked *t, const struct consumer *c,
		 const struct stamp *stamp, uint64_t max_bytes, struct fault *f)
{
	blank(ch);
	describe(&ch->head, t);
	describe_tracked(&ch->head, t, c, stamp);
	set_bounds(ch, t, c);
	if (delta_all(t, c->epoch, &ch->deltas, &ch->ndeltas, f))
		return -1;
	if (!open_extra(ch, t, c, f) && !check_all(ch, f) && !fill_chain(ch, c, f) &&
	    (!max_bytes || !set_limit(ch, max_bytes, f)) && !head_check(&ch->head, f))
		return 0;
	changes_close(ch);
	return -1;
}

int changes_preview(struct changes *ch, const struct kernel *k, struct tracked *t,
		    const struct consumer *c, struct fault *f)
{
	uint64_t size = t->dev.size;

	blank(ch);
	if (identify_again(t, &size, f))
		return -1;
	struct tracked now = *t; // with its size as a drain would find it
	now.dev.size = size;
	describe(&ch->head, &now);
	ch->head.anonymous = true;
	set_bounds(ch, &now, c);
	ch->head.has_partial = ch->head.resync = false;
	int bad = delta_all(t, c->epoch, &ch->deltas, &ch->ndeltas, f) || open_extra(ch, t, c, f) ||
		  check_all(ch, f);
	for (; !bad && ch->nlive < 2; ch->nlive++)
		bad = kernel_bitmap_map(k, t->slot, (uint32_t)ch->nlive, &ch->live[ch->nlive], f);
	if (bad)
		changes_close(ch);
	return bad ? -1 : 0;
}

void changes_close(struct changes *ch)
{
	delta_all_free(ch->deltas, ch->ndeltas);
	for (size_t i = 0; i < ch->nlive; i++)
		kernel_bitmap_unmap(&ch->live[i]);
	for (int i = 0; i < EXTRAS; i++)
		bitfile_close(&ch->extra[i]);
	head_free(&ch->head);
	blank(ch);
}

static int clip(const struct changes *ch, struct extent *e)
{
	if (e->offset >= ch->head.limit)
		return 0;
	if (e->offset + e->length > ch->head.limit)
		e->length = ch->head.limit - e->offset;
	return 1;
}

int changes_print(struct changes *ch, FILE *to, struct fault *f)
{
	struct extlist_writer out;
	struct walk w;
	struct extent e;
	int got;

	if (extlist_begin(&out, to, &ch->head))
		return fault_errno(f, "list of %s: write", ch->head.name);
	walk_begin(&w, ch);
	while ((got = walk_next(&w, &e, f)) == 1 && clip(ch, &e))
		if (extlist_put(&out, e))
			return fault_errno(f, "list of %s: write", ch->head.name);
	if (got < 0)
		return -1;
	if (extlist_end(&out))
		return fault_errno(f, "list of %s: write", ch->head.name);
	return 0;
}

int changes_bytes(struct changes *ch, uint64_t *bytes, struct fault *f)
{
	struct walk w;
	struct extent e;
	int got;

	*bytes = 0;
	walk_begin(&w, ch);
	while ((got = walk_next(&w, &e, f)) == 1)
		*bytes += e.length;
	return got;
}
