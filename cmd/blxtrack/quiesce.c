// SPDX-License-Identifier: BSD-2-Clause
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dm.h"
#include "num.h"
#include "quiesce.h"

enum { QUIET_S = 60, QUIET_NS = 1000000, QUIET_TRIES = QUIET_S * 1000 };

static int writes_in_flight(const struct blkdev *d, uint64_t *writes, struct fault *f)
{
	char text[64], *rest = text, *word;

	if (blkdev_attr(d, "inflight", text, sizeof(text)))
		return fault_errno(f, "%s: inflight", d->disk_name);
	strtok_r(rest, " ", &rest);
	word = strtok_r(rest, " ", &rest);
	if (!word || num_u64(word, writes))
		return fault_set(f, BLX_SYSTEM, "%s: inflight: not two numbers", d->disk_name);
	return 0;
}

static int wait_idle(const struct blkdev *d, struct fault *f)
{
	uint64_t writes = 1;

	for (int i = 0; i < QUIET_TRIES; i++) {
		if (writes_in_flight(d, &writes, f))
			return -1;
		if (!writes)
			return 0;
		nanosleep(&(struct timespec){0, QUIET_NS}, NULL);
	}
	return fault_set(
		f, BLX_BUSY,
		"%s: writes were in flight for all of %d s, and such cannot be tracked from "
		"the middle: start it when it is quieter",
		d->name, QUIET_S);
}

// Writing what is there makes md wait for all of its writes, those too that stand before a barrier
// and are not counted as in flight. (Some levels have nothing to wait for.)
static void drain_md(const struct blkdev *d)
{
	char path[128], low[32];

	if (blkdev_attr(d, "md/suspend_lo", low, sizeof(low)))
		return;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/md/suspend_lo", d->disk_major,
		 d->disk_minor);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t ignored = write(fd, low, strlen(low)); // then what is counted has to do
	(void)ignored;
	close(fd);
}

int quiesce(const struct blkdev *d, struct fault *f)
{
	char name[256];

	if (!blkdev_attr(d, "dm/name", name, sizeof(name)))
		return dm_drain(d->disk_major, d->disk_minor, QUIET_S, f);
	drain_md(d);
	return wait_idle(d, f);
}
