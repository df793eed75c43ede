// SPDX-License-Identifier: BSD-2-Clause
// A directory for targets that need files with names, gone at exit.
#ifndef BLX_FUZZ_DIR_H
#define BLX_FUZZ_DIR_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "fuzz.h"

static char fuzz_dir_name[64];

static inline void fuzz_empty(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	char *inner;

	fuzz_check(d != NULL);
	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (unlinkat(dirfd(d), e->d_name, 0) && errno == EISDIR) {
			fuzz_check(asprintf(&inner, "%s/%s", dir, e->d_name) > 0);
			fuzz_empty(inner);
			rmdir(inner);
			free(inner);
		}
	}
	closedir(d);
}

static inline void fuzz_dir_end(void)
{
	fuzz_empty(fuzz_dir_name);
	rmdir(fuzz_dir_name);
}

// The one there is: in memory where that can be had.
static inline const char *fuzz_dir(void)
{
	const char *shm = "/dev/shm";

	if (!fuzz_dir_name[0]) {
		snprintf(fuzz_dir_name, sizeof(fuzz_dir_name), "%s/blx-fuzz.XXXXXX",
			 access(shm, W_OK) ? "/tmp" : shm);
		fuzz_check(mkdtemp(fuzz_dir_name) != NULL);
		atexit(fuzz_dir_end);
	}
	return fuzz_dir_name;
}

static inline int fuzz_dir_fd(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = open(fuzz_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fuzz_check(fd >= 0);
	return fd;
}

// A file of these bytes there.
static inline void fuzz_put(const char *name, const void *b, size_t n)
{
	int fd = openat(fuzz_dir_fd(), name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	fuzz_check(fd >= 0 && write(fd, b, n) == (ssize_t)n);
	close(fd);
}

#endif
