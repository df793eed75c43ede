// SPDX-License-Identifier: BSD-2-Clause
// The image or device itself: opened so that nobody else uses it, and compared with what the state
// remembers of it.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "num.h"
#include "target.h"

// ---- in use

static int sys_line(const char *path, char *buf, size_t n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, buf, n - 1);

	if (fd >= 0)
		close(fd);
	if (got < 0)
		return -1;
	buf[got] = 0;
	buf[strcspn(buf, "\n")] = 0;
	return 0;
}

// A loop device on this file: a writable one changes it behind our back, a read-only one would see
// it change, or go on showing the old one.
static bool loop_on(const char *name, const struct target *t, const struct stat *image)
{
	char path[512], backing[PATH_MAX];
	struct stat st;

	snprintf(path, sizeof(path), "/sys/block/%s/loop/backing_file", name);
	if (sys_line(path, backing, sizeof(backing)))
		return false;
	if (!strcmp(backing, t->path))
		return true;
	return !stat(backing, &st) && st.st_dev == image->st_dev && st.st_ino == image->st_ino;
}

int target_in_use(const struct target *t, int fd, struct fault *f)
{
	struct dirent *e;
	struct stat st;
	int bad = 0;

	if (t->block)
		return 0;
	if (fstat(fd, &st))
		return fault_errno(f, "%s: stat", t->path);
	DIR *d = opendir("/sys/block");
	while (d && !bad && (e = readdir(d)))
		if (!strncmp(e->d_name, "loop", 4) && loop_on(e->d_name, t, &st))
			bad = fault_set(f, BLX_TARGET, "%s: in use: it is attached to /dev/%s",
					t->path, e->d_name);
	if (d)
		closedir(d);
	return bad;
}

// Both kinds: qemu takes OFD locks, others flock. A file system without locks is no reason to
// refuse.
static int lock_image(const struct target *t, int fd, struct fault *f)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
		return fault_set(f, BLX_TARGET, "%s: in use: another process holds a lock on it",
				 t->path);
	if (fcntl(fd, F_OFD_SETLK, &whole) && (errno == EAGAIN || errno == EACCES))
		return fault_set(f, BLX_TARGET, "%s: in use: another process holds a lock on it",
				 t->path);
	return 0;
}

static int open_device(struct target *t, struct fault *f)
{
	if (t->fd >= 0)
		return 0;
	t->fd = open(t->path, O_RDWR | O_EXCL | O_CLOEXEC);
	if (t->fd < 0 && errno == EBUSY)
		return fault_set(f, BLX_TARGET, "%s: in use: mounted, or part of another device",
				 t->path);
	return t->fd < 0 ? fault_errno(f, "%s: open", t->path) : 0;
}

int target_open(struct target *t, struct fault *f)
{
	if (t->block)
		return open_device(t, f);
	if (t->fd >= 0)
		close(t->fd);
	t->fd = open(t->path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	t->exists = t->fd >= 0;
	if (t->fd < 0)
		return errno == ENOENT ? 0 : fault_errno(f, "%s: open", t->path);
	return target_in_use(t, t->fd, f) || lock_image(t, t->fd, f) ? -1 : 0;
}

// ---- what it looks like

static int64_t ns(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void boot_id(struct token *id)
{
	char text[64];

	memset(id, 0, sizeof(*id));
	if (!sys_line("/proc/sys/kernel/random/boot_id", text, sizeof(text)))
		uuid_parse(text, id);
}

bool target_rebooted(const struct replica *r)
{
	static const struct token unknown;
	struct token now;

	boot_id(&now);
	return token_equal(&now, &unknown) || !token_equal(&now, &r->image.boot);
}

// Sectors ever written to or discarded from the device: fields 7 and 14 of
// Documentation/block/stat.rst.
static uint64_t sectors_written(const struct blkdev *d)
{
	char path[64], line[512], *save = NULL;
	uint64_t sum = 0, v;
	int field = 1;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/stat", d->major, d->minor);
	if (sys_line(path, line, sizeof(line)))
		return 0;
	for (char *s = strtok_r(line, " ", &save); s; s = strtok_r(NULL, " ", &save), field++)
		if ((field == 7 || field == 14) && !num_u64(s, &v))
			sum += v;
	return sum;
}

int target_stamp(const struct target *t, struct replica_image *m, struct fault *f)
{
	struct stat st;

	memset(m, 0, sizeof(*m));
	boot_id(&m->boot);
	if (t->block) {
		// What another process wrote through the page cache counts only once it reached the
		// device.
		if (t->fd >= 0 && fsync(t->fd))
			return fault_errno(f, "%s: fsync", t->path);
		m->size = t->dev.size;
		m->inode = t->dev.diskseq;
		m->sectors = sectors_written(&t->dev);
		return 0;
	}
	if (t->fd >= 0 ? fstat(t->fd, &st) : stat(t->path, &st))
		return fault_errno(f, "%s: stat", t->path);
	m->dev = st.st_dev;
	m->inode = st.st_ino;
	m->size = (uint64_t)st.st_size;
	m->mtime = ns(st.st_mtim);
	m->ctime = ns(st.st_ctim);
	return 0;
}

static const char *file_changed(const struct replica *r, const struct replica_image *now)
{
	const struct replica_image *was = &r->image;

	// It has been put in the image's place, and the record of that is still to come.
	if (r->intent.how == REPLICA_CLONE && now->inode == r->intent.inode)
		return "";
	// Its file system may have another number: a disk that is plugged in again, another boot.
	if (was->inode != now->inode)
		return "the image was replaced: inode differs";
	if (r->writing || r->intent.how == REPLICA_SPOOL)
		return now->size < r->size && r->has_floor ? "the image was changed: it is shorter"
							   : "";
	if (was->size != now->size)
		return "the image was changed: size differs";
	if (was->mtime != now->mtime)
		return "the image was changed: it was written to (mtime differs)";
	if (was->ctime != now->ctime)
		return "the image was changed: ctime differs";
	return "";
}

static const char *device_changed(const struct replica *r, const struct replica_image *now)
{
	const struct replica_image *was = &r->image;

	if (now->size < r->size)
		return "the device is smaller than the replica on it";
	if (r->writing || r->intent.how == REPLICA_SPOOL || !token_equal(&was->boot, &now->boot) ||
	    was->inode != now->inode)
		return "";
	return was->sectors != now->sectors ? "the device was written to by another" : "";
}

int target_compare(const struct target *t, const struct replica *r, char *why, size_t n,
		   struct fault *f)
{
	struct replica_image now;
	const char *what = "";

	// A first copy may have died before its image had a name.
	if (r && !t->exists)
		what = r->has_floor || r->has_partial ? "the image is gone" : "";
	else if (r && target_stamp(t, &now, f))
		return -1;
	else if (r)
		what = t->block ? device_changed(r, &now) : file_changed(r, &now);
	snprintf(why, n, "%s%s", what, *what ? " (since the last epoch was applied)" : "");
	return 0;
}
