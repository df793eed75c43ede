// SPDX-License-Identifier: BSD-2-Clause
// Small files replaced whole: written beside, fsynced, renamed, and the directory fsynced.
#ifndef BLX_FILE_H
#define BLX_FILE_H

#include <stddef.h>

// Replace NAME in DIRFD by N bytes of BUF (mode 0600). After 0 the new content survives a power
// cut; after -1 (errno) the old content stands, but for a failed last fsync of the directory.
int file_replace(int dirfd, const char *name, const void *buf, size_t n);

// All of NAME, malloc'ed and NUL-terminated, in *buf and *n. -1 with errno (EFBIG beyond MAX
// bytes).
int file_read(int dirfd, const char *name, size_t max, char **buf, size_t *n);

// fsync a directory by path. 0 or -1.
int file_sync_dir(const char *path);

#endif
