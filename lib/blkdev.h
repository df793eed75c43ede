// SPDX-License-Identifier: BSD-2-Clause
// What a block device is, from stat(2) and sysfs.
#ifndef BLX_BLKDEV_H
#define BLX_BLKDEV_H

#include <stdbool.h>
#include <stdint.h>

#include "fault.h"

struct blkdev {
	uint32_t major, minor;           // the device itself
	uint32_t disk_major, disk_minor; // the whole disk it lies on (itself, unless a partition)
	uint64_t size;                   // bytes
	uint64_t start;                  // on the disk, bytes
	uint64_t disk_size;              // bytes
	uint64_t diskseq;                // of the disk; 0: this kernel has none (before 5.15)
	uint32_t logical_block;          // bytes: the alignment of O_DIRECT
	bool partition;
	char name[64];      // kernel name, e.g. loop3, sda1
	char disk_name[64]; // kernel name of the disk
	char serial[65];    // of the disk, blanks trimmed; "" if unknown
};

// PATH: a device node or a link to one. -1: does not exist, is no block device (BLX_TARGET), sysfs
// unreadable.
int blkdev_identify(const char *path, struct blkdev *d, struct fault *f);
int blkdev_identify_number(uint32_t major, uint32_t minor, struct blkdev *d, struct fault *f);

// One attribute of the disk below /sys/dev/block/DISK/, e.g. "queue/zoned", trimmed. 0, or -1
// (errno) if there is none.
int blkdev_attr(const struct blkdev *d, const char *attr, char *buf, int n);

// A name of file-name letters for the device that outlives reboots and renumbering: by uuid, wwid,
// serial number or, for a loop device, its file; with its start, for a partition. False: it has
// none of these, and ID is its number.
enum { BLKDEV_ID = 240 };
bool blkdev_id(const struct blkdev *d, char id[BLKDEV_ID]);

// Have they sectors of a disk in common?
bool blkdev_overlap(const struct blkdev *a, const struct blkdev *b);

// Open the device by its number. O_CLOEXEC is added. No path is needed: a node is made in an
// unlinked private place if /dev has none under its kernel name. FD, or -1 with the fault.
int blkdev_open(const struct blkdev *d, int flags, struct fault *f);

#endif
