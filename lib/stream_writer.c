// SPDX-License-Identifier: BSD-2-Clause
// The stream's writer: every call is checked against the grammar first, frames are gathered in a
// buffer or in packs, and all is out on the wire after COMMIT, END and ABORT.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"
#include "io.h"
#include "rate.h"
#include "zpack.h"

enum {
	BUFFER = 256 * 1024,
	SLICE = 64 * 1024, // written at once when there is a rate
	PACK_AIM = 1 << 20,
};

enum state {
	START,   // no magic yet
	OUTSIDE, // of an epoch
	INSIDE,
	ENDED,
	FAILED, // or aborted
};

struct stream_writer {
	int fd;
	enum state state;
	uint64_t position;
	struct rate rate;
	size_t used;
	uint8_t *buf;

	uint64_t limit, frame_end, epochs;
	struct stream_counts epoch, total;
	struct frame_digest *epoch_digest, *total_digest;

	struct zpack_pool *pool; // NULL: no packs
	struct zpack_job *job; // the pack that is being filled, or NULL: so far with payloads only
	uint8_t *heads;        // and the headers that shall stand before them
	size_t heads_n;
};

struct stream_writer *stream_writer_new(int fd)
{
	struct stream_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->fd = fd;
	w->buf = malloc(BUFFER);
	w->epoch_digest = frame_digest_new();
	w->total_digest = frame_digest_new();
	if (!w->buf || !w->epoch_digest || !w->total_digest) {
		stream_writer_free(w);
		errno = ENOMEM;
		return NULL;
	}
	return w;
}

void stream_writer_free(struct stream_writer *w)
{
	if (!w)
		return;
	zpack_pool_free(w->pool);
	free(w->heads);
	frame_digest_free(w->epoch_digest);
	frame_digest_free(w->total_digest);
	free(w->buf);
	free(w);
}

void stream_writer_rate(struct stream_writer *w, uint64_t bytes_per_second)
{
	rate_init(&w->rate, bytes_per_second);
}

uint64_t stream_writer_position(const struct stream_writer *w)
{
	return w->position;
}

static int invalid(void)
{
	errno = EINVAL;
	return -1;
}

// ---- output

static int out(struct stream_writer *w, const uint8_t *b, size_t n)
{
	while (n) {
		size_t slice = w->rate.per_second && n > SLICE ? SLICE : n;
		rate_spend(&w->rate, slice);
		if (io_write_full(w->fd, b, slice)) {
			w->state = FAILED;
			return -1;
		}
		b += slice;
		n -= slice;
	}
	return 0;
}

static int flush(struct stream_writer *w)
{
	size_t n = w->used;

	w->used = 0;
	return out(w, w->buf, n);
}

static int put(struct stream_writer *w, const void *b, size_t n)
{
	w->position += n;
	if (n > BUFFER - w->used && flush(w))
		return -1;
	if (n > BUFFER)
		return out(w, b, n);
	memcpy(w->buf + w->used, b, n);
	w->used += n;
	return 0;
}

// The header of a frame, its check included; the check.
static uint64_t make_header(uint8_t b[FRAME_HEADER], enum frame_type type, uint64_t offset,
			    uint64_t length, const void *payload, size_t n)
{
	struct frame_header h = {.type = (uint16_t)type,
				 .payload_len = (uint32_t)n,
				 .offset = offset,
				 .length = length};

	frame_put(b, &h);
	h.check = frame_check(b, payload, n);
	frame_put(b, &h);
	return h.check;
}

// A frame of its own, behind what is packed.
static int put_frame(struct stream_writer *w, enum frame_type type, uint64_t offset,
		     uint64_t length, const void *payload, size_t n, uint64_t *check)
{
	uint8_t b[FRAME_HEADER];

	*check = make_header(b, type, offset, length, payload, n);
	return put(w, b, sizeof(b)) || (n && put(w, payload, n)) ? -1 : 0;
}

static int put_magic(struct stream_writer *w)
{
	if (w->state != START)
		return 0;
	w->state = OUTSIDE;
	return put(w, STREAM_MAGIC, sizeof(STREAM_MAGIC) - 1);
}

// ---- packs

int stream_writer_pack(struct stream_writer *w, int level, int threads)
{
	if (w->state != START || w->pool)
		return invalid();
	w->heads = malloc(FRAME_PACK_MAX);
	w->pool = w->heads ? zpack_pool_new(level, threads, FRAME_PACK_MAX) : NULL;
	return w->pool ? 0 : -1;
}

// The frames of a pack, each with its own payload behind it.
static int put_unpacked(struct stream_writer *w, const struct zpack_job *j)
{
	struct frame_header h;
	size_t heads = 0;

	for (size_t all = 0; all < j->content_n; heads += FRAME_HEADER) {
		frame_get(j->content + heads, &h);
		all += FRAME_HEADER + h.payload_len;
	}
	const uint8_t *payload = j->content + heads;
	for (size_t at = 0; at < heads; at += FRAME_HEADER, payload += h.payload_len) {
		frame_get(j->content + at, &h);
		if (put(w, j->content + at, FRAME_HEADER) ||
		    (h.payload_len && put(w, payload, h.payload_len)))
			return -1;
	}
	return 0;
}

// What the threads have finished, all of it with WAIT. A content that zstd cannot shrink goes out
// as the frames it is.
static int put_packs(struct stream_writer *w, bool wait)
{
	struct zpack_job *j;
	struct frame_header first;
	uint64_t check;

	while ((j = zpack_take(w->pool, wait))) {
		if (j->error) {
			w->state = FAILED;
			errno = j->error;
			return -1;
		}
		frame_get(j->content, &first);
		if (j->packed_n ? put_frame(w, FRAME_PACK, first.offset, j->content_n, j->packed,
					    j->packed_n, &check)
				: put_unpacked(w, j))
			return -1;
		zpack_drop(w->pool);
	}
	return 0;
}

static void close_pack(struct stream_writer *w)
{
	struct zpack_job *j = w->job;

	if (!j)
		return;
	memmove(j->content + w->heads_n, j->content, j->content_n - w->heads_n);
	memcpy(j->content, w->heads, w->heads_n);
	zpack_give(w->pool);
	w->job = NULL;
	w->heads_n = 0;
}

// Whatever was collected goes out before a frame that is not packed.
static int finish_packs(struct stream_writer *w)
{
	if (!w->pool)
		return 0;
	close_pack(w);
	return put_packs(w, true);
}

// A job with room for N bytes more. Where one ends and the next begins follows from the frames
// alone, so that the output is the same whatever the number of threads.
static int room_in_pack(struct stream_writer *w, size_t n)
{
	if (w->job && w->job->content_n + n > (n > PACK_AIM ? FRAME_PACK_MAX : PACK_AIM))
		close_pack(w);
	if (w->job)
		return 0;
	if (put_packs(w, false))
		return -1;
	while (!(w->job = zpack_room(w->pool))) {
		// All are at work: wait for the oldest.
		if (!zpack_take(w->pool, true) || put_packs(w, false))
			return -1;
	}
	return 0;
}

// ---- DATA, ZERO and BAD

static int put_extent(struct stream_writer *w, enum frame_type type, uint64_t offset,
		      uint64_t length, const void *buf, size_t n)
{
	uint64_t end, check;

	if (w->state != INSIDE || !length || offset < w->frame_end ||
	    __builtin_add_overflow(offset, length, &end) || end > w->limit)
		return invalid();
	if (type == FRAME_BAD && finish_packs(w))
		return -1;
	if (w->pool && type != FRAME_BAD) {
		if (room_in_pack(w, FRAME_HEADER + n))
			return -1;
		check = make_header(w->heads + w->heads_n, type, offset, length, buf, n);
		if (n)
			memcpy(w->job->content + w->job->content_n - w->heads_n, buf, n);
		w->heads_n += FRAME_HEADER;
		w->job->content_n += FRAME_HEADER + n;
	} else if (put_frame(w, type, offset, length, buf, n, &check)) {
		return -1;
	}
	w->frame_end = end;
	frame_count(&w->epoch, type, length);
	frame_digest_add(w->epoch_digest, check);
	return 0;
}

int stream_write_data(struct stream_writer *w, uint64_t offset, const void *buf, size_t n)
{
	return n > FRAME_DATA_MAX ? invalid() : put_extent(w, FRAME_DATA, offset, n, buf, n);
}

int stream_write_zero(struct stream_writer *w, uint64_t offset, uint64_t length)
{
	return put_extent(w, FRAME_ZERO, offset, length, NULL, 0);
}

int stream_write_bad(struct stream_writer *w, uint64_t offset, uint64_t length)
{
	return put_extent(w, FRAME_BAD, offset, length, NULL, 0);
}

// ---- the others

static int write_head_text(struct stream_writer *w, const struct head *h, const void *text,
			   size_t n)
{
	uint64_t check;
	struct fault f;

	if ((w->state != START && w->state != OUTSIDE) || n > HEAD_TEXT_MAX || head_check(h, &f))
		return invalid();
	if (put_magic(w) || put_frame(w, FRAME_HEAD, 0, h->size, text, n, &check))
		return -1;
	w->state = INSIDE;
	w->limit = h->limit;
	w->frame_end = 0;
	w->epochs++;
	w->epoch = (struct stream_counts){0};
	frame_digest_reset(w->epoch_digest);
	frame_digest_add(w->epoch_digest, check);
	return 0;
}

int stream_write_head(struct stream_writer *w, const struct head *h)
{
	size_t n;
	char *text = head_format(h, &n);

	if (!text)
		return -1;
	int r = write_head_text(w, h, text, n);
	int keep = errno;
	free(text);
	errno = keep;
	return r;
}

static int put_counts(struct stream_writer *w, enum frame_type type, uint64_t length,
		      struct stream_counts *c, struct frame_digest *d, uint64_t *check)
{
	uint8_t payload[FRAME_COUNTS];

	c->digest = frame_digest_value(d);
	frame_put_counts(payload, c);
	return put_frame(w, type, 0, length, payload, sizeof(payload), check) || flush(w) ? -1 : 0;
}

int stream_write_commit(struct stream_writer *w)
{
	uint64_t check;

	if (w->state != INSIDE)
		return invalid();
	if (finish_packs(w) ||
	    put_counts(w, FRAME_COMMIT, w->limit, &w->epoch, w->epoch_digest, &check))
		return -1;
	w->total.frames += w->epoch.frames;
	w->total.data += w->epoch.data;
	w->total.zero += w->epoch.zero;
	frame_digest_add(w->total_digest, check);
	w->state = OUTSIDE;
	return 0;
}

int stream_write_end(struct stream_writer *w)
{
	uint64_t check;

	if (w->state != OUTSIDE || !w->epochs)
		return invalid();
	if (put_counts(w, FRAME_END, 0, &w->total, w->total_digest, &check))
		return -1;
	w->state = ENDED;
	return 0;
}

int stream_write_abort(struct stream_writer *w, enum blx_exit code, const char *why)
{
	char text[FRAME_WHY_MAX];
	size_t n = strnlen(why, sizeof(text));
	uint64_t check;

	if (w->state == ENDED || w->state == FAILED || code < BLX_DIFFERS || code > BLX_BUSY)
		return invalid();
	if (n == sizeof(text))
		while (n && (why[n] & 0xc0) == 0x80) // not in the middle of a character
			n--;
	for (size_t i = 0; i < n; i++)
		text[i] = (unsigned char)why[i] < ' ' || why[i] == 0x7f ? '?' : why[i];
	if (put_magic(w) || finish_packs(w) ||
	    put_frame(w, FRAME_ABORT, code, 0, text, n, &check) || flush(w))
		return -1;
	w->state = FAILED;
	return 0;
}

int stream_writer_next(struct stream_writer *w)
{
	if (w->state != ENDED)
		return invalid();
	w->state = START;
	w->epochs = 0;
	w->total = (struct stream_counts){0};
	frame_digest_reset(w->total_digest);
	return 0;
}

int stream_write_frame(struct stream_writer *w, const struct frame *fr, const struct head *h)
{
	char why[FRAME_WHY_MAX + 1];

	switch (fr->type) {
	case FRAME_HEAD:
		return write_head_text(w, h, fr->payload,
				       fr->payload_len); // with keys that we do not know
	case FRAME_DATA:
		return stream_write_data(w, fr->offset, fr->payload, fr->payload_len);
	case FRAME_ZERO:
		return stream_write_zero(w, fr->offset, fr->length);
	case FRAME_BAD:
		return stream_write_bad(w, fr->offset, fr->length);
	case FRAME_COMMIT:
		return stream_write_commit(w);
	case FRAME_END:
		return stream_write_end(w);
	case FRAME_ABORT:
		memcpy(why, fr->payload, fr->payload_len);
		why[fr->payload_len] = 0;
		return stream_write_abort(w, (enum blx_exit)fr->offset, why);
	default:
		return invalid();
	}
}
