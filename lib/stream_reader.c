// SPDX-License-Identifier: BSD-2-Clause
// The stream's reader: bytes come in through one buffer, a frame is looked at only when all of it
// is there and its check agrees, and nothing is handed out that breaks a rule of blx-stream(5).
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frame.h"
#include "io.h"
#include "zpack.h"

enum { BUFFER = FRAME_HEADER + FRAME_PACKED_MAX + 65536, MAGIC = 8 };

enum state {
	START,   // nothing read yet
	OUTSIDE, // of an epoch
	INSIDE,
	ENDED,
	FAILED, // .failure says why
};

struct stream_reader {
	int fd, out, timeout_ms; // out, timeout_ms: -1 if none
	enum state state;
	bool show_packs;
	struct fault failure;

	uint8_t *buf;
	size_t room, at, end; // buf[at..end) was read and not used yet
	bool eof;
	uint64_t position; // of buf[at] in the stream

	struct head head;
	uint64_t epochs;
	uint64_t frame_end; // where the frame before ended: the next one begins there or later
	struct stream_counts epoch, total;
	struct frame_digest *epoch_digest, *total_digest;

	struct zpack_opener *opener;
	uint8_t *pack; // opened content, FRAME_PACK_MAX
	size_t pack_at, pack_heads,
		pack_payload;                // of the next header; behind the last; next payload
	uint64_t pack_position, pack_offset; // the PACK's; the latter as it says
};

struct stream_reader *stream_reader_new(int fd)
{
	struct stream_reader *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->fd = fd;
	r->out = r->timeout_ms = -1;
	r->room = BUFFER;
	r->buf = malloc(r->room);
	r->epoch_digest = frame_digest_new();
	r->total_digest = frame_digest_new();
	r->opener = zpack_opener_new();
	r->pack = malloc(FRAME_PACK_MAX);
	if (!r->buf || !r->epoch_digest || !r->total_digest || !r->opener || !r->pack) {
		stream_reader_free(r);
		errno = ENOMEM;
		return NULL;
	}
	return r;
}

void stream_reader_free(struct stream_reader *r)
{
	if (!r)
		return;
	head_free(&r->head);
	zpack_opener_free(r->opener);
	frame_digest_free(r->epoch_digest);
	frame_digest_free(r->total_digest);
	free(r->pack);
	free(r->buf);
	free(r);
}

void stream_reader_watch(struct stream_reader *r, int out, int timeout_ms)
{
	r->out = out;
	r->timeout_ms = timeout_ms;
}

void stream_reader_show_packs(struct stream_reader *r)
{
	r->show_packs = true;
}

const struct head *stream_reader_head(const struct stream_reader *r)
{
	return r->epochs ? &r->head : NULL;
}

uint64_t stream_reader_position(const struct stream_reader *r)
{
	return r->position;
}

// ---- input

static int bad(uint64_t position, struct fault *f, const char *what)
{
	return fault_set(f, BLX_CORRUPT, "at byte %llu: %s", (unsigned long long)position, what);
}

static int wait_input(struct stream_reader *r, struct fault *f)
{
	if (r->out < 0 && r->timeout_ms < 0)
		return 0;
	int n = io_wait_input(r->fd, r->out, r->timeout_ms);
	if (n < 0)
		return fault_errno(f, errno == EPIPE ? "standard output" : "wait for input");
	if (n == 0)
		return fault_set(f, BLX_SYSTEM, "at byte %llu: no input for %d s",
				 (unsigned long long)(r->position + r->end - r->at),
				 r->timeout_ms / 1000);
	return 0;
}

// Have N bytes at buf[at] (N was checked against a bound). 1; 0: input ended before; -1.
static int need(struct stream_reader *r, size_t n, struct fault *f)
{
	if (r->end - r->at >= n)
		return 1;
	memmove(r->buf, r->buf + r->at, r->end - r->at);
	r->end -= r->at;
	r->at = 0;
	if (n > r->room) {
		uint8_t *more = realloc(r->buf, n);
		if (!more)
			return fault_errno(f, "buffer");
		r->buf = more;
		r->room = n;
	}
	while (r->end < n && !r->eof) {
		if (wait_input(r, f))
			return -1;
		ssize_t got = read(r->fd, r->buf + r->end, r->room - r->end);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fault_errno(f, "read at %llu",
					   (unsigned long long)(r->position + r->end));
		r->end += (size_t)got;
		r->eof = !got;
	}
	return r->end >= n;
}

static void use(struct stream_reader *r, size_t n)
{
	r->at += n;
	r->position += n;
}

static int cut(const struct stream_reader *r, struct fault *f)
{
	return fault_set(f, BLX_CORRUPT, "cut at byte %llu: the stream has no END",
			 (unsigned long long)(r->position + r->end - r->at));
}

static int read_magic(struct stream_reader *r, struct fault *f)
{
	int n = need(r, MAGIC, f);
	size_t left = r->end - r->at, have = left < MAGIC ? left : MAGIC;
	const uint8_t *b = r->buf + r->at;

	if (n < 0)
		return -1;
	if (!have)
		return fault_set(f, BLX_CORRUPT, "empty input, not a stream");
	if (r->position && memcmp(b, STREAM_MAGIC, have))
		return bad(r->position, f, "bytes follow after END");
	if (!memcmp(b, "# blx-ex", have))
		return bad(0, f, "not a stream but an extent list (is a blxread missing?)");
	if (memcmp(b, STREAM_MAGIC, have))
		return bad(0, f, "not a blx stream");
	if (!n)
		return cut(r, f);
	use(r, MAGIC);
	r->state = OUTSIDE;
	return 0;
}

// ---- rules for one frame. They return what is wrong with it, or NULL.

static const char *check_range(const struct stream_reader *r, const struct frame_header *h)
{
	uint64_t end;

	if (r->state != INSIDE)
		return "data outside of an epoch";
	if (__builtin_add_overflow(h->offset, h->length, &end) || end > r->head.size)
		return "beyond the device";
	if (end > r->head.limit)
		return "beyond the list's limit";
	if (h->offset < r->frame_end)
		return "out of order";
	return NULL;
}

static const char *check_counts(const struct stream_counts *want, struct frame *fr)
{
	frame_get_counts(fr->payload, &fr->counts);
	if (fr->counts.frames != want->frames)
		return "the number of frames does not agree";
	if (fr->counts.data != want->data || fr->counts.zero != want->zero)
		return "the number of bytes does not agree";
	if (fr->counts.digest != want->digest)
		return "the digest does not agree";
	return NULL;
}

// DATA, ZERO or BAD.
static const char *take_extent(struct stream_reader *r, const struct frame_header *h)
{
	const char *wrong = check_range(r, h);

	if (wrong)
		return wrong;
	r->frame_end = h->offset + h->length;
	frame_count(&r->epoch, (enum frame_type)h->type, h->length);
	frame_digest_add(r->epoch_digest, h->check);
	return NULL;
}

static const char *take_head(struct stream_reader *r, const struct frame_header *h,
			     const struct frame *fr, struct fault *why)
{
	struct head head;

	if (r->state == INSIDE)
		return "HEAD inside of an epoch";
	if (h->offset)
		return "reserved field is set";
	head_init(&head);
	if (head_parse(&head, (const char *)fr->payload, fr->payload_len, why)) {
		head_free(&head);
		return why->text;
	}
	head_free(&r->head);
	r->head = head;
	r->epochs++;
	if (h->length != r->head.size)
		return "frame and header disagree about the size";
	r->state = INSIDE;
	r->frame_end = 0;
	r->epoch = (struct stream_counts){0};
	frame_digest_reset(r->epoch_digest);
	frame_digest_add(r->epoch_digest, h->check);
	return NULL;
}

static const char *take_commit(struct stream_reader *r, const struct frame_header *h,
			       struct frame *fr)
{
	if (r->state != INSIDE)
		return "COMMIT outside of an epoch";
	if (h->offset)
		return "reserved field is set";
	if (h->length != r->head.limit)
		return "COMMIT and header disagree about the limit";
	r->epoch.digest = frame_digest_value(r->epoch_digest);
	const char *wrong = check_counts(&r->epoch, fr);
	if (wrong)
		return wrong;
	r->total.frames += r->epoch.frames;
	r->total.data += r->epoch.data;
	r->total.zero += r->epoch.zero;
	frame_digest_add(r->total_digest, h->check);
	r->state = OUTSIDE;
	return NULL;
}

static const char *take_end(struct stream_reader *r, const struct frame_header *h, struct frame *fr)
{
	if (r->state != OUTSIDE)
		return "END inside of an epoch";
	if (!r->epochs)
		return "END before any epoch";
	if (h->offset || h->length)
		return "reserved field is set";
	r->total.digest = frame_digest_value(r->total_digest);
	const char *wrong = check_counts(&r->total, fr);
	if (!wrong)
		r->state = ENDED;
	return wrong;
}

static const char *take_abort(struct stream_reader *r, const struct frame_header *h,
			      const struct frame *fr)
{
	if (h->offset < 1 || h->offset > 7)
		return "ABORT with an unknown code";
	if (h->length)
		return "reserved field is set";
	for (size_t i = 0; i < fr->payload_len; i++)
		if (fr->payload[i] < ' ' || fr->payload[i] == 0x7f)
			return "ABORT with control characters";
	r->state = FAILED;
	fault_set(&r->failure, (enum blx_exit)h->offset, "the sender failed: %.*s",
		  (int)fr->payload_len, (const char *)fr->payload);
	return NULL;
}

// The headers end where what they announce fills the N bytes of the pack.
static const char *find_payloads(struct stream_reader *r, size_t n)
{
	size_t heads = 0, all = 0;
	struct frame_header h;

	while (all < n) {
		if (n - all < FRAME_HEADER)
			return "in this PACK: a frame is cut";
		frame_get(r->pack + heads, &h);
		const char *wrong = h.type != FRAME_DATA && h.type != FRAME_ZERO
					    ? "in this PACK: neither DATA nor ZERO"
					    : frame_lengths(&h);
		if (wrong)
			return wrong;
		if (h.payload_len > n - all - FRAME_HEADER)
			return "in this PACK: a frame is cut";
		heads += FRAME_HEADER;
		all += FRAME_HEADER + h.payload_len;
	}
	r->pack_heads = r->pack_payload = heads;
	return NULL;
}

static const char *open_pack(struct stream_reader *r, const struct frame_header *h,
			     const struct frame *fr)
{
	const char *why;

	if (r->state != INSIDE)
		return "PACK outside of an epoch";
	if (zpack_open(r->opener, fr->payload, fr->payload_len, r->pack, (size_t)h->length, &why))
		return why;
	r->pack_at = 0;
	r->pack_position = fr->position;
	r->pack_offset = h->offset;
	return find_payloads(r, (size_t)h->length);
}

// ---- frames

static void fill_frame(struct frame *fr, const struct frame_header *h, const uint8_t *payload,
		       uint64_t position)
{
	*fr = (struct frame){
		.type = (enum frame_type)h->type,
		.offset = h->offset,
		.length = h->length,
		.payload = payload,
		.payload_len = h->payload_len,
		.position = position,
	};
}

// The next frame of the opened pack.
static int read_packed(struct stream_reader *r, struct frame *fr, struct fault *f)
{
	const uint8_t *b = r->pack + r->pack_at, *payload = r->pack + r->pack_payload;
	const char *wrong = NULL;
	struct frame_header h;

	frame_get(b, &h);
	if (frame_check(b, payload, h.payload_len) != h.check)
		wrong = "the check of a frame does not agree";
	else if (!r->pack_at && h.offset != r->pack_offset)
		wrong = "the first frame begins elsewhere";
	else
		wrong = take_extent(r, &h);
	if (wrong)
		return fault_set(f, BLX_CORRUPT, "at byte %llu: in this PACK: %s",
				 (unsigned long long)r->pack_position, wrong);
	fill_frame(fr, &h, payload, r->pack_position);
	fr->packed = true;
	r->pack_at += FRAME_HEADER;
	r->pack_payload += h.payload_len;
	return 1;
}

static const char *take(struct stream_reader *r, const struct frame_header *h, struct frame *fr,
			struct fault *f)
{
	switch (h->type) {
	case FRAME_HEAD:
		return take_head(r, h, fr, f);
	case FRAME_DATA:
	case FRAME_ZERO:
	case FRAME_BAD:
		return take_extent(r, h);
	case FRAME_COMMIT:
		return take_commit(r, h, fr);
	case FRAME_END:
		return take_end(r, h, fr);
	case FRAME_ABORT:
		return take_abort(r, h, fr);
	case FRAME_PACK:
		return open_pack(r, h, fr);
	default:
		return NULL; // optional
	}
}

// One frame off the input. 1: in *fr; -1.
static int read_outer(struct stream_reader *r, struct frame *fr, struct fault *f)
{
	struct frame_header h;
	uint64_t position = r->position;
	struct fault why;
	int n = need(r, FRAME_HEADER, f);

	if (n <= 0)
		return n < 0 ? -1 : cut(r, f);
	frame_get(r->buf + r->at, &h);
	const char *wrong = frame_lengths(&h);
	if (wrong)
		return bad(position, f, wrong);
	n = need(r, FRAME_HEADER + (size_t)h.payload_len, f);
	if (n <= 0)
		return n < 0 ? -1 : cut(r, f);
	const uint8_t *b = r->buf + r->at;
	if (frame_check(b, b + FRAME_HEADER, h.payload_len) != h.check)
		return bad(position, f, "the check does not agree");
	fill_frame(fr, &h, b + FRAME_HEADER, position);
	wrong = take(r, &h, fr, &why);
	if (wrong)
		return bad(position, f, wrong);
	use(r, FRAME_HEADER + (size_t)h.payload_len);
	return 1;
}

static int read_frame(struct stream_reader *r, struct frame *fr, struct fault *f)
{
	if (r->state == START && read_magic(r, f))
		return -1;
	for (;;) {
		if (r->pack_at < r->pack_heads)
			return read_packed(r, fr, f);
		if (read_outer(r, fr, f) < 0)
			return -1;
		if (fr->type == FRAME_PACK ? r->show_packs
					   : fr->type >= FRAME_HEAD && fr->type <= FRAME_BAD)
			return 1;
	}
}

int stream_read(struct stream_reader *r, struct frame *fr, struct fault *f)
{
	if (r->state == ENDED)
		return 0;
	if (r->state != FAILED) {
		if (read_frame(r, fr, &r->failure) > 0)
			return 1;
		r->state = FAILED;
	}
	*f = r->failure;
	return -1;
}

int stream_reader_at_eof(struct stream_reader *r)
{
	struct fault f;
	struct stat st;

	if (r->end == r->at && !r->eof && !fstat(r->fd, &st) && S_ISREG(st.st_mode))
		need(r, 1, &f); // an unreadable rest is no rest
	return r->end == r->at;
}

int stream_reader_next(struct stream_reader *r, struct fault *f)
{
	int got = need(r, 1, f);

	if (got <= 0)
		return got;
	r->state = START;
	r->epochs = 0;
	r->total = (struct stream_counts){0};
	frame_digest_reset(r->total_digest);
	return 1;
}
