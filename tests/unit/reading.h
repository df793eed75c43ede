// SPDX-License-Identifier: BSD-2-Clause
// A stream read to its end, in one number.
#ifndef BLX_TESTS_READING_H
#define BLX_TESTS_READING_H

#include "input.h"
#include "stream.h"

// 0: a whole stream; else the fault's code. The number of frames in *n.
static inline int read_fd(int fd, struct fault *f, int *n)
{
	struct stream_reader *r = must(stream_reader_new(fd));
	struct frame fr;
	int got;

	for (*n = 0; (got = stream_read(r, &fr, f)) > 0; ++*n)
		;
	int whole = got == 0 && stream_reader_at_eof(r);
	if (got == 0 && !whole)
		fault_set(f, BLX_CORRUPT, "bytes follow");
	stream_reader_free(r);
	return whole ? 0 : (int)f->code;
}

static inline int read_bytes(const void *p, size_t len, struct fault *f, int *n)
{
	int fd = fd_of(p, len);
	int code = read_fd(fd, f, n);

	close(fd);
	return code;
}

#endif
