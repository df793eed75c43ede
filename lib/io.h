// SPDX-License-Identifier: BSD-2-Clause
// Whole reads and writes, EINTR handled. All return -1 with errno.
#ifndef BLX_IO_H
#define BLX_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// Bytes read: fewer than N only at end of file.
ssize_t io_read_full(int fd, void *buf, size_t n);
ssize_t io_pread_full(int fd, void *buf, size_t n, uint64_t off);

int io_write_full(int fd, const void *buf, size_t n);
int io_pwrite_full(int fd, const void *buf, size_t n, uint64_t off);

// Wait until IN can be read (or is at its end). 1: yes; 0: TIMEOUT_MS passed (-1: never); -1:
// errno, EPIPE when nobody reads OUT any more (OUT -1: not watched). An idle filter thus notices
// that the stage after it died.
int io_wait_input(int in, int out, int timeout_ms);

#endif
