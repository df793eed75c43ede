/* SPDX-License-Identifier: GPL-2.0-only */
/* What the programs of every way share: the maps, which are one set for all of them, and marking.
 *
 * Marking is idempotent and re-entrant: only atomic ORs into shared words, no scratch space.
 * Kernels from 6.1 skip a program that is already running on the CPU (05b24ff9b2cf), older ones let
 * it nest; both are covered by three instances of the same code on a tracepoint. */
#ifndef BLX_MARK_BPF_H
#define BLX_MARK_BPF_H

#include "ktypes.h"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "track.h"

char LICENSE[] SEC("license") = "GPL";

struct words {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__type(key, u32);
	__type(value, u64);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, BITMAP_GRACE + 1);
	__type(key, u32);
	__array(values, struct words);
} bitmaps SEC(".maps");

// dev_t of a whole disk as the kernel writes it -> index of its first slot
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SLOTS);
	__type(key, u32);
	__type(value, u32);
} devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SUMS *SLOTS);
	__type(key, u32);
	__type(value, struct sums);
} sums SEC(".maps");

// Every run of a program, for whatever device.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PROGRAMS);
	__type(key, u32);
	__type(value, u64);
} runs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, u32);
} parity SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct slot);
} slots SEC(".maps");

struct range {
	u64 first, last; // blocks, both included
};

static __always_inline void or_word(u64 *word, u64 mask)
{
	if ((*(volatile u64 *)word & mask) != mask)
		__sync_fetch_and_or(word, mask);
}

// Mark the part of R that lies in level-0 word W. The summary is looked at even when the word's
// bits were set already: whoever zeroes a bitmap zeroes the words first and may die before the
// summary.
static __always_inline int mark_word(struct slot *slot, u32 map, u64 w, const struct range *r)
{
	u64 lo = r->first > w << 6 ? r->first & 63 : 0;
	u64 hi = r->last < (w << 6 | 63) ? r->last & 63 : 63;
	u64 mask = (~0ull >> (63 - (hi - lo))) << lo;
	u32 at = (u32)w, level1 = map + 1, above = (u32)(w >> 6);
	void *words, *summary;
	u64 *word;

	words = bpf_map_lookup_elem(&bitmaps, &map);
	summary = bpf_map_lookup_elem(&bitmaps, &level1);
	if (!words || !summary)
		goto unplaced;
	if (w >> 32 || !(word = bpf_map_lookup_elem(words, &at))) {
		__sync_fetch_and_add(&slot->beyond, 1);
		return 1;
	}
	or_word(word, mask);
	word = bpf_map_lookup_elem(summary, &above);
	if (!word)
		goto unplaced;
	or_word(word, 1ull << (w & 63));
	return 0;
unplaced:
	__sync_fetch_and_add(&slot->unplaced, 1);
	return 1;
}

struct words_ctx {
	struct range r;
	u32 slot, map;
};

static long mark_one_of_many(u32 i, void *data)
{
	struct words_ctx *c = data;
	struct slot *slot = bpf_map_lookup_elem(&slots, &c->slot);

	return !slot || mark_word(slot, c->map, (c->r.first >> 6) + i, &c->r);
}

static __always_inline void mark(u32 index, struct slot *slot, u64 sector, u64 sectors)
{
	u64 end = sector + sectors;

	if (sector < slot->start)
		sector = slot->start;
	if (end > slot->end)
		end = slot->end;
	if (sector >= end)
		return;

	u32 zero = 0, *p = bpf_map_lookup_elem(&parity, &zero);
	if (!p)
		return;
	struct words_ctx c = {
		.r.first = (sector - slot->start) >> (slot->shift & 31),
		.r.last = (end - 1 - slot->start) >> (slot->shift & 31),
		.slot = index,
		.map = BITMAP_INDEX(index, *(volatile u32 *)p & 1, 0),
	};
	u64 n = (c.r.last >> 6) - (c.r.first >> 6) + 1;
	if (n == 1)
		mark_word(slot, c.map, c.r.first >> 6, &c.r);
	else if (bpf_loop((u32)n, mark_one_of_many, &c, 0) < 0)
		__sync_fetch_and_add(&slot->unplaced, 1);
}

// Mark a range of a disk in each of its slots. At most SLOTS of them, so the loop ends.
struct chain_ctx {
	u64 sector, sectors;
	u32 index; // + 1
};

static long mark_in_slot(u32 i, void *data)
{
	struct chain_ctx *c = data;
	u32 index = c->index - 1;
	struct slot *slot = bpf_map_lookup_elem(&slots, &index);

	(void)i;
	if (!slot)
		return 1;
	if (*(volatile u32 *)&slot->active)
		mark(index, slot, c->sector, c->sectors);
	c->index = *(volatile u32 *)&slot->next;
	return !c->index;
}

static __always_inline void mark_disk(u32 first, struct slot *slot, u64 sector, u64 sectors)
{
	if (!slot->next) {
		if (slot->active)
			mark(first, slot, sector, sectors);
		return;
	}
	struct chain_ctx c = {.sector = sector, .sectors = sectors, .index = first + 1};
	bpf_loop(SLOTS, mark_in_slot, &c, 0);
}

// Where entry I of KEY may lie in a table of SIZE entries: I is below 2 * BUCKET.
static __always_inline u32 flight_place(u64 key, u32 i, u32 size)
{
	u64 hash = key * 0x9e3779b97f4a7c15;
	u32 home = i < BUCKET ? (u32)(hash >> 40) : (u32)(hash >> 20);

	return (home + i) & (size - 1);
}

// Note a write at its submission, for each tracked disk that a bio passes. It may come to lie there
// twice, which costs nothing but room. -1: there is none. A flip that sees an entry half written
// belongs to a program that began after it, and that marks the new bitmap itself.
static __always_inline int flight_note(void *table, u32 size, const struct flight *new)
{
#pragma unroll
	for (u32 i = 0; i < 2 * BUCKET; i++) {
		u32 at = flight_place(new->key, i, size);
		struct flight *f = bpf_map_lookup_elem(table, &at);
		if (!f)
			return -1;
		u64 have = *(volatile u64 *)&f->key;
		if (have == new->key ? f->first != new->first
				     : have || __sync_val_compare_and_swap(&f->key, 0, new->key))
			continue;
		f->sector = new->sector;
		f->sectors = new->sectors;
		f->first = new->first;
		return 0;
	}
	return -1;
}

static __always_inline void flight_forget(void *table, u32 size, u64 key, int once)
{
#pragma unroll
	for (u32 i = 0; i < 2 * BUCKET; i++) {
		u32 at = flight_place(key, i, size);
		struct flight *f = bpf_map_lookup_elem(table, &at);
		if (!f || *(volatile u64 *)&f->key != key)
			continue;
		*(volatile u64 *)&f->key = 0;
		if (once)
			return;
	}
}

static __always_inline void count_run(u32 program)
{
	u64 *run = bpf_map_lookup_elem(&runs, &program);

	if (run)
		__sync_fetch_and_add(run, 1);
}

static __always_inline void add_sums(u32 index, u32 place, int discard, u64 sectors)
{
	u32 key = place * SLOTS + index;
	struct sums *s = bpf_map_lookup_elem(&sums, &key);

	if (s)
		__sync_fetch_and_add(discard ? &s->discarded : &s->written, sectors);
}

#endif
