// SPDX-License-Identifier: BSD-2-Clause
// Names, the state directory and its lock.
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "file.h"
#include "target.h"

static int too_long(const char *name, struct fault *f)
{
	errno = ENAMETOOLONG;
	return fault_errno(f, "%s", name);
}

static int find_device(struct target *t, struct fault *f)
{
	const char *root = getenv("BLX_STATE_DIR");
	char id[BLKDEV_ID + 24];

	t->block = true;
	if (blkdev_identify(t->path, &t->dev, f))
		return -1;
	if (!blkdev_id(&t->dev, id))
		snprintf(id + strlen(id), 24, "-%llu", (unsigned long long)t->dev.diskseq);
	int n = snprintf(t->parent, sizeof(t->parent), "%s", root && *root ? root : "/var/lib/blx");
	if (n < 0 || n + sizeof(id) + 2 > sizeof(t->dir))
		return too_long(t->path, f);
	strcpy(t->dir, t->parent);
	strcat(strcat(t->dir, "/"), id);
	return 0;
}

static int find_image(struct target *t, struct fault *f)
{
	if (strlen(t->path) + sizeof(".blx") > sizeof(t->dir))
		return too_long(t->path, f);
	strcpy(t->parent, t->path);
	dirname(t->parent);
	strcpy(t->dir, t->path);
	strcat(t->dir, ".blx");
	return 0;
}

// A name that does not exist yet, in a directory that does.
static int find_new(struct target *t, const char *name, struct fault *f)
{
	char dir[PATH_MAX], base[PATH_MAX];
	struct stat st;

	if (!lstat(name, &st))
		return fault_set(f, BLX_TARGET, "%s: a link to nothing", name);
	if (errno != ENOENT)
		return fault_errno(f, "%s", name);
	strcpy(dir, name);
	strcpy(base, name);
	if (!*name || name[strlen(name) - 1] == '/')
		return fault_errno(f, "%s", name);
	if (!realpath(dirname(dir), t->parent))
		return fault_errno(f, "%s", name);
	int n = snprintf(t->path, sizeof(t->path), "%s/%s", strcmp(t->parent, "/") ? t->parent : "",
			 basename(base));
	if (n < 0 || (size_t)n >= sizeof(t->path))
		return too_long(name, f);
	return find_image(t, f);
}

int target_find(struct target *t, const char *name, struct fault *f)
{
	struct stat st;

	t->fd = t->dirfd = t->lockfd = -1;
	if (!*name)
		return fault_set(f, BLX_USAGE, "the name of the target is empty");
	if (strlen(name) >= PATH_MAX - 8 || strchr(name, '\n'))
		return fault_set(f, BLX_USAGE,
				 "the name of the target is too long or has a newline");
	if (!realpath(name, t->path))
		return errno == ENOENT ? find_new(t, name, f) : fault_errno(f, "%s", name);
	if (stat(t->path, &st))
		return fault_errno(f, "%s: stat", t->path);
	t->exists = true;
	if (S_ISBLK(st.st_mode))
		return find_device(t, f);
	if (S_ISREG(st.st_mode))
		return find_image(t, f);
	return fault_set(f, BLX_TARGET, "%s: %s, not an image or a block device", t->path,
			 S_ISDIR(st.st_mode) ? "a directory" : "a special file");
}

static int make_dir(const char *path, const char *parent, bool *made, struct fault *f)
{
	if (mkdir(path, 0700))
		return errno == EEXIST ? 0 : fault_errno(f, "%s: mkdir", path);
	*made = true;
	if (file_sync_dir(parent))
		return fault_errno(f, "%s: fsync", parent);
	return 0;
}

// That of all devices' states.
static int make_root(struct target *t, struct fault *f)
{
	char copy[PATH_MAX];

	strcpy(copy, t->parent);
	return make_dir(t->parent, dirname(copy), &t->made_parent, f);
}

// What is written there is believed: a directory that somebody else made where he may make one (in
// /tmp, say) is not the replica's. That of the directory's owner is, so that root can help him.
static int is_ours(const struct target *t, struct fault *f)
{
	struct stat st, parent;

	if (fstat(t->dirfd, &st) || stat(t->parent, &parent))
		return fault_errno(f, "%s: stat", t->dir);
	if (st.st_mode & S_IWOTH)
		return fault_set(f, BLX_TARGET, "%s: everybody may write to it: not believed",
				 t->dir);
	if (st.st_uid == geteuid() || st.st_uid == 0 || st.st_uid == parent.st_uid)
		return 0;
	return fault_set(f, BLX_TARGET, "%s: belongs to another user (%u): not believed", t->dir,
			 (unsigned int)st.st_uid);
}

int target_open_dir(struct target *t, bool make, struct fault *f)
{
	if (make && t->block && make_root(t, f))
		return -1;
	if (make && make_dir(t->dir, t->parent, &t->made, f))
		return -1;
	t->dirfd = open(t->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (t->dirfd < 0)
		return make || errno != ENOENT ? fault_errno(f, "%s", t->dir) : 0;
	if (!is_ours(t, f))
		return 0;
	close(t->dirfd);
	t->dirfd = -1;
	return -1;
}

// Who only looks whether anybody is at work holds it for a moment, too.
static int lock_soon(int fd)
{
	enum { TRIES = 10, PAUSE_NS = 10000000 };
	int bad;

	for (int i = 0; (bad = flock(fd, LOCK_EX | LOCK_NB)) && errno == EWOULDBLOCK && i < TRIES;
	     i++)
		nanosleep(&(struct timespec){0, PAUSE_NS}, NULL);
	return bad;
}

// 1: held; 0: the file was removed by its last holder between open and lock, try again.
static int try_lock(struct target *t, struct fault *f)
{
	struct stat st;

	t->lockfd = openat(t->dirfd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (t->lockfd < 0)
		return errno == ENOENT ? 0 : fault_errno(f, "%s/lock", t->dir);
	if (lock_soon(t->lockfd)) {
		if (errno == EWOULDBLOCK)
			fault_set(f, BLX_BUSY, "%s: busy: another blxapply is at work on it",
				  t->path);
		else
			fault_errno(f, "%s/lock: flock", t->dir);
		close(t->lockfd);
		t->lockfd = -1;
		return -1;
	}
	if (!fstat(t->lockfd, &st) && st.st_nlink)
		return 1;
	close(t->lockfd);
	t->lockfd = -1;
	return 0;
}

int target_lock(struct target *t, struct fault *f)
{
	for (int held = 0; !held;) {
		if (t->dirfd >= 0)
			close(t->dirfd);
		if (target_open_dir(t, true, f))
			return -1;
		held = try_lock(t, f);
		if (held < 0)
			return -1;
	}
	return 0;
}

static bool holds(int dirfd, const char *name)
{
	return !faccessat(dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW);
}

void target_close(struct target *t)
{
	if (t->made && t->lockfd >= 0 && !holds(t->dirfd, "state") && !holds(t->dirfd, "allow")) {
		unlinkat(t->dirfd, "new", 0);
		unlinkat(t->dirfd, "lock", 0);
		if (!rmdir(t->dir) && t->made_parent)
			rmdir(t->parent);
	}
	int *fds[] = {&t->fd, &t->lockfd, &t->dirfd};
	for (size_t i = 0; i < 3; i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}
