// SPDX-License-Identifier: BSD-2-Clause
// Identity of block devices out of sysfs, and opening them by number.
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "blkdev.h"
#include "io.h"
#include "num.h"

enum {
	SYS_PATH = 160,
	SECTOR = 512, // sysfs counts these, whatever the device's block
};

// A small sysfs file, blanks at both ends trimmed.
static int read_trimmed(const char *path, char *buf, size_t n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	ssize_t r = io_read_full(fd, buf, n - 1);
	int keep = errno;
	close(fd);
	errno = keep;
	if (r < 0)
		return -1;
	buf[r] = 0;
	while (r > 0 && strchr(" \t\n", buf[r - 1]))
		buf[--r] = 0;
	size_t lead = strspn(buf, " \t\n");
	memmove(buf, buf + lead, (size_t)r - lead + 1);
	return 0;
}

// A number below /sys/dev/block/MAJ:MIN/.
static int sys_number(uint32_t major, uint32_t minor, const char *attr, uint64_t *v)
{
	char path[SYS_PATH], text[32];

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", major, minor, attr);
	return read_trimmed(path, text, sizeof(text)) || num_u64(text, v);
}

static int sys_bytes(uint32_t major, uint32_t minor, const char *attr, uint64_t *v)
{
	uint64_t sectors;

	if (sys_number(major, minor, attr, &sectors))
		return -1;
	if (__builtin_mul_overflow(sectors, (uint64_t)SECTOR, v)) {
		errno = ERANGE;
		return -1;
	}
	return 0;
}

static int parse_numbers(const char *text, uint32_t *major, uint32_t *minor)
{
	char copy[32];
	uint64_t a, b;
	char *colon;

	snprintf(copy, sizeof(copy), "%s", text);
	errno = EINVAL;
	if (!(colon = strchr(copy, ':')))
		return -1;
	*colon = 0;
	if (num_u64(copy, &a) || num_u64(colon + 1, &b))
		return -1;
	*major = (uint32_t)a;
	*minor = (uint32_t)b;
	return 0;
}

// The kernel's name is the last component of where the link points; a name with a slash
// (cciss/c0d0) has a '!' there.
static int kernel_name(uint32_t major, uint32_t minor, char name[64])
{
	char path[SYS_PATH], to[512];

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major, minor);
	ssize_t n = readlink(path, to, sizeof(to) - 1);
	if (n < 0)
		return -1;
	to[n] = 0;
	const char *slash = strrchr(to, '/');
	snprintf(name, 64, "%.63s", slash ? slash + 1 : to);
	return 0;
}

static int find_disk(struct blkdev *d)
{
	char path[SYS_PATH], text[32];
	uint64_t number;

	d->disk_major = d->major;
	d->disk_minor = d->minor;
	d->partition = !sys_number(d->major, d->minor, "partition", &number);
	if (!d->partition) {
		memcpy(d->disk_name, d->name, sizeof(d->name));
		return 0;
	}
	// The link is followed before the dots: this is the directory that holds the partition's,
	// its disk's.
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/../dev", d->major, d->minor);
	if (read_trimmed(path, text, sizeof(text)) ||
	    parse_numbers(text, &d->disk_major, &d->disk_minor))
		return -1;
	return kernel_name(d->disk_major, d->disk_minor, d->disk_name);
}

// Where drivers keep it: virtio and mmc, nvme, scsi. The text goes into a header, so that only
// bytes of a name stay.
static void find_serial(struct blkdev *d)
{
	static const char *const place[] = {"serial", "device/serial", "wwid", "device/wwid"};

	for (size_t i = 0; i < sizeof(place) / sizeof(*place); i++)
		if (!blkdev_attr(d, place[i], d->serial, sizeof(d->serial)) && d->serial[0])
			break;
	for (char *p = d->serial; *p; p++) {
		bool plain = (*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') ||
			     (*p >= 'a' && *p <= 'z') || (p > d->serial && strchr(".:-", *p));
		if (!plain)
			*p = '_';
	}
}

int blkdev_identify_number(uint32_t major, uint32_t minor, struct blkdev *d, struct fault *f)
{
	uint64_t block;

	memset(d, 0, sizeof(*d));
	d->major = major;
	d->minor = minor;
	if (kernel_name(major, minor, d->name)) {
		if (errno == ENOENT)
			return fault_set(f, BLX_TARGET, "device %u:%u: no such block device", major,
					 minor);
		return fault_errno(f, "device %u:%u: sysfs", major, minor);
	}
	if (find_disk(d) || sys_bytes(major, minor, "size", &d->size) ||
	    sys_bytes(d->disk_major, d->disk_minor, "size", &d->disk_size) ||
	    (d->partition && sys_bytes(major, minor, "start", &d->start)) ||
	    sys_number(d->disk_major, d->disk_minor, "queue/logical_block_size", &block))
		return fault_errno(f, "device %u:%u (%s): sysfs", major, minor, d->name);
	d->logical_block = (uint32_t)block;
	if (sys_number(d->disk_major, d->disk_minor, "diskseq", &d->diskseq))
		d->diskseq = 0;
	find_serial(d);
	return 0;
}

int blkdev_identify(const char *path, struct blkdev *d, struct fault *f)
{
	struct stat st;

	if (stat(path, &st)) {
		fault_errno(f, "%s", path);
		if (errno == ENOENT || errno == ENOTDIR)
			f->code = BLX_TARGET;
		return -1;
	}
	if (!S_ISBLK(st.st_mode))
		return fault_set(f, BLX_TARGET, "%s: not a block device", path);
	return blkdev_identify_number(major(st.st_rdev), minor(st.st_rdev), d, f);
}

int blkdev_attr(const struct blkdev *d, const char *attr, char *buf, int n)
{
	char path[SYS_PATH];

	buf[0] = 0;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", d->disk_major, d->disk_minor, attr);
	if (!read_trimmed(path, buf, (size_t)n))
		return 0;
	buf[0] = 0;
	return -1;
}

// ---- a name that outlives reboots

// A loop device goes by its file: the end of its path, its inode, and where in the file it begins.
static bool loop_id(const struct blkdev *d, char *id)
{
	char file[PATH_MAX], offset[32];
	struct stat st;

	if (blkdev_attr(d, "loop/backing_file", file, sizeof(file)) || stat(file, &st) ||
	    blkdev_attr(d, "loop/offset", offset, sizeof(offset)))
		return false;
	size_t n = strlen(file);
	snprintf(id, BLKDEV_ID, "loop-%s-%llu-%s", file + (n > 120 ? n - 120 : 0),
		 (unsigned long long)st.st_ino, offset);
	return true;
}

static void serial_id(const struct blkdev *d, char *id)
{
	char model[64];

	if (blkdev_attr(d, "device/model", model, sizeof(model)))
		model[0] = 0;
	snprintf(id, BLKDEV_ID, "serial-%s%s%s", model, model[0] ? "-" : "", d->serial);
}

static bool disk_id(const struct blkdev *d, char *id)
{
	static const char *const attr[] = {"dm/uuid", "md/uuid", "wwid", "device/wwid"};
	char value[160];

	for (size_t i = 0; i < sizeof(attr) / sizeof(*attr); i++)
		if (!blkdev_attr(d, attr[i], value, sizeof(value)) && value[0]) {
			snprintf(id, BLKDEV_ID, "%s-%s", strrchr(attr[i], '/') ? attr[i] : "nvme",
				 value);
			return true;
		}
	if (d->serial[0])
		serial_id(d, id);
	else if (!loop_id(d, id)) {
		snprintf(id, BLKDEV_ID, "number-%u:%u", d->disk_major, d->disk_minor);
		return false;
	}
	return true;
}

bool blkdev_id(const struct blkdev *d, char id[BLKDEV_ID])
{
	bool stable = disk_id(d, id);
	size_t n = strlen(id);

	if (d->partition)
		snprintf(id + n, BLKDEV_ID - n, "-from-%llu", (unsigned long long)d->start);
	for (char *c = id; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("._:-", *c))
			*c = '_';
	return stable;
}

bool blkdev_overlap(const struct blkdev *a, const struct blkdev *b)
{
	return a->disk_major == b->disk_major && a->disk_minor == b->disk_minor &&
	       a->start < b->start + b->size && b->start < a->start + a->size;
}

// ---- opening

static bool is_node(const struct stat *st, dev_t dev)
{
	return S_ISBLK(st->st_mode) && st->st_rdev == dev;
}

static int open_node(const char *path, dev_t dev, int flags)
{
	struct stat st;

	// Looked at before opening too: to open a wrong device may already do something to it.
	if (stat(path, &st))
		return -1;
	errno = ENXIO;
	if (!is_node(&st, dev))
		return -1;
	int fd = open(path, flags | O_CLOEXEC);
	if (fd >= 0 && (fstat(fd, &st) || !is_node(&st, dev))) {
		close(fd);
		errno = ENXIO;
		return -1;
	}
	return fd;
}

// Without a node in /dev (a container, a bare initramfs): one of our own, gone again before this
// returns. Many tmpfs are mounted nodev, where such a node opens with EACCES; so several places.
static int open_private(dev_t dev, int flags)
{
	static const char *const place[] = {"/dev", "/run", "/var/tmp", "/tmp"};
	int fd = -1, why = ENXIO;

	for (size_t i = 0; fd < 0 && i < sizeof(place) / sizeof(*place); i++) {
		char dir[64], node[80];
		snprintf(dir, sizeof(dir), "%s/blx.XXXXXX", place[i]);
		if (!mkdtemp(dir)) {
			why = errno;
			continue;
		}
		snprintf(node, sizeof(node), "%s/node", dir);
		if (!mknod(node, S_IFBLK | 0600, dev))
			fd = open_node(node, dev, flags);
		why = errno;
		unlink(node);
		rmdir(dir);
	}
	errno = why;
	return fd;
}

int blkdev_open(const struct blkdev *d, int flags, struct fault *f)
{
	dev_t dev = makedev(d->major, d->minor);
	char path[SYS_PATH];

	snprintf(path, sizeof(path), "/dev/%s", d->name);
	for (char *p = path; *p; p++)
		if (*p == '!')
			*p = '/';
	int fd = open_node(path, dev, flags);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ENXIO))
		fd = open_private(dev, flags);
	return fd < 0 ? fault_errno(f, "%s: open", path) : fd;
}
