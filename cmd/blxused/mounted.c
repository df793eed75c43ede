// SPDX-License-Identifier: BSD-2-Clause
// What the kernel says: FS_IOC_GETFSMAP, ioctl_getfsmap(2).
#include <errno.h>
#include <fcntl.h>
#include <linux/fsmap.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "used.h"

enum { RECORDS = 1024 };

// As the kernel's new_encode_dev() puts it: what the records' devices are.
static uint32_t encode(const struct blkdev *d)
{
	return (d->minor & 0xff) | d->major << 8 | (d->minor & ~0xffu) << 12;
}

static int refused(const char *name, struct fault *f)
{
	if (errno == ENOTTY || errno == EOPNOTSUPP)
		return fault_set(f, BLX_TARGET,
				 "%s: this file system does not say what it uses (ext4 and xfs do)",
				 name);
	return fault_errno(f, "%s: FS_IOC_GETFSMAP", name);
}

static void take(struct used *u, const struct fsmap *r)
{
	if (r->fmr_flags & FMR_OF_SPECIAL_OWNER && r->fmr_owner == FMR_OWN_FREE &&
	    r->fmr_device == encode(&u->dev))
		used_free(u, r->fmr_physical, r->fmr_length);
}

static int map(struct used *u, int fd, const char *name, struct fsmap_head *h, struct fault *f)
{
	h->fmh_count = RECORDS;
	h->fmh_keys[0].fmr_device = h->fmh_keys[1].fmr_device = encode(&u->dev);
	h->fmh_keys[1].fmr_flags = UINT32_MAX;
	h->fmh_keys[1].fmr_physical = h->fmh_keys[1].fmr_owner = h->fmh_keys[1].fmr_offset =
		UINT64_MAX;
	for (;;) {
		if (ioctl(fd, FS_IOC_GETFSMAP, h))
			return refused(name, f);
		if (!(h->fmh_oflags & FMH_OF_DEV_T))
			return fault_set(f, BLX_TARGET, "%s: its map does not name devices", name);
		for (uint32_t i = 0; i < h->fmh_entries; i++)
			take(u, &h->fmh_recs[i]);
		if (!h->fmh_entries || h->fmh_recs[h->fmh_entries - 1].fmr_flags & FMR_OF_LAST)
			return 0;
		fsmap_advance(h);
	}
}

// What a file has freed in memory only would be in use again after a crash; so what was said to be
// free is made durable before the list ends.
int mounted_free(struct used *u, int fd, const char *name, struct fault *f)
{
	struct fsmap_head *h = calloc(1, fsmap_sizeof(RECORDS));

	if (!h)
		return fault_errno(f, "memory");
	int bad = syncfs(fd) ? fault_errno(f, "%s: syncfs", name) : map(u, fd, name, h, f);
	if (!bad && syncfs(fd))
		bad = fault_errno(f, "%s: syncfs", name);
	free(h);
	return bad;
}

// ---- where a device is mounted

static bool is_octal(const char *s)
{
	return s[0] >= '0' && s[0] <= '3' && s[1] >= '0' && s[1] <= '7' && s[2] >= '0' &&
	       s[2] <= '7';
}

// Blanks and the like are \ooo in /proc.
static void unescape(char *s)
{
	char *to = s;

	for (; *s; to++)
		if (*s == '\\' && is_octal(s + 1)) {
			*to = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*to = *s++;
		}
	*to = 0;
}

// `ID PARENT MAJOR:MINOR ROOT WHERE ...`: where, if it is of the device.
static char *place(char *line, const struct blkdev *d)
{
	char want[32], *word = NULL, *rest = line;

	snprintf(want, sizeof(want), "%u:%u", d->major, d->minor);
	for (int i = 0; i < 5; i++) {
		word = strsep(&rest, " ");
		if (!word || (i == 2 && strcmp(word, want)))
			return NULL;
	}
	unescape(word);
	return word;
}

// Another file system may lie over it.
static int open_on(const char *path, const struct blkdev *d)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0 && (fstat(fd, &st) || st.st_dev != makedev(d->major, d->minor))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

int mount_open(const struct blkdev *d)
{
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, *where;
	size_t room = 0;
	int fd = -1;

	if (!mounts)
		return -1;
	while (fd < 0 && getline(&line, &room, mounts) > 0)
		if ((where = place(line, d)))
			fd = open_on(where, d);
	errno = 0;
	if (ferror(mounts))
		errno = EIO;
	int keep = errno;
	free(line);
	fclose(mounts);
	errno = keep;
	return fd;
}
