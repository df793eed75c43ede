// SPDX-License-Identifier: BSD-2-Clause
// The block stream (blx-stream(5)): 8-byte magic, then frames. An epoch is HEAD, any number of
// DATA, ZERO and BAD ascending, COMMIT; a stream is one or more epochs, then END. ABORT may stand
// for any frame and ends the stream as failed. Streams may follow one another in one file or pipe.
#ifndef BLX_STREAM_H
#define BLX_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fault.h"
#include "head.h"

#define STREAM_MAGIC "BLXSTRM1"

enum {
	// type u16, flags u16, payload length u32, offset u64, length u64, check u64; little-endian
	FRAME_HEADER = 32,
	FRAME_DATA_MAX = 1 << 20,           // payload of one DATA frame
	FRAME_PACK_MAX = (1 << 20) + 65536, // uncompressed content of one PACK
	FRAME_WHY_MAX = 255,                // text of an ABORT
};

enum frame_type {
	FRAME_HEAD = 1, // length: device size; payload: the text form of lib/head.h
	FRAME_DATA = 2, // offset, length == payload length, 1 to FRAME_DATA_MAX
	FRAME_ZERO = 3, // offset, length >= 1; no payload
	FRAME_COMMIT =
		4,       // length: the list's limit (== size: whole); payload: struct stream_counts
	FRAME_END = 5,   // payload: totals; nothing follows
	FRAME_ABORT = 6, // offset: exit code (1 to 7); payload: why, UTF-8, no newline
	FRAME_PACK = 7,  // offset: its first frame's; length: unpacked; payload: zstd of DATA, ZERO
	FRAME_BAD = 8,   // offset, length >= 1: could not be read; no payload, never in a PACK
};

// Flag: a reader that does not know the type skips the frame. Other flag bits are 0.
enum { FRAME_OPTIONAL = 0x8000 };

// Counts of one epoch (COMMIT) or of the whole stream (END); 32 bytes of payload in this order.
struct stream_counts {
	uint64_t frames; // DATA, ZERO and BAD
	uint64_t data;   // bytes in DATA
	uint64_t zero;   // bytes in ZERO
	uint64_t digest; // XXH3-64 over the check fields (as stored) of the epoch's HEAD, DATA,
			 // ZERO and BAD frames in order; END: of the COMMIT frames
};

struct frame {
	enum frame_type type;
	uint64_t offset, length;
	const uint8_t *payload; // valid until the next read; HEAD, ABORT: text without a NUL
	size_t payload_len;
	uint64_t position; // of its header in the stream, bytes; inside a PACK: of the PACK's
	struct stream_counts counts; // COMMIT and END
	bool packed;                 // came out of a PACK
};

// ---- reading: one pull function. Memory: one frame and one opened pack (about 7 MiB at most, a
// HEAD of 4 MiB included), whatever the input says.

struct stream_reader;

struct stream_reader *stream_reader_new(int fd); // FD stays the caller's; NULL with errno
void stream_reader_free(struct stream_reader *r);
// Notice that OUT has no reader any more while waiting for input (-1: not watched), and give up
// with BLX_SYSTEM when nothing came for TIMEOUT_MS (-1: never).
void stream_reader_watch(struct stream_reader *r, int out, int timeout_ms);
// Yield PACK frames too, before what they hold (for blxls -v).
void stream_reader_show_packs(struct stream_reader *r);

// The next frame, fully verified: check, lengths, order, range against the device size, counts and
// digest at COMMIT and END, the grammar above. 1; 0 after END was returned; -1 with the fault
// (BLX_CORRUPT: "at byte N: ..."; an input that ends before END is "cut at byte N", an empty one
// "empty input"; BLX_SYSTEM: read error). ABORT is returned as a frame once; the call after it
// fails with the ABORT's code and words.
int stream_read(struct stream_reader *r, struct frame *fr, struct fault *f);

// The current epoch's header, from its HEAD frame until the next HEAD; NULL before the first.
const struct head *stream_reader_head(const struct stream_reader *r);
// Bytes of input consumed so far.
uint64_t stream_reader_position(const struct stream_reader *r);
// After END: 1 if input ended there, 0 if bytes follow (does not block on a pipe that stays open:
// only what was already read or a regular file is looked at).
int stream_reader_at_eof(struct stream_reader *r);
// After END: does another stream follow in the input? 1: stream_read() goes on with it (and says so
// if it is none); 0: input ended; -1 (errno EPIPE: nobody reads what is watched any more; a filter
// takes that for an end, as its reader has all that it wants). Waits to know.
int stream_reader_next(struct stream_reader *r, struct fault *f);

// ---- writing: cannot write an invalid stream; a call that would is -1 with errno EINVAL and
// writes nothing. Other failures: -1 with errno of write(2), after which only stream_writer_free()
// is allowed.

struct stream_writer;

struct stream_writer *stream_writer_new(int fd); // FD stays the caller's; NULL with errno
void stream_writer_free(struct stream_writer *w);
// From now on collect DATA and ZERO into PACKs of zstd LEVEL (1 to 19), compressed by THREADS
// threads (1 to 64). Before the first frame. 0, or -1 with errno.
int stream_writer_pack(struct stream_writer *w, int level, int threads);
// At most this many bytes a second (0: no limit).
void stream_writer_rate(struct stream_writer *w, uint64_t bytes_per_second);

int stream_write_head(struct stream_writer *w, const struct head *h);
int stream_write_data(struct stream_writer *w, uint64_t offset, const void *buf, size_t n);
int stream_write_zero(struct stream_writer *w, uint64_t offset, uint64_t length);
int stream_write_bad(struct stream_writer *w, uint64_t offset, uint64_t length);
int stream_write_commit(struct stream_writer *w); // flushes
int stream_write_end(struct stream_writer *w);    // flushes
// In any state but after END; what is buffered goes out first. Flushes.
int stream_write_abort(struct stream_writer *w, enum blx_exit code, const char *why);
// After END: the next frame is a HEAD that begins another stream. 0, or -1 with EINVAL.
int stream_writer_next(struct stream_writer *w);
// Pass a frame that a reader returned on (HEAD: with its parsed head).
int stream_write_frame(struct stream_writer *w, const struct frame *fr, const struct head *h);
// Bytes written so far (after packing).
uint64_t stream_writer_position(const struct stream_writer *w);

#endif
