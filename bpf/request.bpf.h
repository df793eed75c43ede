/* SPDX-License-Identifier: GPL-2.0-only */
/* Tracking of requests: of request-based disks, and of NVMe paths for their heads. */
#ifndef BLX_REQUEST_BPF_H
#define BLX_REQUEST_BPF_H

#include "mark.bpf.h"

enum { BIOS_MAX = 1 << 16 };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLIGHTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct flight);
} flights SEC(".maps");

// Note a write at its submission, forget it at its completion. One instance is enough for that: an
// entry too many costs little, and one that does not fit leaves what the completion marks.
static __always_inline void fly(u64 key, u32 first, u64 sector, u64 sectors, u32 instance)
{
	struct flight f = {key, sector, (u32)sectors, first};

	if (instance == SUBMIT)
		flight_note(&flights, FLIGHTS, &f);
	else if (!instance)
		flight_forget(&flights, FLIGHTS, key, 1);
}

// A merged discard joins bios that are not neighbours (seen on 6.12, NVMe): each bio is marked at
// its own place.
struct bios_ctx {
	struct bio *bio;
	u32 first, instance;
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
	fly((u64)bio, c->first, sector, sectors, c->instance);
	c->bio = BPF_CORE_READ(bio, bi_next);
	return 0;
}

static __always_inline void mark_bios(u32 first, struct slot *slot, struct request *rq,
				      u32 instance)
{
	struct bios_ctx c = {.bio = BPF_CORE_READ(rq, bio), .first = first, .instance = instance};

	bpf_loop(BIOS_MAX, mark_bio, &c, 0);
	if (c.bio)
		__sync_fetch_and_add(&slot->unplaced, 1);
}

static __always_inline int read_command(struct slot *slot, struct request *rq, u8 c[16])
{
	u64 at =
		ADDRESS(rq) + bpf_core_type_size(struct request) + (slot->command & 0x7fffffff) - 1;

	if (!slot->command)
		return -1;
	if (slot->command >> 31 && bpf_probe_read_kernel(&at, sizeof(at), (void *)at))
		return -1;
	return bpf_probe_read_kernel(c, 16, (void *)at) ? -1 : 0;
}

// SPC-5, SBC-4, SAT: commands that leave the medium as it is. Anything not named may write.
static __always_inline int scsi_harmless(const u8 c[16])
{
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
	// (each read by itself: clang would choose between their addresses, which the verifier
	// forbids)
	u8 ata12 = c[9], ata16 = c[14], feature12 = c[3], feature16 = c[4];
	barrier_var(ata12);
	barrier_var(ata16);
	barrier_var(feature12);
	barrier_var(feature16);
	u8 ata = c[0] == 0xa1 ? ata12 : c[0] == 0x85 ? ata16 : 0;
	u8 feature = c[0] == 0xa1 ? feature12 : feature16;
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
static __always_inline int nvme_harmless(u8 opcode)
{
	return opcode == 0x00 || opcode == 0x02 || opcode == 0x05 || opcode == 0x0c ||
	       opcode == 0x0e;
}

static __always_inline int harmless(struct slot *slot, struct request *rq, u32 op)
{
	u8 c[16] = {};

	switch (slot->passthrough) {
	case PASS_SCSI:
		return !read_command(slot, rq, c) && scsi_harmless(c);
	case PASS_NVME:
		return !read_command(slot, rq, c) && nvme_harmless(c[0]);
	case PASS_VIRTIO:
		return op == OP(DRV_IN);
	}
	return 0;
}

// RQ goes to the disk DEV. Instance SUBMIT: it was submitted; the others: NR_BYTES of it completed.
static __always_inline int track(struct request *rq, u32 dev, u32 nr_bytes, u32 instance)
{
	u32 op = rq->cmd_flags & OP_MASK;
	u32 passthrough = op >= OP(DRV_IN) - 2 && op <= OP(DRV_OUT);

	// The low bit is set in every operation that may change data (include/linux/blk_types.h).
	if (!(op & 1) && !passthrough)
		return 0;
	u32 *first = bpf_map_lookup_elem(&devices, &dev);
	if (!first)
		return 0;
	u32 index = *first;
	struct slot *slot = bpf_map_lookup_elem(&slots, &index);
	if (!slot)
		return 0;
	if (passthrough) {
		if (instance != SUBMIT && !harmless(slot, rq, op))
			__sync_fetch_and_add(&slot->passed, 1);
		return 0;
	}
	// Flush sequences and the second completion of request-based dm end with 0 bytes.
	if (!nr_bytes || !rq->bio)
		return 0;
	int discard = op == OP(DISCARD);
	add_sums(index, instance, discard, nr_bytes >> SECTOR_SHIFT);
	if (discard) {
		mark_bios(index, slot, rq, instance);
		return 0;
	}
	u64 sector = rq->__sector, sectors = nr_bytes >> SECTOR_SHIFT;
	mark_disk(index, slot, sector, sectors);
	// a part that completed leaves the rest in flight
	if (instance == SUBMIT || (!instance && nr_bytes == rq->__data_len))
		fly(ADDRESS(rq), index, sector, sectors, instance);
	return 0;
}

#endif
