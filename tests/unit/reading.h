// SPDX-License-Identifier: BSD-2-Clause
// A stream read to its end, in one number.
#ifndef BLX_TESTS_READING_H
#define BLX_TESTS_READING_H

#include "bytes.h"
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

// The headers of the N bytes of frames at FROM, then their payloads, as in a PACK; a rest stays
// behind them.
static inline void gather(uint8_t *to, const uint8_t *from, size_t n)
{
	size_t at = 0;

	for (int payloads = 0; payloads < 2; payloads++)
		for (at = 0; n - at >= FRAME_HEADER;) {
			size_t len = get_le32(from + at + 4), left = n - at - FRAME_HEADER;
			len = len < left ? len : left;
			memcpy(to, from + at + (payloads ? FRAME_HEADER : 0),
			       payloads ? len : FRAME_HEADER);
			to += payloads ? len : FRAME_HEADER;
			at += FRAME_HEADER + len;
		}
	memcpy(to, from + at, n - at);
}

#endif
