// SPDX-License-Identifier: GPL-2.0-only
// NVMe multipath heads: no request ever carries a head's number, and its bios complete under the
// number of some path. A path is a hidden disk with the same sectors; its queue knows the namespace
// and that the head. Paths may come and go.
#include "request.bpf.h"

static __always_inline int see(struct request *rq, u32 nr_bytes, u32 instance)
{
	struct request_queue *q = rq->q;
	struct gendisk *path = q ? q->disk : 0;

	if (!path || !(path->flags & GENHD_FL_HIDDEN))
		return 0;
	struct nvme_ns *ns = q->queuedata;
	struct nvme_ns_head *head = BPF_CORE_READ(ns, head);
	struct gendisk *disk = BPF_CORE_READ(head, disk);
	if (!disk)
		return 0;
	// read by address: for the verifier it is no pointer to a gendisk
	u32 dev = (u32)BPF_CORE_READ(disk, major) << 20 | (u32)BPF_CORE_READ(disk, first_minor);
	return track(rq, dev, nr_bytes, instance);
}

#define INSTANCE(n)                                                                                \
	SEC("tp_btf/block_rq_complete")                                                            \
	int head_complete_##n(u64 *ctx)                                                            \
	{                                                                                          \
		count_run(HEAD_COMPLETE_0 + n);                                                    \
		return see((struct request *)ctx[0], (u32)ctx[2], n);                              \
	}

INSTANCE(0)
INSTANCE(1)
INSTANCE(2)

SEC("tp_btf/block_rq_issue")
int head_issue(u64 *ctx)
{
	struct request *rq = (struct request *)ctx[0];

	return see(rq, rq->__data_len, SUBMIT);
}
