// SPDX-License-Identifier: GPL-2.0-only
// Request-based disks: marks in a bitmap which blocks may have changed, when a request is submitted
// and again when it completes.
#include "request.bpf.h"

static __always_inline int see(struct request *rq, u32 nr_bytes, u32 instance)
{
	struct request_queue *q = rq->q;
	struct gendisk *disk = q ? q->disk : 0;

	return disk ? track(rq, disk_number(disk), nr_bytes, instance) : 0;
}

// block_rq_complete(struct request *rq, blk_status_t error, unsigned int nr_bytes) fires before the
// bios advance (block/blk-mq.c, blk_update_request), so position and bios are those of what just
// finished. Failed writes may have changed the medium: they count.
#define INSTANCE(n)                                                                                \
	SEC("tp_btf/block_rq_complete")                                                            \
	int complete_##n(u64 *ctx)                                                                 \
	{                                                                                          \
		count_run(COMPLETE_0 + n);                                                         \
		return see((struct request *)ctx[0], (u32)ctx[2], n);                              \
	}

INSTANCE(0)
INSTANCE(1)
INSTANCE(2)

// Marked here as well, so that a completion that no program sees (observed: a virtual machine in
// which some softirqs ran where tracing was off) is not a lost write. Here alone it would be too
// early: a flip and a read may come before the data lands. block_rq_issue(struct request *rq)
SEC("tp_btf/block_rq_issue")
int issue(u64 *ctx)
{
	struct request *rq = (struct request *)ctx[0];

	return see(rq, rq->__data_len, SUBMIT);
}
