// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdlib.h>
// Compiled in: a state on the stack is nothing to share with a library of another version.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "bytes.h"
#include "frame.h"

enum { CHECK_AT = 24 };

struct frame_digest {
	XXH3_state_t *state;
};

void frame_get(const uint8_t b[FRAME_HEADER], struct frame_header *h)
{
	h->type = get_le16(b);
	h->flags = get_le16(b + 2);
	h->payload_len = get_le32(b + 4);
	h->offset = get_le64(b + 8);
	h->length = get_le64(b + 16);
	h->check = get_le64(b + CHECK_AT);
}

void frame_put(uint8_t b[FRAME_HEADER], const struct frame_header *h)
{
	put_le16(b, h->type);
	put_le16(b + 2, h->flags);
	put_le32(b + 4, h->payload_len);
	put_le64(b + 8, h->offset);
	put_le64(b + 16, h->length);
	put_le64(b + CHECK_AT, h->check);
}

uint64_t frame_check(const uint8_t b[FRAME_HEADER], const void *payload, size_t n)
{
	XXH3_state_t s;

	if (!n)
		return XXH3_64bits(b, CHECK_AT);
	XXH3_INITSTATE(&s);
	XXH3_64bits_reset(&s);
	XXH3_64bits_update(&s, b, CHECK_AT);
	XXH3_64bits_update(&s, payload, n);
	return XXH3_64bits_digest(&s);
}

void frame_count(struct stream_counts *c, enum frame_type type, uint64_t length)
{
	c->frames++;
	if (type == FRAME_DATA)
		c->data += length;
	else if (type == FRAME_ZERO)
		c->zero += length;
}

const char *frame_lengths(const struct frame_header *h)
{
	static const uint32_t max[FRAME_BAD + 1] = {
		[FRAME_HEAD] = HEAD_TEXT_MAX,  [FRAME_DATA] = FRAME_DATA_MAX,
		[FRAME_COMMIT] = FRAME_COUNTS, [FRAME_END] = FRAME_COUNTS,
		[FRAME_ABORT] = FRAME_WHY_MAX, [FRAME_PACK] = FRAME_PACKED_MAX,
	};
	bool known = h->type >= FRAME_HEAD && h->type <= FRAME_BAD;

	if (h->flags & ~(known ? 0 : FRAME_OPTIONAL))
		return "reserved flags are set";
	if (!known && !h->flags)
		return "unknown frame";
	if (h->payload_len > (known ? max[h->type] : FRAME_OPTIONAL_MAX))
		return "payload is too long";
	if (h->type == FRAME_DATA && (!h->payload_len || h->length != h->payload_len))
		return "DATA with a wrong length";
	if ((h->type == FRAME_ZERO || h->type == FRAME_BAD) && !h->length)
		return "ZERO or BAD with a wrong length";
	if (h->type == FRAME_PACK && (h->length <= FRAME_HEADER - 1 || h->length > FRAME_PACK_MAX))
		return "PACK with a wrong length";
	if ((h->type == FRAME_COMMIT || h->type == FRAME_END) && h->payload_len != FRAME_COUNTS)
		return "counts with a wrong length";
	return NULL;
}

void frame_get_counts(const uint8_t b[FRAME_COUNTS], struct stream_counts *c)
{
	c->frames = get_le64(b);
	c->data = get_le64(b + 8);
	c->zero = get_le64(b + 16);
	c->digest = get_le64(b + 24);
}

void frame_put_counts(uint8_t b[FRAME_COUNTS], const struct stream_counts *c)
{
	put_le64(b, c->frames);
	put_le64(b + 8, c->data);
	put_le64(b + 16, c->zero);
	put_le64(b + 24, c->digest);
}

struct frame_digest *frame_digest_new(void)
{
	struct frame_digest *d = malloc(sizeof(*d));

	if (d && !(d->state = XXH3_createState())) {
		free(d);
		d = NULL;
	}
	if (!d) {
		errno = ENOMEM;
		return NULL;
	}
	frame_digest_reset(d);
	return d;
}

void frame_digest_free(struct frame_digest *d)
{
	if (d)
		XXH3_freeState(d->state);
	free(d);
}

void frame_digest_reset(struct frame_digest *d)
{
	XXH3_64bits_reset(d->state);
}

void frame_digest_add(struct frame_digest *d, uint64_t check)
{
	uint8_t b[8];

	put_le64(b, check);
	XXH3_64bits_update(d->state, b, sizeof(b));
}

uint64_t frame_digest_value(const struct frame_digest *d)
{
	return XXH3_64bits_digest(d->state);
}
