/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The few kernel types and fields that the programs read; CO-RE finds their offsets on the running
 * kernel. */
#ifndef BLX_KTYPES_H
#define BLX_KTYPES_H

#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct gendisk {
	int major;
	int first_minor;
};

struct request_queue {
	struct gendisk *disk; /* since 5.15 (d152c682f03c); the tracker needs 5.17 anyway */
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

/* drivers/scsi: the command follows the request; cmnd was a pointer before 5.18 (ce70fd9a551a). */
struct scsi_cmnd {
	unsigned char cmnd[32];
};

struct scsi_cmnd___pointer {
	unsigned char *cmnd;
};

/* drivers/nvme: the driver's part of a request; the command's first byte is its opcode. */
struct nvme_command;
struct nvme_request {
	struct nvme_command *cmd;
};

#pragma clang attribute pop

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
	REQ_OP_DRV_IN___old = 34,
	REQ_OP_DRV_OUT___old = 35,
};

#endif
