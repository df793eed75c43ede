// SPDX-License-Identifier: BSD-2-Clause
// lib/blkdev: devices of this machine, as far as any can be expected. Named devices may be given as
// arguments: each is identified, opened and compared with what ioctl(2) says.
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "blkdev.h"
#include "tap.h"

static void refusals(void)
{
	struct blkdev d;
	struct fault f;

	ok(blkdev_identify("/dev/no-such-device", &d, &f) && f.code == BLX_TARGET,
	   "a path that does not exist is a wrong target");
	ok(strstr(f.text, "/dev/no-such-device") != NULL, "the fault names the path");
	ok(blkdev_identify("/dev/null", &d, &f) && f.code == BLX_TARGET &&
		   strstr(f.text, "not a block device"),
	   "a character device is refused");
	ok(blkdev_identify("/proc/self/exe", &d, &f) && f.code == BLX_TARGET,
	   "a regular file is refused");
	ok(blkdev_identify_number(4095, 1048575, &d, &f) && f.code == BLX_TARGET &&
		   strstr(f.text, "4095:1048575"),
	   "a number without a device is a wrong target, named whole");
}

static void agrees_with_ioctl(const char *path)
{
	struct blkdev d;
	struct fault f;
	uint64_t size = 0, seq = 0;
	int block = 0;

	int bad = blkdev_identify(path, &d, &f);
	ok(!bad, "%s is identified%s%s", path, bad ? ": " : "", bad ? f.text : "");
	if (bad)
		return;
	int fd = blkdev_open(&d, O_RDONLY, &f);
	ok(fd >= 0, "%s opens by number", path);
	ok(!ioctl(fd, BLKGETSIZE64, &size) && size == d.size, "%s: size", path);
	ok(!ioctl(fd, BLKSSZGET, &block) && (uint32_t)block == d.logical_block, "%s: logical block",
	   path);
	ok(!ioctl(fd, BLKGETDISKSEQ, &seq) ? seq == d.diskseq : !d.diskseq, "%s: diskseq", path);
	ok(d.partition || (d.start == 0 && d.disk_size == d.size && !strcmp(d.name, d.disk_name)),
	   "%s: a disk is its own disk", path);
	close(fd);
	// What is in d alone decides: no node is named like this, so that one is made.
	snprintf(d.name, sizeof(d.name), "blx-no-such-node");
	fd = blkdev_open(&d, O_RDONLY, &f);
	ok(fd >= 0, "%s opens without a node in /dev", path);
	close(fd);
}

int main(int argc, char **argv)
{
	refusals();
	for (int i = 1; i < argc; i++)
		agrees_with_ioctl(argv[i]);
	return done();
}
