// SPDX-License-Identifier: GPL-2.0-only
// Reports each write to the followed disks when it is submitted, where the process is known. A ring
// buffer that is full counts what it drops. For people; replication uses bitmaps, which cannot
// overflow.
#include "ktypes.h"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include "follow.h"

char LICENSE[] SEC("license") = "GPL";

enum { SECTOR_SHIFT = 9 };

const volatile __u32 nranges = 0;
const volatile struct follow_range ranges[FOLLOW_RANGES] = {};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} events SEC(".maps");

__u64 dropped = 0;

static __always_inline u32 kind(u32 op)
{
	if (op == OP(DISCARD))
		return FOLLOW_DISCARD;
	if (op == OP(WRITE_ZEROES))
		return FOLLOW_ZEROES;
	if (op == OP(SECURE_ERASE))
		return FOLLOW_ERASE;
	return FOLLOW_WRITE;
}

static __always_inline void report(u32 disk, u64 sector, u64 sectors, u32 op, int known)
{
	for (u32 i = 0; i < FOLLOW_RANGES && i < nranges; i++) {
		u64 from = sector, to = sector + sectors;
		if (ranges[i].disk != disk)
			continue;
		if (op != FOLLOW_PASSTHROUGH) {
			from = from < ranges[i].start ? ranges[i].start : from;
			to = to > ranges[i].end ? ranges[i].end : to;
			if (from >= to)
				continue;
		}
		struct follow_event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
		if (!e) {
			__sync_fetch_and_add(&dropped, 1);
			continue;
		}
		e->sector = from;
		e->sectors = to - from;
		e->time = bpf_ktime_get_ns();
		e->range = i;
		e->op = op;
		e->pid = known ? (u32)(bpf_get_current_pid_tgid() >> 32) : 0;
		__builtin_memset(e->comm, 0, sizeof(e->comm));
		if (e->pid)
			bpf_get_current_comm(e->comm, sizeof(e->comm));
		bpf_ringbuf_submit(e, 0);
	}
}

// block_bio_queue(struct bio *bio): sectors are of the whole disk already, also for a partition
// (the remap comes first).
SEC("tp_btf/block_bio_queue")
int queue(u64 *ctx)
{
	struct bio *bio = (struct bio *)ctx[0];
	u32 op = bio->bi_opf & OP_MASK, size = bio->bi_iter.bi_size;

	if (!(op & 1) || !size)
		return 0;
	struct block_device *bdev = bio->bi_bdev;
	struct gendisk *disk = bdev ? bdev->bd_disk : 0;
	if (!disk)
		return 0;
	report(disk_number(disk), bio->bi_iter.bi_sector, size >> SECTOR_SHIFT, kind(op), 1);
	return 0;
}

// Passthrough commands pass no bio queue; where they wrote is not known here.
SEC("tp_btf/block_rq_complete")
int complete(u64 *ctx)
{
	struct request *rq = (struct request *)ctx[0];

	if ((rq->cmd_flags & OP_MASK) != OP(DRV_OUT))
		return 0;
	struct request_queue *q = rq->q;
	struct gendisk *disk = q ? q->disk : 0;
	if (disk)
		report(disk_number(disk), 0, 0, FOLLOW_PASSTHROUGH, 0);
	return 0;
}
