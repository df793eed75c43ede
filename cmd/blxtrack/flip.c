// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flip.h"

enum { DELTAS_MAX = 64 }; // a device keeps about so many before neighbours are merged

static bool any_marked(const struct bitmap *b)
{
	for (uint64_t s = 0; s < b->nsummary; s++)
		if (b->summary[s])
			return true;
	return false;
}

// Words first, the summary last: killed between, the summary still leads to what is set.
static void zero(const struct bitmap *b)
{
	for (uint64_t w = 0; w < b->nwords; w += 64)
		if (__atomic_load_n(&b->summary[w / 64], __ATOMIC_RELAXED))
			memset(b->words + w, 0, (b->nwords - w < 64 ? b->nwords - w : 64) * 8);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	memset(b->summary, 0, b->nsummary * 8);
}

// What a bitmap holds becomes the next delta. The number is spent before the delta exists: a kill
// leaves a gap, never a number used twice.
static int cut(struct tracked *t, const struct bitmap *b, struct stamp *stamp, struct fault *f)
{
	t->epoch++;
	if (tracked_save(t, f) || delta_write(t, t->epoch, b, stamp, f))
		return -1;
	t->newest = t->epoch;
	return 0;
}

// Turn one bitmap that nobody marks any more into the next delta, then zero it. Without ALWAYS an
// empty one leaves none.
static int harvest(const struct kernel *k, struct tracked *t, uint32_t parity, bool always,
		   struct stamp *stamp, struct fault *f)
{
	struct bitmap b;
	int bad = 0;

	if (kernel_bitmap_map(k, t->slot, parity, &b, f))
		return -1;
	if (always || any_marked(&b)) {
		bad = cut(t, &b, stamp, f);
		if (!bad)
			zero(&b);
	}
	kernel_bitmap_unmap(&b);
	return bad ? -1 : 0;
}

int flip_copy(const struct kernel *k, struct tracked *t, struct fault *f)
{
	struct stamp stamp;
	struct bitmap b;
	int bad = 0;

	for (uint32_t parity = 0; parity < 2 && !bad; parity++) {
		if (kernel_bitmap_map(k, t->slot, parity, &b, f))
			return -1;
		bad = any_marked(&b) && cut(t, &b, &stamp, f);
		kernel_bitmap_unmap(&b);
	}
	return bad ? -1 : 0;
}

// Bitmaps are marked only while their slot is active; a device whose start did not finish has none
// to speak of.
static bool flips(const struct tracked *t)
{
	return !t->starting;
}

// Mark a range of the disk, as far as it lies in T.
static void mark(const struct bitmap *b, const struct tracked *t, const struct flight *w)
{
	uint64_t start = t->dev.start >> SECTOR_SHIFT, end = start + (t->dev.size >> SECTOR_SHIFT);
	uint64_t from = w->sector > start ? w->sector - start : 0, to = w->sector + w->sectors;
	uint32_t per_block = t->block >> SECTOR_SHIFT;

	to = to < end ? to : end;
	if (to <= start + from)
		return;
	kernel_bitmap_mark(b, from / per_block, (to - 1 - start) / per_block);
}

// The new bitmap of each device, by the first slot of its disk's chain, as the tables of writes in
// flight name it.
struct target {
	uint32_t first;
	struct bitmap b;
	bool idle; // what the table of requests has of it is left over
};

// An entry stays where the completion was seen by no program, and would be listed for ever. Where
// nothing was submitted since a flip long ago, and nothing is in flight, it is none.
static bool is_idle(const struct kernel *k, struct tracked *t, uint32_t first)
{
	struct sums s[SUMS];
	struct fault f;
	char text[64];
	unsigned long long writes;
	int64_t now = boot_seconds();

	// with the statistics off no request counts as in flight
	if (t->way != WAY_REQUEST || kernel_sums(k, first, s, &f) ||
	    blkdev_attr(&t->dev, "queue/iostats", text, sizeof(text)) || !strcmp(text, "0") ||
	    blkdev_attr(&t->dev, "inflight", text, sizeof(text)) ||
	    sscanf(text, "%*u %llu", &writes) != 1)
		return false;
	uint64_t submitted = s[SUBMIT].written + s[SUBMIT].discarded;
	bool still = t->idle_since && submitted == t->submitted && !writes;
	if (!still) {
		t->submitted = submitted;
		t->idle_since = writes ? 0 : now;
	}
	return still && now - t->idle_since > SETTLE_S;
}

static void carry_table(const struct flight_table *table, bool requests, const struct tracked *all,
			size_t n, const struct target *to)
{
	for (uint32_t w = 0; w < table->n; w++) {
		const struct flight e = table->entry[w];
		for (size_t i = 0; i < n && e.key; i++)
			if (to[i].b.words && to[i].first == e.first && !(requests && to[i].idle))
				mark(&to[i].b, &all[i], &e);
	}
}

// A write that was submitted before the flip may land after it, and after the read that the flip is
// for. The completion of a request marks it in the new bitmap, unless no program sees that; a bio's
// completion cannot: mark now whatever is in flight.
static int carry(const struct kernel *k, struct tracked *all, size_t n, uint32_t parity,
		 struct fault *f)
{
	struct target *to = calloc(n + 1, sizeof(*to));
	int bad = to ? 0 : fault_errno(f, "flip");

	for (size_t i = 0; i < n && !bad; i++)
		if (flips(&all[i]))
			bad = kernel_slot_first(
				      k, kernel_dev(all[i].dev.disk_major, all[i].dev.disk_minor),
				      &to[i].first, f) ||
			      kernel_bitmap_map(k, all[i].slot, parity, &to[i].b, f);
	for (size_t i = 0; i < n && !bad; i++)
		to[i].idle = flips(&all[i]) && is_idle(k, &all[i], to[i].first);
	if (!bad) {
		carry_table(&k->flights, true, all, n, to);
		carry_table(&k->bios, false, all, n, to);
	}
	for (size_t i = 0; i < n && to; i++)
		kernel_bitmap_unmap(&to[i].b);
	free(to);
	return bad ? -1 : 0;
}

int flip_tidy(const struct tracked *t, struct fault *f)
{
	struct consumer *c;
	size_t n;
	uint64_t acked = UINT64_MAX;

	if (consumer_all(t, &c, &n, f))
		return -1;
	for (size_t i = 0; i < n; i++)
		if (c[i].epoch < acked)
			acked = c[i].epoch;
	free(c);
	if (delta_drop(t, acked, f))
		return -1;
	// what cannot be merged, for want of room most likely, is lost to nobody
	return delta_merge(t, DELTAS_MAX, f) && f->code != BLX_SYSTEM ? -1 : 0;
}

// Sizes that the wanted devices have grown to; 0 where they have not.
static int find_grown(struct tracked *all, size_t n, const bool *wanted, uint64_t *grown,
		      struct fault *f)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t size = all[i].dev.size;
		if (wanted[i] && identify_again(&all[i], &size, f))
			return -1;
		grown[i] = size > all[i].dev.size ? size : 0;
	}
	return 0;
}

// Give an empty bitmap that is too small for SIZE bytes, after growth, the room. Its own size
// tells: a flip that was killed may have grown one of the two.
static int make_room(const struct kernel *k, const struct tracked *t, uint32_t parity,
		     uint64_t size, struct fault *f)
{
	uint64_t blocks = (size + t->block - 1) / t->block;
	struct bitmap b;

	if (kernel_bitmap_map(k, t->slot, parity, &b, f))
		return -1;
	bool small = b.nwords * 64 < blocks;
	kernel_bitmap_unmap(&b);
	return small ? kernel_bitmap_create(k, t->slot, parity, blocks, f) : 0;
}

// The bitmap that is marked next has room before anything is marked in it.
static int begin_growth(const struct kernel *k, struct tracked *all, size_t n,
			const uint64_t *grown, uint32_t parity, struct fault *f)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t size = grown[i] ? grown[i] : all[i].dev.size;
		if (flips(&all[i]) && make_room(k, &all[i], parity, size, f))
			return -1;
		if (grown[i] && all[i].dev.partition)
			k->slots[all[i].slot].end = (all[i].dev.start + grown[i]) >> SECTOR_SHIFT;
	}
	return 0;
}

// Nothing marks the small bitmaps any more: from here on the devices are as large as they are.
static int take_growth(const struct kernel *k, struct tracked *all, size_t n, const uint64_t *grown,
		       struct fault *f)
{
	for (size_t i = 0; i < n; i++) {
		if (!grown[i])
			continue;
		all[i].dev.size = grown[i];
		all[i].known.beyond = k->slots[all[i].slot].beyond;
		if (identity_grown(&all[i], f))
			return -1;
	}
	return 0;
}

static int flip_all(const struct kernel *k, struct tracked *all, size_t n, const bool *wanted,
		    uint64_t *grown, struct stamp *stamps, struct fault *f)
{
	uint32_t old = __atomic_load_n(k->parity, __ATOMIC_SEQ_CST) & 1, new = !old;

	if (find_grown(all, n, wanted, grown, f) || kernel_grace(k, f))
		return -1;
	for (size_t i = 0; i < n; i++)
		if (flips(&all[i]) && harvest(k, &all[i], new, false, &stamps[i], f))
			return -1;
	if (begin_growth(k, all, n, grown, new, f))
		return -1;
	__atomic_store_n(k->parity, new, __ATOMIC_SEQ_CST);
	if (kernel_grace(k, f))
		return -1;
	if (take_growth(k, all, n, grown, f) || carry(k, all, n, new, f))
		return -1;
	for (size_t i = 0; i < n; i++)
		if (flips(&all[i]) && harvest(k, &all[i], old, wanted[i], &stamps[i], f))
			return -1;
	for (size_t i = 0; i < n; i++)
		if (flips(&all[i]) && make_room(k, &all[i], old, all[i].dev.size, f))
			return -1;
	for (size_t i = 0; i < n; i++)
		if (flip_tidy(&all[i], f) || tracked_save(&all[i], f))
			return -1;
	return 0;
}

int flip(const struct kernel *k, struct tracked *all, size_t n, const bool *wanted,
	 struct stamp *stamps, struct fault *f)
{
	uint64_t *grown = calloc(n, sizeof(*grown));
	int bad = grown ? flip_all(k, all, n, wanted, grown, stamps, f) : fault_errno(f, "flip");

	free(grown);
	return bad;
}
