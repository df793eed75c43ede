// SPDX-License-Identifier: GPL-2.0-only
// Bio-based disks. At completion a bio no longer knows where it went (split, advanced), but it is
// the same bio as at submission: so it is noted by its address when it is submitted, then marked,
// and forgotten when it completes. A flip marks what is noted in the new bitmap too.
#include "mark.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BIOS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct flight);
} bios SEC(".maps");

// instance SUMS: do not add up, the bio is seen again
static __always_inline int see(struct bio *bio, struct gendisk *disk, u32 instance)
{
	u32 dev = disk_number(disk), op = bio->bi_opf & OP_MASK;
	u32 *first = bpf_map_lookup_elem(&devices, &dev);

	if (!first || !(op & 1))
		return 0;
	struct flight f = {.key = ADDRESS(bio),
			   .sector = bio->bi_iter.bi_sector,
			   .sectors = bio->bi_iter.bi_size >> SECTOR_SHIFT,
			   .first = *first};
	struct slot *slot = bpf_map_lookup_elem(&slots, &f.first);
	if (!slot || slot->way != WAY_BIO || !f.sectors)
		return 0;
	// what zram accounts; zeroing is neither
	if (instance != SUMS && (op == REQ_OP_WRITE || op == OP(DISCARD)))
		add_sums(f.first, instance, op == OP(DISCARD), f.sectors);
	if (flight_note(&bios, BIOS, &f))
		__sync_fetch_and_add(&slot->crowded, 1);
	mark_disk(f.first, slot, f.sector, f.sectors);
	return 0;
}

// block_bio_queue(struct bio *bio): once for a bio, the sector is the disk's, also on a partition.
#define QUEUE(n)                                                                                   \
	SEC("tp_btf/block_bio_queue")                                                              \
	int queue_##n(u64 *ctx)                                                                    \
	{                                                                                          \
		struct bio *bio = (struct bio *)ctx[0];                                            \
		struct block_device *bdev = bio->bi_bdev;                                          \
		struct gendisk *disk = bdev ? bdev->bd_disk : 0;                                   \
                                                                                                   \
		count_run(QUEUE_0 + n);                                                            \
		return disk ? see(bio, disk, n) : 0;                                               \
	}

QUEUE(0)
QUEUE(1)
QUEUE(2)

// block_bio_remap(struct bio *bio, dev_t dev, sector_t from): a bio that was queued before and goes
// on to another disk is not queued again, only remapped (md raid0 over volumes). The sector is that
// of bi_bdev: of the disk, or of a partition, which is remapped to its disk next; that event has
// the partition's own number as dev.
static __always_inline int remap(u64 *ctx)
{
	struct bio *bio = (struct bio *)ctx[0];
	struct block_device *bdev = bio->bi_bdev;
	struct gendisk *disk = bdev ? bdev->bd_disk : 0;

	if (!disk || (bdev->bd_dev != disk_number(disk) && bdev->bd_dev != (u32)ctx[1]))
		return 0;
	return see(bio, disk, SUMS);
}

#define REMAP(n)                                                                                   \
	SEC("tp_btf/block_bio_remap")                                                              \
	int remap_##n(u64 *ctx)                                                                    \
	{                                                                                          \
		count_run(REMAP_0 + n);                                                            \
		return remap(ctx);                                                                 \
	}

REMAP(0)
REMAP(1)
REMAP(2)

// block_bio_complete(struct request_queue *q, struct bio *bio), all of its parts are done. One
// instance: to overlook it only costs sending its blocks again.
SEC("tp_btf/block_bio_complete")
int bio_complete(u64 *ctx)
{
	struct bio *bio = (struct bio *)ctx[1];

	if (bio->bi_opf & 1)
		flight_forget(&bios, BIOS, ADDRESS(bio), 0);
	return 0;
}
