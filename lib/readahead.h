// SPDX-License-Identifier: BSD-2-Clause
// Reads of one descriptor, many in flight, handed out in the order they were asked for. Constant
// memory: an arena of 16 MiB, used as a ring.
#ifndef BLX_READAHEAD_H
#define BLX_READAHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { READAHEAD_MAX = 1 << 20 }; // bytes of one read

struct readahead;

// One read, or a hole. Exactly the bytes asked for, though more may have been read around them.
struct readahead_chunk {
	uint64_t offset, length;
	const uint8_t *data; // NULL: a hole
};

// FD stays the caller's. ALIGN: what O_DIRECT wants of offset and length (a power of two up to
// READAHEAD_MAX; 1 for a buffered file). io_uring(7) does the reads unless THREADS is set, it was
// not built in, or this system refuses it; then threads with pread(2) do. NULL with errno.
struct readahead *readahead_new(int fd, uint32_t align, bool threads);
// Waits for what is in flight.
void readahead_free(struct readahead *r);

// Queue a read of N bytes at OFFSET, which must lie between two neighbouring multiples of
// READAHEAD_MAX. 1; 0: no room until the oldest is released.
int readahead_put(struct readahead *r, uint64_t offset, size_t n);
// Queue a hole of any length: nothing is read. 1 or 0 likewise.
int readahead_put_hole(struct readahead *r, uint64_t offset, uint64_t length);

// Wait for the oldest not yet got, which *c describes until it is released. 1; 0: there is none; -1
// with errno (ENODATA: the device or file ends before), c->offset and c->length say which.
int readahead_get(struct readahead *r, struct readahead_chunk *c);
// readahead_get() would not wait for the disk.
bool readahead_ready(struct readahead *r);
// Release the oldest of those got.
void readahead_release(struct readahead *r);

// "io_uring" or "threads".
const char *readahead_engine(const struct readahead *r);

#endif
