// SPDX-License-Identifier: BSD-2-Clause
// Streams with right checks, counts and digests, whatever stands in them: what is behind the checks
// is reached.
#ifndef BLX_FORGE_H
#define BLX_FORGE_H

#include <string.h>

#include "bytes.h"
#include "frame.h"
#include "fuzz.h"

enum { FORGE_ROOM = 1 << 19, FORGE_PACK_MAX = 128 * 1024 };

struct forge {
	uint8_t out[FORGE_ROOM];
	size_t n;
	struct frame_digest *epoch, *total;
	struct stream_counts counts, sum;
};

static inline void forge_begin(struct forge *g)
{
	frame_digest_reset(g->epoch);
	frame_digest_reset(g->total);
	g->counts = g->sum = (struct stream_counts){0};
	if (g->n + 8 > FORGE_ROOM)
		return;
	memcpy(g->out + g->n, STREAM_MAGIC, 8);
	g->n += 8;
}

// The one there is, with a stream that begins.
static inline struct forge *forge_get(void)
{
	static struct forge *g;

	if (!g) {
		g = calloc(1, sizeof(*g));
		fuzz_check(g && (g->epoch = frame_digest_new()) && (g->total = frame_digest_new()));
	}
	g->n = 0;
	forge_begin(g);
	return g;
}

// As it is, with its check, which is returned.
static inline uint64_t forge_frame(struct forge *g, struct frame_header h, const void *payload)
{
	uint8_t *to = g->out + g->n;

	if (g->n + FRAME_HEADER + h.payload_len > FORGE_ROOM)
		return 0;
	if (payload && h.payload_len)
		memmove(to + FRAME_HEADER, payload, h.payload_len);
	frame_put(to, &h);
	h.check = frame_check(to, to + FRAME_HEADER, h.payload_len);
	frame_put(to, &h);
	g->n += FRAME_HEADER + h.payload_len;
	return h.check;
}

static inline void forge_head(struct forge *g, struct frame_header h, const void *payload)
{
	g->counts = (struct stream_counts){0};
	frame_digest_reset(g->epoch);
	frame_digest_add(g->epoch, forge_frame(g, h, payload));
}

// DATA, ZERO or BAD.
static inline void forge_extent(struct forge *g, struct frame_header h, const void *payload)
{
	frame_digest_add(g->epoch, forge_frame(g, h, payload));
	frame_count(&g->counts, (enum frame_type)h.type, h.length);
}

// COMMIT or END.
static inline void forge_counts(struct forge *g, struct frame_header h)
{
	bool commit = h.type == FRAME_COMMIT;
	struct stream_counts *c = commit ? &g->counts : &g->sum;
	uint8_t payload[FRAME_COUNTS];

	c->digest = frame_digest_value(commit ? g->epoch : g->total);
	frame_put_counts(payload, c);
	h.payload_len = FRAME_COUNTS;
	h.offset = 0;
	uint64_t check = forge_frame(g, h, payload);
	if (!commit)
		return;
	frame_digest_add(g->total, check);
	g->sum.frames += c->frames;
	g->sum.data += c->data;
	g->sum.zero += c->zero;
}

// The headers of the N bytes of frames at FROM, then their payloads.
static inline void forge_gather(uint8_t *to, const uint8_t *from, size_t n)
{
	for (int payloads = 0; payloads < 2; payloads++)
		for (size_t at = 0; at < n;) {
			size_t len = get_le32(from + at + 4);
			memcpy(to, from + at + (payloads ? FRAME_HEADER : 0),
			       payloads ? len : FRAME_HEADER);
			to += payloads ? len : FRAME_HEADER;
			at += FRAME_HEADER + len;
		}
}

// The frames from byte FROM on become a PACK: a frame of zstd with one raw block.
static inline void forge_pack(struct forge *g, struct frame_header h, size_t from)
{
	static const uint8_t zstd_start[] = {0x28, 0xb5, 0x2f, 0xfd,
					     0xa0}; // one segment, size in 4 bytes
	static uint8_t content[FORGE_ROOM];
	size_t n = g->n - from;

	if (n < FRAME_HEADER || n > FORGE_PACK_MAX || from + FRAME_HEADER + 12 + n > FORGE_ROOM)
		return;
	memcpy(content, zstd_start, sizeof(zstd_start));
	put_le32(content + 5, (uint32_t)n);
	put_le32(content + 9, (uint32_t)n << 3 | 1);
	forge_gather(content + 12, g->out + from, n);
	h.type = FRAME_PACK;
	h.offset = get_le64(content + 12 + 8);
	h.length = n;
	h.payload_len = (uint32_t)n + 12;
	g->n = from;
	forge_frame(g, h, content);
}

#endif
