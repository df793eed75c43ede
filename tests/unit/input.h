// SPDX-License-Identifier: BSD-2-Clause
// File descriptors that hold what a test says.
#ifndef BLX_TESTS_INPUT_H
#define BLX_TESTS_INPUT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// Trouble of the test's own: no verdict is possible.
static inline void *must(void *p)
{
	if (!p) {
		perror("test set-up");
		exit(99);
	}
	return p;
}

static inline int fd_of(const void *p, size_t n)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	if (fd < 0 || pwrite(fd, p, n, 0) != (ssize_t)n)
		must(NULL);
	return fd;
}

static inline int fd_of_text(const char *text)
{
	return fd_of(text, strlen(text));
}

// A file of tests/data, whole, malloc'ed. Units run in the top directory, or BLX_TOP says where it
// is.
static inline char *data_file(const char *name, size_t *n)
{
	const char *top = getenv("BLX_TOP");
	char path[4096];

	snprintf(path, sizeof(path), "%s/tests/data/%s", top ? top : ".", name);
	FILE *f = must(fopen(path, "rb"));
	char *buf = must(malloc(1 << 20));
	*n = fread(buf, 1, (1 << 20) - 1, f);
	buf[*n] = 0;
	fclose(f);
	return buf;
}

#endif
