// SPDX-License-Identifier: GPL-2.0-only
// Marks in a bitmap which blocks of the tracked disks may have changed, when a request completes.
//
// Marking is idempotent and re-entrant: only atomic ORs into shared words, no scratch space.
// Kernels from 6.1 skip a program that is already running on the CPU (05b24ff9b2cf), older ones let
// it nest; both are covered by three instances of the same code on the tracepoint.
#include "ktypes.h"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "track.h"

typedef __u8 u8;
typedef __u32 u32;
typedef __u64 u64;

char LICENSE[] SEC("license") = "GPL";

enum { OP_MASK = 0xff, BIOS_MAX = 1 << 16 };

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
	__uint(max_entries, PROGRAMS *SLOTS);
	__type(key, u32);
	__type(value, struct sums);
} sums SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLIGHTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct flight);
} flights SEC(".maps");

// Every run of an instance, for whatever device.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, INSTANCES);
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

// A kernel pointer as a number: the verifier forbids arithmetic on it otherwise.
static __always_inline u64 address(void *p)
{
	u64 v = 0;

	bpf_probe_read_kernel(&v, sizeof(v), &p);
	return v;
}

// Note a write at its submission, forget it at its completion. One instance is enough for that: an
// entry too many costs little, and one that does not fit leaves what the completion marks.
static __always_inline void note_flight(u64 key, u32 first, u64 sector, u64 sectors, u32 program)
{
	u32 home = (u32)((key * 0x9e3779b97f4a7c15) >> 40);

	if (program && program != SUBMIT)
		return;
#pragma unroll
	for (u32 i = 0; i < FLIGHT_PROBES; i++) {
		u32 at = (home + i) & (FLIGHTS - 1);
		struct flight *f = bpf_map_lookup_elem(&flights, &at);
		if (!f)
			return;
		u64 have = *(volatile u64 *)&f->key;
		if (program != SUBMIT) {
			if (have != key)
				continue;
			*(volatile u64 *)&f->key = 0;
			return;
		}
		if (have != key && (have || __sync_val_compare_and_swap(&f->key, 0, key)))
			continue;
		f->sector = sector;
		f->sectors = (u32)sectors;
		f->first = first;
		return;
	}
}

// A merged discard joins bios that are not neighbours (seen on 6.12, NVMe): each bio is marked at
// its own place.
struct bios_ctx {
	struct bio *bio;
	u32 first, program;
};

static long mark_bio(u32 i, void *data)
{
	struct bios_ctx *c = data;
	struct slot *slot = bpf_map_lookup_elem(&slots, &c->first);
	struct bio *bio = c->bio;

	(void)i;
	if (!slot || !bio)
		return 1;
	u64 sector = BPF_CORE_READ(bio, bi_iter.bi_sector);
	u64 sectors = BPF_CORE_READ(bio, bi_iter.bi_size) >> SECTOR_SHIFT;
	mark_disk(c->first, slot, sector, sectors);
	note_flight((u64)bio, c->first, sector, sectors, c->program);
	c->bio = BPF_CORE_READ(bio, bi_next);
	return 0;
}

static __always_inline void mark_bios(u32 first, struct slot *slot, struct request *rq, u32 program)
{
	struct bios_ctx c = {.bio = BPF_CORE_READ(rq, bio), .first = first, .program = program};

	bpf_loop(BIOS_MAX, mark_bio, &c, 0);
	if (c.bio)
		__sync_fetch_and_add(&slot->unplaced, 1);
}

// Operation numbers moved between kernels; the numbers of passthrough did in 5.10 to 5.12.
#define OP(name)                                                                                   \
	(bpf_core_enum_value_exists(enum req_op, REQ_OP_##name)                                    \
		 ? bpf_core_enum_value(enum req_op, REQ_OP_##name)                                 \
		 : bpf_core_enum_value(enum req_opf___old, REQ_OP_##name##___old))

// SPC-5, SBC-4, SAT: commands that leave the medium as it is. Anything not named may write.
static __always_inline int scsi_harmless(struct request *rq)
{
	u8 c[16] = {};
	void *cmd = (void *)rq + bpf_core_type_size(struct request);

	if (bpf_core_field_exists(((struct scsi_cmnd *)0)->cmnd)) {
		bpf_probe_read_kernel(c, sizeof(c),
				      cmd + bpf_core_field_offset(struct scsi_cmnd, cmnd));
	} else {
		u8 *p = 0;

		bpf_probe_read_kernel(
			&p, sizeof(p),
			cmd + bpf_core_field_offset(struct scsi_cmnd___pointer, cmnd));
		if (bpf_probe_read_kernel(c, sizeof(c), p))
			return 0;
	}
	switch (c[0]) {
	case 0x00: // TEST UNIT READY
	case 0x03: // REQUEST SENSE
	case 0x08: // READ(6)
	case 0x12: // INQUIRY
	case 0x1a: // MODE SENSE(6)
	case 0x1b: // START STOP UNIT
	case 0x1c: // RECEIVE DIAGNOSTIC RESULTS
	case 0x1e: // PREVENT ALLOW MEDIUM REMOVAL
	case 0x25: // READ CAPACITY(10)
	case 0x28: // READ(10)
	case 0x2f: // VERIFY(10)
	case 0x35: // SYNCHRONIZE CACHE(10)
	case 0x37: // READ DEFECT DATA(10)
	case 0x3c: // READ BUFFER
	case 0x4d: // LOG SENSE
	case 0x5a: // MODE SENSE(10)
	case 0x5e: // PERSISTENT RESERVE IN
	case 0x5f: // PERSISTENT RESERVE OUT
	case 0x88: // READ(16)
	case 0x8f: // VERIFY(16)
	case 0x91: // SYNCHRONIZE CACHE(16)
	case 0x9e: // SERVICE ACTION IN(16): READ CAPACITY(16), GET LBA STATUS
	case 0xa0: // REPORT LUNS
	case 0xa3: // MAINTENANCE IN
	case 0xa8: // READ(12)
		return 1;
	}
	// ATA PASS-THROUGH(12) and (16): IDENTIFY, SMART reads, CHECK POWER MODE, READ LOG EXT,
	// FLUSH, STANDBY, IDLE.
	u8 ata = c[0] == 0xa1 ? c[9] : c[0] == 0x85 ? c[14] : 0;
	u8 feature = c[0] == 0xa1 ? c[3] : c[4];
	switch (ata) {
	case 0xec:
	case 0xa1:
	case 0xe0:
	case 0xe1:
	case 0xe5:
	case 0xe7:
	case 0xea:
	case 0x2f:
		return 1;
	case 0xb0: // SMART: READ DATA, READ THRESHOLDS, READ LOG, RETURN STATUS
		return feature == 0xd0 || feature == 0xd1 || feature == 0xd5 || feature == 0xda;
	}
	return 0;
}

// NVM command set: Flush, Read, Compare, Verify, Reservation Report.
static __always_inline int nvme_harmless(struct request *rq)
{
	void *pdu = (void *)rq + bpf_core_type_size(struct request);
	void *cmd = 0;
	u8 opcode = 0xff;

	if (bpf_probe_read_kernel(&cmd, sizeof(cmd),
				  pdu + bpf_core_field_offset(struct nvme_request, cmd)) ||
	    bpf_probe_read_kernel(&opcode, sizeof(opcode), cmd))
		return 0;
	return opcode == 0x00 || opcode == 0x02 || opcode == 0x05 || opcode == 0x0c ||
	       opcode == 0x0e;
}

static __always_inline int harmless(struct slot *slot, struct request *rq, u32 op)
{
	switch (slot->passthrough) {
	case PASS_SCSI:
		return bpf_core_type_exists(struct scsi_cmnd) ? scsi_harmless(rq) : 0;
	case PASS_NVME:
		return bpf_core_type_exists(struct nvme_request) ? nvme_harmless(rq) : 0;
	case PASS_VIRTIO:
		return op == OP(DRV_IN);
	}
	return 0;
}

static __always_inline int track(struct request *rq, u32 nr_bytes, u32 program)
{
	u32 op = rq->cmd_flags & OP_MASK;
	u32 passthrough = op >= OP(DRV_IN) - 2 && op <= OP(DRV_OUT);
	u64 *run = program == SUBMIT ? 0 : bpf_map_lookup_elem(&runs, &program);

	if (run)
		__sync_fetch_and_add(run, 1);
	// The low bit is set in every operation that may change data (include/linux/blk_types.h).
	if (!(op & 1) && !passthrough)
		return 0;
	struct request_queue *q = rq->q;
	struct gendisk *disk = q ? q->disk : 0;
	if (!disk)
		return 0;
	u32 dev = (u32)disk->major << 20 | (u32)disk->first_minor;
	u32 *first = bpf_map_lookup_elem(&devices, &dev);
	if (!first)
		return 0;
	u32 index = *first;
	struct slot *slot = bpf_map_lookup_elem(&slots, &index);
	if (!slot)
		return 0;
	if (passthrough) {
		if (program != SUBMIT && !harmless(slot, rq, op))
			__sync_fetch_and_add(&slot->passed, 1);
		return 0;
	}
	// Flush sequences and the second completion of request-based dm end with 0 bytes.
	if (!nr_bytes || !rq->bio)
		return 0;

	u32 key = program * SLOTS + index;
	struct sums *s = bpf_map_lookup_elem(&sums, &key);
	int discard = op == OP(DISCARD);
	if (s)
		__sync_fetch_and_add(discard ? &s->discarded : &s->written,
				     nr_bytes >> SECTOR_SHIFT);
	if (discard) {
		mark_bios(index, slot, rq, program);
		return 0;
	}
	u64 sector = rq->__sector, sectors = nr_bytes >> SECTOR_SHIFT;
	mark_disk(index, slot, sector, sectors);
	// a part that completed leaves the rest in flight
	if (program == SUBMIT || (!program && nr_bytes == rq->__data_len))
		note_flight(address(rq), index, sector, sectors, program);
	return 0;
}

// block_rq_complete(struct request *rq, blk_status_t error, unsigned int nr_bytes) fires before the
// bios advance (block/blk-mq.c, blk_update_request), so position and bios are those of what just
// finished. Failed writes may have changed the medium: they count.
#define INSTANCE(n)                                                                                \
	SEC("tp_btf/block_rq_complete")                                                            \
	int complete_##n(u64 *ctx)                                                                 \
	{                                                                                          \
		return track((struct request *)ctx[0], (u32)ctx[2], n);                            \
	}

INSTANCE(0)
INSTANCE(1)
INSTANCE(2)

// Marked here as well, so that a completion that no program sees (observed: a virtual machine in
// which some softirqs ran where tracing was off) is not a lost write. Here alone it would be too
// early: a flip and a read may come before the data lands. block_rq_issue(struct request *rq)
SEC("tp_btf/block_rq_issue")
int submit(u64 *ctx)
{
	struct request *rq = (struct request *)ctx[0];

	return track(rq, rq->__data_len, SUBMIT);
}
