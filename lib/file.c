// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "io.h"

static int write_new(int dirfd, const char *tmp, const void *buf, size_t n)
{
	int fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	int bad = io_write_full(fd, buf, n) || fsync(fd);
	int keep = errno;
	if (close(fd) && !bad) {
		bad = 1;
		keep = errno;
	}
	errno = keep;
	return bad ? -1 : 0;
}

int file_replace(int dirfd, const char *name, const void *buf, size_t n)
{
	char tmp[256];

	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.new", name) >= sizeof(tmp)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if (write_new(dirfd, tmp, buf, n) || renameat(dirfd, tmp, dirfd, name)) {
		int keep = errno;
		unlinkat(dirfd, tmp, 0);
		errno = keep;
		return -1;
	}
	return fsync(dirfd);
}

int file_read(int dirfd, const char *name, size_t max, char **buf, size_t *n)
{
	int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return -1;
	*buf = NULL;
	ssize_t r = -1;
	if (!fstat(fd, &st)) {
		size_t room = st.st_size < 0 ? 0 : (size_t)st.st_size + 1;
		if (room > max + 1)
			errno = EFBIG;
		else if ((*buf = malloc(room + 1)))
			r = io_read_full(fd, *buf, room);
	}
	int keep = errno;
	close(fd);
	if (r < 0) {
		free(*buf);
		*buf = NULL;
		errno = keep;
		return -1;
	}
	(*buf)[r] = 0;
	*n = (size_t)r;
	return 0;
}

int file_sync_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	int bad = fsync(fd);
	int keep = errno;
	close(fd);
	errno = keep;
	return bad;
}
