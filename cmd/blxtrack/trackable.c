// SPDX-License-Identifier: BSD-2-Clause
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "num.h"
#include "trackable.h"

static bool attr_is(const struct blkdev *d, const char *attr, const char *value)
{
	char v[64];

	return !blkdev_attr(d, attr, v, sizeof(v)) && !strcmp(v, value);
}

static bool has(const struct blkdev *d, const char *attr)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", d->disk_major, d->disk_minor, attr);
	return !access(path, F_OK);
}

// A path of a multipath device: dm holds it under a uuid that begins with "mpath-".
static bool under_multipath(const struct blkdev *d)
{
	char pattern[128], uuid[64];
	glob_t g;
	bool yes = false;

	snprintf(pattern, sizeof(pattern), "/sys/dev/block/%u:%u/holders/dm-*/dm/uuid",
		 d->disk_major, d->disk_minor);
	if (glob(pattern, 0, NULL, &g))
		return false;
	for (size_t i = 0; i < g.gl_pathc && !yes; i++) {
		FILE *in = fopen(g.gl_pathv[i], "re");
		yes = in && fgets(uuid, sizeof(uuid), in) && !strncmp(uuid, "mpath-", 6);
		if (in)
			fclose(in);
	}
	globfree(&g);
	return yes;
}

enum way trackable_way(const struct blkdev *d)
{
	return has(d, "mq") ? WAY_REQUEST : !strncmp(d->disk_name, "nvme", 4) ? WAY_HEAD : WAY_BIO;
}

// Drivers whose pages the kernel before 6.3 writes without a bio (rw_page).
static bool writes_pages(const struct blkdev *d)
{
	return !strncmp(d->disk_name, "zram", 4) || !strncmp(d->disk_name, "ram", 3) ||
	       !strncmp(d->disk_name, "pmem", 4) || !strncmp(d->disk_name, "btt", 3);
}

// Why a device cannot be tracked; NULL if it can.
static const char *refusal(const struct blkdev *d)
{
	char zoned[32];

	if (!d->size)
		return "it has no size: no medium, or nothing attached";
	if (!blkdev_attr(d, "queue/zoned", zoned, sizeof(zoned)) && strcmp(zoned, "none"))
		return "a zoned device: a zone reset is completed without its range";
	if (attr_is(d, "queue/dax", "1"))
		return "a DAX device: writes through mappings pass no block layer";
	if (attr_is(d, "hidden", "1") || under_multipath(d))
		return "a path of a multipath device: track the device above it";
	if (trackable_way(d) == WAY_BIO && writes_pages(d) && kernel_has_rw_page())
		return "its driver takes pages without a request on kernels before 6.3 (rw_page): "
		       "such writes cannot be seen";
	if (attr_is(d, "dm/suspended", "1"))
		return "it is suspended: resume it first";
	if (has(d, "md") && attr_is(d, "queue/iostats", "0"))
		return "its statistics are off (queue/iostats): whether writes are in flight "
		       "cannot "
		       "be known; write 1 there, start, and turn them off again";
	return NULL;
}

static uint64_t memory_available(void)
{
	static const char key[] = "MemAvailable:";
	FILE *in = fopen("/proc/meminfo", "re");
	char line[128], *rest, *word;
	uint64_t kib = 0;

	while (in && fgets(line, sizeof(line), in)) {
		if (strncmp(line, key, sizeof(key) - 1))
			continue;
		rest = line + sizeof(key) - 1;
		word = strtok_r(rest, " ", &rest);
		if (!word || num_u64(word, &kib))
			kib = 0;
		break;
	}
	if (in)
		fclose(in);
	return kib * 1024;
}

uint64_t trackable_memory(const struct blkdev *d, uint32_t block)
{
	return kernel_bitmap_bytes((d->size + block - 1) / block);
}

int trackable_check(const struct blkdev *d, uint32_t block, struct fault *f)
{
	const char *no = refusal(d);

	if (no)
		return fault_set(f, BLX_TARGET, "%s cannot be tracked: %s", d->name, no);
	if (block < d->logical_block)
		return fault_set(f, BLX_USAGE,
				 "%s: its logical blocks have %u bytes: -b must not be smaller",
				 d->name, d->logical_block);
	uint64_t need = trackable_memory(d, block), have = memory_available();
	if (have && need > have / 2)
		return fault_set(f, BLX_SYSTEM,
				 "%s: tracking in blocks of %u bytes takes %" PRIu64
				 " MiB of kernel memory, "
				 "more than half of the %" PRIu64
				 " MiB available: use larger blocks (-b)",
				 d->name, block, need >> 20, have >> 20);
	return 0;
}
