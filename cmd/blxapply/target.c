// SPDX-License-Identifier: BSD-2-Clause
// What only a program that writes does with a target: a new image, and permissions given once.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apply.h"
#include "file.h"

// ---- a new image

int target_create(struct target *t, uint64_t size, struct fault *f)
{
	unlinkat(t->dirfd, "new", 0);
	t->fd = openat(t->dirfd, "new", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (t->fd < 0)
		return fault_errno(f, "%s/new: create", t->dir);
	if (ftruncate(t->fd, (off_t)size) || fsync(t->fd) || fsync(t->dirfd))
		return fault_errno(f, "%s/new: set the size to %llu", t->dir,
				   (unsigned long long)size);
	return 0;
}

int target_publish(struct target *t, struct fault *f)
{
	int bad = renameat2(t->dirfd, "new", AT_FDCWD, t->path, RENAME_NOREPLACE);

	if (bad &&
	    errno == EINVAL) // a file system that cannot promise it; target_open() saw no image
		bad = renameat(t->dirfd, "new", AT_FDCWD, t->path);
	if (bad || fsync(t->dirfd) || file_sync_dir(t->parent))
		return fault_errno(f, "%s: create", t->path);
	t->exists = true;
	return 0;
}

// ---- permissions

int target_allow(struct target *t, const char *kind, struct fault *f)
{
	if (file_replace(t->dirfd, "allow", kind, strlen(kind)))
		return fault_errno(f, "%s/allow: write", t->dir);
	return 0;
}

bool target_allowed(const struct target *t, const char *kind)
{
	char *text;
	size_t n;

	if (file_read(t->dirfd, "allow", 16, &text, &n))
		return false;
	bool yes = !strcmp(text, kind);
	free(text);
	return yes;
}

int target_use_up(struct target *t, struct fault *f)
{
	if ((unlinkat(t->dirfd, "allow", 0) && errno != ENOENT) || fsync(t->dirfd))
		return fault_errno(f, "%s/allow: remove", t->dir);
	return 0;
}
