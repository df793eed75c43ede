// SPDX-License-Identifier: BSD-2-Clause
// Streams: no frame leaves the reader that breaks the rules of blx-stream(5), and what it takes
// whole, a writer can write and a reader take again. The input is a script as well as a stream:
// without its first byte being the magic's it is cut up into frames that get right checks, so that
// the rules behind the checks are reached too.
#include <string.h>

#include "forge.h"

enum {
	SCRIPT_MAX = 1 << 16,
	FRAME_RAW_PACK = 15, // in a script: a PACK of this very payload
};

static void script(struct forge *g, const uint8_t *in, size_t n, bool inside);

// A PACK of the frames that the payload, a script too, makes.
static void put_pack(struct forge *g, struct frame_header h, const uint8_t *payload)
{
	size_t from = g->n;

	script(g, payload, h.payload_len, true);
	forge_pack(g, h, from);
}

static void put_any(struct forge *g, struct frame_header h, const uint8_t *payload, bool inside)
{
	if (h.type == FRAME_HEAD && !inside) {
		forge_head(g, h, payload);
	} else if ((h.type == FRAME_COMMIT || h.type == FRAME_END) && !inside) {
		forge_counts(g, h);
	} else if (h.type == FRAME_DATA || h.type == FRAME_ZERO || h.type == FRAME_BAD) {
		if (h.type == FRAME_DATA)
			h.length = h.payload_len;
		forge_extent(g, h, payload);
	} else if (h.type == FRAME_PACK && !inside) {
		put_pack(g, h, payload);
	} else {
		h.type = h.type == FRAME_RAW_PACK ? FRAME_PACK : h.type;
		forge_frame(g, h, payload);
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
	struct forge *g = forge_get();

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
