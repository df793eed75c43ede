// SPDX-License-Identifier: BSD-2-Clause
// What the fuzz targets share.
#ifndef BLX_FUZZ_H
#define BLX_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define fuzz_check(good) ((good) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #good))

static inline void fuzz_fail(const char *file, int line, const char *what)
{
	dprintf(STDERR_FILENO, "%s:%d: not so: %s\n", file, line, what);
	abort();
}

static inline void fuzz_rewind(int fd)
{
	fuzz_check(lseek(fd, 0, SEEK_SET) == 0);
}

// A file of these bytes, the same one every time.
static inline int fuzz_fd(const void *data, size_t size)
{
	static int fd = -1;

	if (fd < 0)
		fd = memfd_create("fuzz", MFD_CLOEXEC);
	fuzz_check(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
	fuzz_rewind(fd);
	return fd;
}

#endif
