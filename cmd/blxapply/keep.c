// SPDX-License-Identifier: BSD-2-Clause
// A copy of the target before it is written over: a reflink where the file system makes them, else
// a sparse copy.
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "apply.h"
#include "file.h"
#include "io.h"

enum { CHUNK = 256 * 1024 };

struct copy {
	char name[PATH_MAX], part[PATH_MAX], in[PATH_MAX];
	const char *dir; // of the name
	int fd;
};

static int name_it(struct copy *c, const struct job *j, const char *name, const char *suffix,
		   struct fault *f)
{
	int n = name ? snprintf(c->name, PATH_MAX, "%s", name)
		     : snprintf(c->name, PATH_MAX, "%s.kept-%s", j->t.path, suffix);

	if (!name && j->t.block)
		return fault_set(f, BLX_USAGE, "%s: a device: say where to, --keep=FILE",
				 j->t.path);
	if (n < 0 || n >= PATH_MAX - 16) {
		errno = ENAMETOOLONG;
		return fault_errno(f, "--keep");
	}
	strcpy(c->in, c->name);
	c->dir = dirname(c->in);
	// One name for all times: what an interrupted run left goes with the next.
	strcpy(c->part, name ? c->name : j->t.path);
	strcat(c->part, name ? ".blx-part" : ".kept.blx-part");
	return 0;
}

static int make(struct copy *c, const struct job *j, struct fault *f)
{
	struct stat st;

	if (!faccessat(AT_FDCWD, c->name, F_OK, AT_SYMLINK_NOFOLLOW))
		return fault_set(f, BLX_TARGET,
				 "%s: exists; to name another for the copy: --keep=FILE", c->name);
	unlink(c->part); // of a run that died
	c->fd = open(c->part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (c->fd < 0)
		return fault_errno(f, "%s: create", c->part);
	if (!j->t.block && (fstat(j->t.fd, &st) || fchown(c->fd, st.st_uid, st.st_gid) ||
			    fchmod(c->fd, st.st_mode & 07777)))
		return fault_errno(f, "%s: set the owner", c->part);
	return 0;
}

static int has_room(const struct copy *c, const struct job *j, struct fault *f)
{
	struct statvfs fs;
	struct stat st;

	if (j->t.block || fstat(j->t.fd, &st) || fstatvfs(c->fd, &fs) ||
	    (uint64_t)st.st_blocks * 512 <= (uint64_t)fs.f_bavail * fs.f_frsize)
		return 0;
	errno = ENOSPC;
	return fault_errno(f, "%s", c->name);
}

// Zeroes stay a hole.
static int copy_range(const struct copy *c, struct job *j, uint64_t from, uint64_t to, uint8_t *buf,
		      struct fault *f)
{
	for (; from < to; from += CHUNK) {
		size_t n = to - from < CHUNK ? (size_t)(to - from) : CHUNK;
		ssize_t got = io_pread_full(j->t.fd, buf, n, from);
		if (got < 0 || (size_t)got < n)
			return fault_errno(f, "%s: read at %llu", j->t.path,
					   (unsigned long long)from);
		if ((*buf || memcmp(buf, buf + 1, n - 1)) && io_pwrite_full(c->fd, buf, n, from))
			return fault_errno(f, "%s: write at %llu", c->name,
					   (unsigned long long)from);
		progress_add(&j->progress, n);
	}
	return 0;
}

// The next range at or after FROM that holds data; all of what cannot tell. 1; 0: there is none.
static int next_data(const struct target *t, uint64_t size, uint64_t from, uint64_t range[2])
{
	range[0] = from;
	range[1] = size;
	if (t->block || from >= size)
		return from < size;
	off_t data = lseek(t->fd, (off_t)from, SEEK_DATA);
	if (data < 0)
		return errno != ENXIO;
	off_t hole = lseek(t->fd, data, SEEK_HOLE);
	range[0] = (uint64_t)data;
	range[1] = hole < 0 ? size : (uint64_t)hole;
	return 1;
}

static int copy_data(const struct copy *c, struct job *j, uint64_t size, struct fault *f)
{
	uint8_t *buf = malloc(CHUNK);
	uint64_t range[2] = {0, 0};
	int bad = buf ? 0 : fault_errno(f, "%s", c->name);

	if (!bad && ftruncate(c->fd, (off_t)size))
		bad = fault_errno(f, "%s: set the size", c->name);
	while (!bad && next_data(&j->t, size, range[1], range))
		bad = copy_range(c, j, range[0], range[1], buf, f);
	free(buf);
	return bad;
}

static int fill(const struct copy *c, struct job *j, struct fault *f)
{
	struct replica_image m;

	if (!j->t.block && !ioctl(c->fd, FICLONE, j->t.fd))
		return 0;
	if (target_stamp(&j->t, &m, f) || has_room(c, j, f))
		return -1;
	progress_init(&j->progress, j->o->progress, m.size);
	int bad = copy_data(c, j, m.size, f);
	if (j->progress.done)
		progress_end(&j->progress);
	return bad;
}

static int publish(const struct copy *c, struct fault *f)
{
	if (fsync(c->fd))
		return fault_errno(f, "%s: fsync", c->name);
	int bad = renameat2(AT_FDCWD, c->part, AT_FDCWD, c->name, RENAME_NOREPLACE);
	if (bad && errno == EINVAL) // a file system that cannot promise it; make() saw none
		bad = rename(c->part, c->name);
	if (bad)
		return fault_errno(f, "%s: create", c->name);
	if (!file_sync_dir(c->dir))
		return 0;
	fault_errno(f, "%s: create", c->name);
	unlink(c->name);
	return -1;
}

int keep_copy(struct job *j, const char *name, const char *suffix, struct fault *f)
{
	struct copy c = {.fd = -1};

	if (name_it(&c, j, name, suffix, f))
		return -1;
	int bad = make(&c, j, f) || fill(&c, j, f) || publish(&c, f) ? -1 : 0;
	if (c.fd >= 0)
		close(c.fd);
	if (!bad)
		return 0;
	struct fault why = *f;
	unlink(c.part);
	return fault_set(f, why.code, "%s; no copy was made and nothing is permitted", why.text);
}
