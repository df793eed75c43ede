// SPDX-License-Identifier: BSD-2-Clause
// What the reader and the writer of a stream share: the frame header's bytes, checks and digests.
// Nobody else needs it.
#ifndef BLX_FRAME_H
#define BLX_FRAME_H

#include "stream.h"

enum {
	FRAME_COUNTS = 32, // payload of COMMIT and END
	// Payload of a PACK: what zstd may need for noise.
	FRAME_PACKED_MAX = FRAME_PACK_MAX + FRAME_PACK_MAX / 256,
	FRAME_OPTIONAL_MAX = HEAD_TEXT_MAX, // payload of a frame that is skipped
};

struct frame_header {
	uint16_t type, flags;
	uint32_t payload_len;
	uint64_t offset, length, check;
};

// Header bytes to fields, and back; nothing is checked.
void frame_get(const uint8_t b[FRAME_HEADER], struct frame_header *h);
void frame_put(uint8_t b[FRAME_HEADER], const struct frame_header *h);

// XXH3-64 of the header up to its check, and the payload.
uint64_t frame_check(const uint8_t b[FRAME_HEADER], const void *payload, size_t n);

// By type alone, before the payload is read: what it may hold, and so what may be allocated. What
// is wrong with it, or NULL.
const char *frame_lengths(const struct frame_header *h);

// Count a frame of LENGTH: DATA, ZERO, or BAD, of which only the number is kept.
void frame_count(struct stream_counts *c, enum frame_type type, uint64_t length);
void frame_get_counts(const uint8_t b[FRAME_COUNTS], struct stream_counts *c);
void frame_put_counts(uint8_t b[FRAME_COUNTS], const struct stream_counts *c);

// XXH3-64 over the check fields, as stored, of one frame after another.
struct frame_digest;
struct frame_digest *frame_digest_new(void); // NULL with errno ENOMEM
void frame_digest_free(struct frame_digest *d);
void frame_digest_reset(struct frame_digest *d);
void frame_digest_add(struct frame_digest *d, uint64_t check);
uint64_t frame_digest_value(const struct frame_digest *d);

#endif
