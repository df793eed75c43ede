/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The few kernel types and fields that the programs read; CO-RE finds their offsets on the running
 * kernel. What differs between kernels is here too, each with the commit that changed it. */
#ifndef BLX_KTYPES_H
#define BLX_KTYPES_H

#include <linux/types.h>

typedef __u8 u8;
typedef __u32 u32;
typedef __u64 u64;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct gendisk {
	int major;
	int first_minor;
	int flags;
};

struct request_queue {
	struct gendisk *disk; /* since 5.15 (d152c682f03c); the tracker needs 5.17 anyway */
	void *queuedata;
};

struct bvec_iter {
	__u64 bi_sector;
	__u32 bi_size;
};

struct block_device {
	__u32 bd_dev;
	struct gendisk *bd_disk;
};

struct bio {
	struct bio *bi_next;
	struct block_device *bi_bdev;
	__u32 bi_opf;
	struct bvec_iter bi_iter;
};

struct request {
	struct request_queue *q;
	__u32 cmd_flags;
	__u32 __data_len;
	__u64 __sector;
	struct bio *bio;
};

/* drivers/nvme: a namespace behind one controller, and what all its paths make up. */
struct nvme_ns_head {
	struct gendisk *disk;
};

struct nvme_ns {
	struct nvme_ns_head *head;
};

/* drivers/md/dm-core.h */
struct mapped_device {
	struct gendisk *disk;
};

#pragma clang attribute pop

/* enum since 5.17 (a4561f9fccc5), without a name that CO-RE could look for */
enum { GENHD_FL_HIDDEN = 1 << 1 };

/* Named req_opf before 6.0 (ff07a02e9e8e). */
enum req_op {
	REQ_OP_WRITE = 1,
	REQ_OP_DISCARD = 3,
	REQ_OP_SECURE_ERASE = 5,
	REQ_OP_ZONE_APPEND = 7,
	REQ_OP_WRITE_ZEROES = 9,
	REQ_OP_DRV_IN = 34,
	REQ_OP_DRV_OUT = 35,
};

enum req_opf___old {
	REQ_OP_DISCARD___old = 3,
	REQ_OP_SECURE_ERASE___old = 5,
	REQ_OP_WRITE_ZEROES___old = 9,
	REQ_OP_DRV_IN___old = 34,
	REQ_OP_DRV_OUT___old = 35,
};

/* Operation numbers moved between kernels; those of passthrough did in 5.10 to 5.12. */
#define OP(name)                                                                                   \
	(bpf_core_enum_value_exists(enum req_op, REQ_OP_##name)                                    \
		 ? bpf_core_enum_value(enum req_op, REQ_OP_##name)                                 \
		 : bpf_core_enum_value(enum req_opf___old, REQ_OP_##name##___old))
enum { OP_MASK = 0xff };

/* A kernel pointer as a number: the verifier forbids arithmetic on it otherwise. */
#define ADDRESS(p)                                                                                 \
	({                                                                                         \
		u64 v_ = 0;                                                                        \
		void *p_ = (p);                                                                    \
		bpf_probe_read_kernel(&v_, sizeof(v_), &p_);                                       \
		v_;                                                                                \
	})

static inline __attribute__((always_inline)) u32 disk_number(const struct gendisk *disk)
{
	return (u32)disk->major << 20 | (u32)disk->first_minor;
}

#endif
