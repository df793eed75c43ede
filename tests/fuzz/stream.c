// SPDX-License-Identifier: BSD-2-Clause
// Streams: no frame leaves the reader that breaks the rules of blx-stream(5), and what it takes
// whole, a writer can write and a reader take again. The input is a script as well as a stream:
// without its first byte being the magic's it is cut up into frames that get right checks, so that
// the rules behind the checks are reached too.
#include <string.h>

#include "bytes.h"
#include "frame.h"
#include "fuzz.h"

enum {
	ROOM = 1 << 19,
	SCRIPT_MAX = 1 << 16,
	FRAME_RAW_PACK = 15, // in a script: a PACK of this very payload
};

struct forge {
	uint8_t out[ROOM];
	size_t n;
	struct frame_digest *epoch, *total;
	struct stream_counts counts, sum;
};

static uint64_t put_frame(struct forge *g, struct frame_header h, const void *payload)
{
	uint8_t *to = g->out + g->n;

	if (g->n + FRAME_HEADER + h.payload_len > ROOM)
		return 0;
	if (h.payload_len)
		memmove(to + FRAME_HEADER, payload, h.payload_len);
	frame_put(to, &h);
	h.check = frame_check(to, to + FRAME_HEADER, h.payload_len);
	frame_put(to, &h);
	g->n += FRAME_HEADER + h.payload_len;
	return h.check;
}

static void put_counts(struct forge *g, struct frame_header h)
{
	bool commit = h.type == FRAME_COMMIT;
	struct stream_counts *c = commit ? &g->counts : &g->sum;
	uint8_t payload[FRAME_COUNTS];

	c->digest = frame_digest_value(commit ? g->epoch : g->total);
	frame_put_counts(payload, c);
	h.payload_len = FRAME_COUNTS;
	h.offset = 0;
	uint64_t check = put_frame(g, h, payload);
	if (!commit)
		return;
	frame_digest_add(g->total, check);
	g->sum.frames += c->frames;
	g->sum.data += c->data;
	g->sum.zero += c->zero;
}

static void put_extent(struct forge *g, struct frame_header h, const void *payload)
{
	if (h.type == FRAME_DATA)
		h.length = h.payload_len;
	frame_digest_add(g->epoch, put_frame(g, h, payload));
	g->counts.frames++;
	g->counts.data += h.type == FRAME_DATA ? h.length : 0;
	g->counts.zero += h.type == FRAME_ZERO ? h.length : 0;
}

static void script(struct forge *g, const uint8_t *in, size_t n, bool inside);

// The headers of the N bytes of frames at FROM, then their payloads.
static void gather(uint8_t *to, const uint8_t *from, size_t n)
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

// A PACK of a frame of zstd with one raw block: the frames that the payload, a script too, makes.
static void put_pack(struct forge *g, struct frame_header h, const uint8_t *payload)
{
	static const uint8_t zstd_start[] = {0x28, 0xb5, 0x2f, 0xfd,
					     0xa0}; // one segment, size in 4 bytes
	static uint8_t content[ROOM];
	size_t from = g->n;

	script(g, payload, h.payload_len, true);
	size_t n = g->n - from;
	if (n < FRAME_HEADER || n > 128 * 1024 || from + FRAME_HEADER + 12 + n > ROOM)
		return;
	memcpy(content, zstd_start, sizeof(zstd_start));
	put_le32(content + 5, (uint32_t)n);
	put_le32(content + 9, (uint32_t)n << 3 | 1);
	gather(content + 12, g->out + from, n);
	h.offset = get_le64(content + 12 + 8);
	h.length = n;
	h.payload_len = (uint32_t)n + 12;
	g->n = from;
	put_frame(g, h, content);
}

static void put_any(struct forge *g, struct frame_header h, const uint8_t *payload, bool inside)
{
	if (h.type == FRAME_HEAD && !inside) {
		g->counts = (struct stream_counts){0};
		frame_digest_reset(g->epoch);
		frame_digest_add(g->epoch, put_frame(g, h, payload));
	} else if ((h.type == FRAME_COMMIT || h.type == FRAME_END) && !inside) {
		put_counts(g, h);
	} else if (h.type == FRAME_DATA || h.type == FRAME_ZERO || h.type == FRAME_BAD) {
		put_extent(g, h, payload);
	} else if (h.type == FRAME_PACK && !inside) {
		put_pack(g, h, payload);
	} else {
		h.type = h.type == FRAME_RAW_PACK ? FRAME_PACK : h.type;
		put_frame(g, h, payload);
	}
}

// Frames with short headers of 8 bytes; checks, counts and digests are made right.
static void script(struct forge *g, const uint8_t *in, size_t n, bool inside)
{
	while (n >= 8) {
		struct frame_header h = {
			.type = in[0] & 15,
			.flags = (uint16_t)((in[1] & 0x80) << 8 | (in[1] & 1)),
			.offset = get_le16(in + 2),
			.length = get_le16(in + 4),
			.payload_len = get_le16(in + 6),
		};
		in += 8;
		n -= 8;
		if (h.payload_len > n)
			h.payload_len = (uint32_t)n;
		put_any(g, h, in, inside);
		in += h.payload_len;
		n -= h.payload_len;
	}
}

static const struct forge *forge(const uint8_t *in, size_t n)
{
	static struct forge *g;

	if (!g) {
		g = calloc(1, sizeof(*g));
		g->epoch = frame_digest_new();
		g->total = frame_digest_new();
	}
	frame_digest_reset(g->epoch);
	frame_digest_reset(g->total);
	g->counts = g->sum = (struct stream_counts){0};
	memcpy(g->out, STREAM_MAGIC, 8);
	g->n = 8;
	script(g, in, n < SCRIPT_MAX ? n : SCRIPT_MAX, false);
	return g;
}

static void check_frame(const struct frame *fr, const struct head *h, uint64_t *end)
{
	fuzz_check(fr->type >= FRAME_HEAD && fr->type <= FRAME_BAD && fr->type != FRAME_PACK);
	if (fr->type == FRAME_HEAD)
		*end = 0;
	fuzz_check(fr->type != FRAME_BAD || !fr->packed);
	if (fr->type != FRAME_DATA && fr->type != FRAME_ZERO && fr->type != FRAME_BAD)
		return;
	fuzz_check(h && fr->length && fr->offset >= *end && fr->offset + fr->length > fr->offset);
	fuzz_check(fr->offset + fr->length <= h->limit && h->limit <= h->size);
	fuzz_check(fr->payload_len == (fr->type == FRAME_DATA ? fr->length : 0));
	*end = fr->offset + fr->length;
}

// Read FD to the end, stream after stream, and write every frame to OUT (-1: nowhere). 0 or -1.
static int pass(int fd, int out)
{
	struct stream_reader *r = stream_reader_new(fd);
	struct stream_writer *w = stream_writer_new(out);
	struct frame fr;
	struct fault f;
	uint64_t end = 0;
	int n;

	fuzz_check(r && w);
	do {
		stream_writer_next(w); // but for the first
		while ((n = stream_read(r, &fr, &f)) > 0) {
			check_frame(&fr, stream_reader_head(r), &end);
			fuzz_check(out < 0 ||
				   stream_write_frame(w, &fr, stream_reader_head(r)) == 0);
		}
	} while (!n && (n = stream_reader_next(r, &f)) > 0);
	fuzz_check(n == 0 || (f.code >= BLX_DIFFERS && f.code <= BLX_BUSY && f.text[0]));
	stream_reader_free(r);
	stream_writer_free(w);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int out = -1;
	bool forged = size && data[0] != STREAM_MAGIC[0];
	const struct forge *g = forged ? forge(data, size) : NULL;
	int fd = forged ? fuzz_fd(g->out, g->n) : fuzz_fd(data, size);

	if (out < 0)
		out = memfd_create("out", MFD_CLOEXEC);
	fuzz_check(out >= 0 && ftruncate(out, 0) == 0);
	fuzz_rewind(out);
	if (pass(fd, out) == 0) {
		fuzz_rewind(out);
		fuzz_check(pass(out, -1) == 0);
	}
	return 0;
}
