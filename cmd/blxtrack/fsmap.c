// SPDX-License-Identifier: BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "fsmap.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

enum { BATCH = 256, RANGES_MAX = 1 << 16, DEPTH_MAX = 16 };

// ---- ranges of a file

static int take_extents(const char *path, const struct fiemap *m, uint64_t *next,
			struct extents *all, bool *last, struct fault *f)
{
	const uint32_t moves = FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC |
			       FIEMAP_EXTENT_ENCODED | FIEMAP_EXTENT_DATA_INLINE |
			       FIEMAP_EXTENT_DATA_TAIL | FIEMAP_EXTENT_NOT_ALIGNED |
			       FIEMAP_EXTENT_SHARED;

	for (uint32_t i = 0; i < m->fm_mapped_extents; i++) {
		const struct fiemap_extent *e = &m->fm_extents[i];
		if (e->fe_logical != *next)
			return fault_set(f, BLX_TARGET,
					 "%s: has a hole at %" PRIu64 ": allocate it whole", path,
					 *next);
		if (e->fe_flags & moves)
			return fault_set(f, BLX_TARGET,
					 "%s: what is at %" PRIu64
					 " has no place of its own on the disk (flags %" PRIx32 ")",
					 path, *next, e->fe_flags);
		if (extents_add(all, (struct extent){e->fe_physical, e->fe_length}, RANGES_MAX))
			return fault_errno(f, "%s: its ranges", path);
		*next += e->fe_length;
		*last = e->fe_flags & FIEMAP_EXTENT_LAST;
	}
	return 0;
}

static int map_file(const char *path, int fd, uint64_t size, struct extents *all, struct fault *f)
{
	struct fiemap *m = calloc(1, sizeof(*m) + BATCH * sizeof(m->fm_extents[0]));
	uint64_t next = 0;
	bool last = false;
	int bad = m ? 0 : fault_errno(f, "%s: its ranges", path);

	while (!bad && next < size && !last) {
		m->fm_start = next;
		m->fm_length = FIEMAP_MAX_OFFSET - next;
		m->fm_flags = FIEMAP_FLAG_SYNC;
		m->fm_extent_count = BATCH;
		if (ioctl(fd, FS_IOC_FIEMAP, m))
			bad = fault_errno(f, "%s: FS_IOC_FIEMAP", path);
		else if (!m->fm_mapped_extents)
			break;
		else
			bad = take_extents(path, m, &next, all, &last, f);
	}
	free(m);
	if (!bad && (!size || next < size))
		return fault_set(f, BLX_TARGET, "%s: %s: allocate it whole", path,
				 size ? "ends in a hole" : "is empty");
	return bad;
}

int fsmap_file(const char *path, struct extents *all, struct fault *f)
{
	struct statfs fs;
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), bad;

	*all = (struct extents){0};
	if (fd < 0)
		return fault_errno(f, "%s", path);
	if (fstat(fd, &st) || fstatfs(fd, &fs))
		bad = fault_errno(f, "%s", path);
	else if (!S_ISREG(st.st_mode))
		bad = fault_set(f, BLX_TARGET, "%s: no file", path);
	else if ((unsigned long)fs.f_type != EXT4_SUPER_MAGIC &&
		 (unsigned long)fs.f_type != XFS_SUPER_MAGIC)
		bad = fault_set(f, BLX_TARGET,
				"%s: on this file system the places of a file may move (they stay "
				"on ext4 and xfs)",
				path);
	else
		bad = map_file(path, fd, (uint64_t)st.st_size, all, f);
	close(fd);
	if (bad)
		extents_free(all);
	return bad;
}

// ---- mounts

// One line of /proc/self/mountinfo.
struct mount {
	uint32_t major, minor;
	char at[PATH_MAX], source[PATH_MAX];
	bool read_only; // the file system is
};

static FILE *open_mounts(struct fault *f)
{
	FILE *in = fopen("/proc/self/mountinfo", "re");

	if (!in)
		fault_errno(f, "/proc/self/mountinfo");
	return in;
}

// Blanks and the like stand there as a backslash and three octal digits.
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++, to++) {
		unsigned int c;
		if (*s == '\\' && sscanf(s, "\\%3o", &c) == 1) {
			*to = (char)c;
			s += 3;
		} else {
			*to = *s;
		}
	}
	*to = 0;
}

// proc_pid_mountinfo(5). A file system without a number of its own (btrfs) has that of its source.
static bool next_mount(FILE *in, struct mount *m)
{
	char *line = NULL;
	size_t room = 0;
	bool got = false;

	while (!got && getline(&line, &room, in) > 0) {
		char options[256];
		const char *rest = strstr(line, " - ");
		got = rest &&
		      sscanf(line, "%*u %*u %" SCNu32 ":%" SCNu32 " %*s %4095s", &m->major,
			     &m->minor, m->at) == 3 &&
		      sscanf(rest, " - %*s %4095s %255s", m->source, options) == 2;
		if (!got)
			continue;
		unescape(m->at);
		unescape(m->source);
		m->read_only = !strncmp(options, "ro", 2) && strchr(",\n", options[2]);
		struct stat st;
		if (!m->major && m->source[0] == '/' && !stat(m->source, &st) &&
		    S_ISBLK(st.st_mode)) {
			m->major = major(st.st_rdev);
			m->minor = minor(st.st_rdev);
		}
	}
	free(line);
	return got;
}

// The nearest directory above PATH that is there, or PATH.
static int stat_near(const char *path, struct stat *st, struct statfs *fs)
{
	char copy[PATH_MAX], *near = copy;

	if ((size_t)snprintf(copy, sizeof(copy), "%s", path) >= sizeof(copy)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	while (stat(near, st)) {
		if (errno != ENOENT || !strcmp(near, "/") || !strcmp(near, "."))
			return -1;
		near = dirname(near); // may be a constant
	}
	return statfs(near, fs);
}

int fsmap_home(const char *path, dev_t *home)
{
	struct statfs fs;
	struct stat st;

	if (stat_near(path, &st, &fs))
		return -1;
	*home = st.st_dev;
	return 0;
}

int fsmap_device(const char *path, struct blkdev *d, struct fault *f)
{
	struct statfs fs;
	struct stat st;
	struct mount m;

	if (stat_near(path, &st, &fs))
		return fault_errno(f, "%s", path);
	if ((unsigned long)fs.f_type == TMPFS_MAGIC || (unsigned long)fs.f_type == RAMFS_MAGIC)
		return fault_set(f, BLX_TARGET, "%s: lies in memory, which a reboot forgets", path);
	if (major(st.st_dev))
		return blkdev_identify_number(major(st.st_dev), minor(st.st_dev), d, f) ? -1 : 1;
	FILE *in = open_mounts(f);
	if (!in)
		return -1;
	bool found = false;
	while (!found && next_mount(in, &m)) {
		struct stat at;
		found = !stat(m.at, &at) && at.st_dev == st.st_dev;
	}
	fclose(in);
	if (!found || (unsigned long)fs.f_type == OVERLAYFS_SUPER_MAGIC)
		return fault_set(f, BLX_TARGET, "%s: which disk it lies on cannot be told", path);
	if (!m.major)
		return 0;
	return blkdev_identify_number(m.major, m.minor, d, f) ? -1 : 1;
}

// ---- what lies below

static enum below below(const struct blkdev *d, const struct blkdev *to, int depth);

static bool slaves_below(const struct blkdev *d, const struct blkdev *to, int depth)
{
	char path[320], text[32];
	struct dirent *e;
	bool yes = false;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/slaves", d->disk_major, d->disk_minor);
	DIR *dir = opendir(path);
	while (dir && !yes && (e = readdir(dir))) {
		struct blkdev slave;
		struct fault ignored;
		uint32_t major, minor;
		char dev[sizeof(path) + sizeof(e->d_name) + 8];
		if (e->d_name[0] == '.')
			continue;
		snprintf(dev, sizeof(dev), "%s/%s/dev", path, e->d_name);
		FILE *in = fopen(dev, "re");
		bool got = in && fgets(text, sizeof(text), in) &&
			   sscanf(text, "%" SCNu32 ":%" SCNu32, &major, &minor) == 2;
		if (in)
			fclose(in);
		yes = !got || blkdev_identify_number(major, minor, &slave, &ignored) ||
		      below(&slave, to, depth + 1) != BELOW_NOT;
	}
	if (dir)
		closedir(dir);
	return yes;
}

static bool backing_below(const struct blkdev *d, const struct blkdev *to, int depth)
{
	char file[PATH_MAX];
	struct blkdev under;
	struct fault ignored;

	return !blkdev_attr(d, "loop/backing_file", file, sizeof(file)) &&
	       fsmap_device(file, &under, &ignored) == 1 &&
	       below(&under, to, depth + 1) != BELOW_NOT;
}

static enum below below(const struct blkdev *d, const struct blkdev *to, int depth)
{
	if (blkdev_overlap(d, to))
		return BELOW_DIRECT;
	return depth > DEPTH_MAX || slaves_below(d, to, depth) || backing_below(d, to, depth)
		       ? BELOW_THROUGH
		       : BELOW_NOT;
}

enum below fsmap_below(const struct blkdev *d, const struct blkdev *to)
{
	return below(d, to, 0);
}

// ---- who has it

static int has_holders(const struct blkdev *d, struct fault *f)
{
	char path[128];
	struct dirent *e;
	int bad = 0;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/holders", d->major, d->minor);
	DIR *dir = opendir(path);
	while (dir && !bad && (e = readdir(dir)))
		if (e->d_name[0] != '.')
			bad = fault_set(f, BLX_BUSY, "%s is in use by %s: stop that first", d->name,
					e->d_name);
	if (dir)
		closedir(dir);
	return bad;
}

static int has_swap(const struct blkdev *d, struct fault *f)
{
	FILE *in = fopen("/proc/swaps", "re");
	char line[PATH_MAX + 128], path[PATH_MAX];
	struct blkdev swap;
	struct fault ignored;
	int bad = 0;

	while (in && !bad && fgets(line, sizeof(line), in))
		if (sscanf(line, "%4095s", path) == 1 && path[0] == '/' &&
		    !blkdev_identify(path, &swap, &ignored) && blkdev_overlap(&swap, d))
			bad = fault_set(f, BLX_BUSY, "%s is in use: swap on %s", d->name, path);
	if (in)
		fclose(in);
	return bad;
}

// Are all mounts of it, and of parts of it, of file systems that are read-only? EXACTLY: one is of
// the device itself.
static int only_read(const struct blkdev *d, bool *exactly, struct fault *f)
{
	FILE *in = open_mounts(f);
	struct fault ignored;
	struct blkdev on;
	struct mount m;
	int bad = in ? 0 : -1;

	*exactly = false;
	while (in && !bad && next_mount(in, &m)) {
		if (!m.major || blkdev_identify_number(m.major, m.minor, &on, &ignored) ||
		    !blkdev_overlap(&on, d))
			continue;
		*exactly |= on.major == d->major && on.minor == d->minor;
		if (!m.read_only)
			bad = fault_set(f, BLX_BUSY, "%s is in use: mounted on %s", d->name, m.at);
		else
			bad = has_holders(&on, f);
	}
	if (in)
		fclose(in);
	return bad;
}

// The device of one entry of a disk's directory in sysfs. 1; 0: it is no partition.
static int partition_of(const char *disk, const char *name, struct blkdev *d, struct fault *f)
{
	char path[320], text[32];
	uint32_t major, minor;

	snprintf(path, sizeof(path), "%s/%.64s/partition", disk, name);
	if (name[0] == '.' || access(path, F_OK))
		return 0;
	snprintf(path, sizeof(path), "%s/%.64s/dev", disk, name);
	FILE *in = fopen(path, "re");
	bool got = in && fgets(text, sizeof(text), in) &&
		   sscanf(text, "%" SCNu32 ":%" SCNu32, &major, &minor) == 2;
	if (in)
		fclose(in);
	if (!got)
		return fault_set(f, BLX_SYSTEM, "%s: cannot be read", path);
	return blkdev_identify_number(major, minor, d, f) ? -1 : 1;
}

// Has anybody but file systems that are mounted read-only the partition? None is known from here
// (another mount namespace, a volume manager) that does not hold it.
static int part_in_use(const struct blkdev *part, bool *mounted, struct fault *f)
{
	bool exactly;
	int fd = blkdev_open(part, O_RDONLY | O_EXCL, f);

	if (fd >= 0) {
		close(fd);
		return 0;
	}
	if (errno != EBUSY || has_holders(part, f) || only_read(part, &exactly, f))
		return -1;
	*mounted |= exactly;
	return exactly ? 0 : fault_set(f, BLX_BUSY, "%s is in use", part->name);
}

static int parts_in_use(const struct blkdev *d, bool *mounted, struct fault *f)
{
	char path[128];
	struct dirent *e;
	struct blkdev part;
	int bad = 0;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", d->major, d->minor);
	DIR *dir = opendir(path);
	if (!dir)
		return fault_errno(f, "%s", path);
	while (!bad && (e = readdir(dir))) {
		int got = partition_of(path, e->d_name, &part, f);
		bad = got < 0 || (got && part_in_use(&part, mounted, f));
	}
	closedir(dir);
	return bad ? -1 : 0;
}

int fsmap_claim(const struct blkdev *d, struct fault *f)
{
	int fd = blkdev_open(d, O_RDONLY | O_EXCL, f);
	bool mounted;

	if (fd >= 0 || errno != EBUSY)
		return fd;
	if (has_holders(d, f) || has_swap(d, f) || only_read(d, &mounted, f))
		return -1;
	// who has the disk itself has all of its partitions
	if (!mounted && !d->partition && parts_in_use(d, &mounted, f))
		return -1;
	return mounted ? blkdev_open(d, O_RDONLY, f)
		       : fault_set(f, BLX_BUSY, "%s is in use", d->name);
}
