// SPDX-License-Identifier: BSD-2-Clause
// Is it still the same device, with the same content below?
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/dm-ioctl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "dm.h"
#include "flip.h"

static int loop_backing(const struct blkdev *d, char *buf, size_t n, struct fault *f)
{
	struct loop_info64 info;
	struct blkdev disk;

	if (blkdev_identify_number(d->disk_major, d->disk_minor, &disk, f))
		return -1;
	int fd = blkdev_open(&disk, O_RDONLY | O_NONBLOCK, f);
	if (fd < 0)
		return -1;
	int bad = ioctl(fd, LOOP_GET_STATUS64, &info);
	if (bad)
		fault_errno(f, "%s: loop status", d->name);
	else
		snprintf(buf, n, "device %" PRIu64 " inode %" PRIu64 " offset %" PRIu64,
			 (uint64_t)info.lo_device, (uint64_t)info.lo_inode,
			 (uint64_t)info.lo_offset);
	close(fd);
	return bad ? -1 : 0;
}

// ---- device-mapper tables

static uint64_t mix(uint64_t sum, const void *data, size_t n)
{
	const unsigned char *p = data;

	while (n--) // FNV-1a
		sum = (sum ^ *p++) * 0x100000001b3;
	return sum;
}

// LVM puts a snapshot-origin target above a volume while it has snapshots; the content stays: what
// counts is the table below.
static struct dm_ioctl *read_content_table(const struct blkdev *d, struct fault *f)
{
	struct dm_ioctl *io = dm_table(d->disk_major, d->disk_minor, f);
	unsigned int major, minor;

	while (io && io->target_count == 1) {
		const struct dm_target_spec *t = (void *)((char *)io + io->data_start);
		if (strcmp(t->target_type, "snapshot-origin") ||
		    sscanf((const char *)(t + 1), "%u:%u", &major, &minor) != 2)
			break;
		struct dm_ioctl *below = dm_table(major, minor, f);
		if (!below) // no dm device: then it is the origin's own table that counts
			break;
		free(io);
		io = below;
	}
	return io;
}

// A sum of the first LINES targets of the table (0: of all), without the length of the last of
// them: "table LINES LENGTH SUM". The paths below a multipath target come and go, its content
// stays.
static void sum_table(const struct dm_ioctl *io, uint32_t lines, char *buf, size_t n)
{
	uint32_t at = io->data_start, all = io->target_count;
	uint64_t sum = 0xcbf29ce484222325, length = 0;
	if (!lines || lines > all)
		lines = all;
	for (uint32_t i = 0; i < lines; i++) {
		const struct dm_target_spec *t = (const void *)((const char *)io + at);
		const char *params = (const char *)(t + 1);
		length = t->length;
		sum = mix(sum, &t->sector_start, sizeof(t->sector_start));
		if (i + 1 < lines)
			sum = mix(sum, &t->length, sizeof(t->length));
		sum = mix(sum, t->target_type, strlen(t->target_type));
		if (strcmp(t->target_type, "multipath"))
			sum = mix(sum, params, strlen(params));
		at = io->data_start + t->next;
	}
	snprintf(buf, n, "table %" PRIu32 " %" PRIu64 " %016" PRIx64, lines, length, sum);
}

static int table_of(const struct blkdev *d, uint32_t lines, char *buf, size_t n, struct fault *f)
{
	struct dm_ioctl *io = read_content_table(d, f);

	if (!io)
		return -1;
	sum_table(io, lines, buf, n);
	free(io);
	return 0;
}

// How many targets a backing speaks of; 0: it is no table.
static uint32_t table_lines(const char *backing)
{
	uint32_t lines = 0;

	return sscanf(backing, "table %" SCNu32 " ", &lines) == 1 ? lines : 0;
}

// A table may only grow, at its end.
static bool same_backing(const struct tracked *t, const char *now, bool grown)
{
	uint64_t length, was, sum, sum_was;

	if (!strcmp(now, t->backing))
		return true;
	return grown && sscanf(now, "table %*u %" SCNu64 " %" SCNx64, &length, &sum) == 2 &&
	       sscanf(t->backing, "table %*u %" SCNu64 " %" SCNx64, &was, &sum_was) == 2 &&
	       length >= was && sum == sum_was && table_lines(now) == table_lines(t->backing);
}

int backing_of(const struct blkdev *d, char *buf, size_t n, struct fault *f)
{
	char text[256];

	buf[0] = 0;
	if (!blkdev_attr(d, "dm/name", text, sizeof(text)))
		return table_of(d, 0, buf, n, f);
	if (!blkdev_attr(d, "loop/backing_file", text, sizeof(text)))
		return loop_backing(d, buf, n, f);
	return 0;
}

// What it lies on now, as far as that can be compared with what was remembered.
static int backing_now(const struct tracked *t, const struct blkdev *d, char *buf, size_t n,
		       struct fault *f)
{
	uint32_t lines = table_lines(t->backing);

	return lines ? table_of(d, lines, buf, n, f) : backing_of(d, buf, n, f);
}

int identify_again(struct tracked *t, uint64_t *new_size, struct fault *f)
{
	struct blkdev d;
	char backing[sizeof(t->backing)];

	if (t->lost[0])
		return tracked_lose(t, f, "%s", t->lost);
	if (t->starting)
		return fault_set(f, BLX_RESYNC,
				 "%s: 'blxtrack start' was interrupted: run it again", t->dev.name);
	if (blkdev_identify_number(t->dev.major, t->dev.minor, &d, f)) {
		char why[sizeof(f->text)];
		memcpy(why, f->text, sizeof(why));
		return tracked_lose(t, f, "the device is gone (%s)", why);
	}
	if (d.diskseq != t->dev.diskseq)
		return tracked_lose(t, f,
				    "another disk has its number now (diskseq %" PRIu64
				    ", was %" PRIu64 ")",
				    d.diskseq, t->dev.diskseq);
	if (d.start != t->dev.start || d.disk_major != t->dev.disk_major ||
	    d.disk_minor != t->dev.disk_minor)
		return tracked_lose(t, f,
				    "the partition moved (start %" PRIu64 ", was %" PRIu64 ")",
				    d.start, t->dev.start);
	if (d.size < t->dev.size)
		return tracked_lose(t, f, "it shrank to %" PRIu64 " bytes from %" PRIu64, d.size,
				    t->dev.size);
	if (backing_now(t, &d, backing, sizeof(backing), f))
		return -1;
	if (!same_backing(t, backing, d.size > t->dev.size))
		return tracked_lose(t, f, "its %s changed (%s, was %s)",
				    table_lines(t->backing) ? "device-mapper table" : "backing",
				    backing, t->backing);
	*new_size = d.size;
	return 0;
}

int identity_grown(struct tracked *t, struct fault *f)
{
	char old[sizeof(t->backing)], whole[sizeof(t->backing)];

	if (!table_lines(t->backing))
		return 0;
	struct dm_ioctl *io = read_content_table(&t->dev, f);
	if (!io)
		return -1;
	// both of one look: it may have been exchanged since the last
	sum_table(io, table_lines(t->backing), old, sizeof(old));
	sum_table(io, 0, whole, sizeof(whole));
	free(io);
	if (!same_backing(t, old, true))
		return tracked_lose(t, f, "its device-mapper table changed (%s, was %s)", old,
				    t->backing);
	memcpy(t->backing, whole, sizeof(whole));
	return 0;
}
