// SPDX-License-Identifier: BSD-2-Clause
// lib/stream: the reader against forged frames, each with a right check, that break one rule of
// blx-stream(5) each.
#include "frame.h"
#include "reading.h"
#include "tap.h"
#include "zpack.h"

static const uint8_t blank[4096];

struct forge {
	uint8_t b[8192];
	size_t n;
	struct frame_digest *epoch, *total;
	struct stream_counts counts;
};

static void put(struct forge *g, const void *p, size_t n)
{
	if (g->n + n > sizeof(g->b))
		must(NULL);
	if (n)
		memcpy(g->b + g->n, p, n);
	g->n += n;
}

// A frame with a right check, whatever is in it; the check.
static uint64_t frame(struct forge *g, int type, int flags, uint64_t offset, uint64_t length,
		      const void *payload, size_t n)
{
	struct frame_header h = {(uint16_t)type, (uint16_t)flags, (uint32_t)n, offset, length, 0};
	uint8_t b[FRAME_HEADER];

	frame_put(b, &h);
	h.check = frame_check(b, payload, n);
	frame_put(b, &h);
	put(g, b, sizeof(b));
	put(g, payload, n);
	return h.check;
}

static const char anonymous[] = "# blx-extents 1\n# size: 65536\n";

static void forge_head(struct forge *g)
{
	frame_digest_reset(g->epoch);
	frame_digest_add(g->epoch,
			 frame(g, FRAME_HEAD, 0, 0, 65536, anonymous, sizeof(anonymous) - 1));
	g->counts = (struct stream_counts){0};
}

// Magic and HEAD.
static struct forge *forge(void)
{
	struct forge *g = must(calloc(1, sizeof(*g)));

	g->epoch = must(frame_digest_new());
	g->total = must(frame_digest_new());
	put(g, STREAM_MAGIC, 8);
	forge_head(g);
	return g;
}

static void extent(struct forge *g, int type, uint64_t offset, uint64_t length, const void *payload,
		   size_t n)
{
	frame_digest_add(g->epoch, frame(g, type, 0, offset, length, payload, n));
	g->counts.frames++;
	g->counts.data += type == FRAME_DATA ? length : 0;
	g->counts.zero += type == FRAME_ZERO ? length : 0;
}

static void counts(struct forge *g, int type, uint64_t length, const struct stream_counts *c)
{
	uint8_t b[FRAME_COUNTS];

	frame_put_counts(b, c);
	frame_digest_add(g->total, frame(g, type, 0, 0, length, b, sizeof(b)));
}

static void commit(struct forge *g)
{
	g->counts.digest = frame_digest_value(g->epoch);
	counts(g, FRAME_COMMIT, 65536, &g->counts);
}

static void end(struct forge *g)
{
	struct stream_counts c = g->counts;

	c.digest = frame_digest_value(g->total);
	counts(g, FRAME_END, 0, &c);
}

// What G holds is refused with code 4 and WORDS, or taken if WORDS is NULL. Frees G.
static void verdict(struct forge *g, const char *words, const char *what)
{
	struct fault f = {.text = ""};
	int n, code = read_bytes(g->b, g->n, &f, &n);

	ok(words ? code == BLX_CORRUPT && strstr(f.text, words) : code == 0, "%s: %s", what,
	   words ? f.text : "taken");
	frame_digest_free(g->epoch);
	frame_digest_free(g->total);
	free(g);
}

static void grammar(void)
{
	struct forge *g = forge();

	commit(g);
	end(g);
	verdict(g, NULL, "an empty epoch");
	g = forge();
	g->n = 8;
	end(g);
	verdict(g, "END before any epoch", "a stream of no epoch");
	g = forge();
	end(g);
	verdict(g, "END inside of an epoch", "END without COMMIT");
	g = forge();
	forge_head(g);
	verdict(g, "HEAD inside of an epoch", "HEAD without COMMIT");
	g = forge();
	commit(g);
	commit(g);
	verdict(g, "COMMIT outside of an epoch", "COMMIT twice");
	g = forge();
	commit(g);
	extent(g, FRAME_ZERO, 0, 1, NULL, 0);
	verdict(g, "data outside of an epoch", "ZERO after COMMIT");
	g = forge();
	g->n = 8;
	extent(g, FRAME_DATA, 0, 1, "x", 1);
	verdict(g, "data outside of an epoch", "DATA before HEAD");
	g = forge();
	commit(g);
	end(g);
	put(g, "x", 1);
	verdict(g, "bytes follow", "a byte after END");
	g = forge();
	commit(g);
	end(g);
	end(g);
	verdict(g, "bytes follow", "END twice");
}

static void extents(void)
{
	struct forge *g = forge();

	extent(g, FRAME_ZERO, 0, 65536, NULL, 0);
	commit(g);
	end(g);
	verdict(g, NULL, "the whole device");
	g = forge();
	extent(g, FRAME_ZERO, 0, 65537, NULL, 0);
	verdict(g, "beyond the device", "one byte more than the device");
	g = forge();
	extent(g, FRAME_ZERO, UINT64_MAX, 2, NULL, 0);
	verdict(g, "beyond the device", "offset and length overflow");
	g = forge();
	extent(g, FRAME_ZERO, 4096, 4096, NULL, 0);
	extent(g, FRAME_ZERO, 8191, 1, NULL, 0);
	verdict(g, "out of order", "an overlap");
	g = forge();
	extent(g, FRAME_DATA, 0, 2, "x", 1);
	verdict(g, "DATA with a wrong length", "DATA shorter than it says");
	g = forge();
	extent(g, FRAME_DATA, 0, 0, NULL, 0);
	verdict(g, "DATA with a wrong length", "empty DATA");
	g = forge();
	extent(g, FRAME_ZERO, 0, 0, NULL, 0);
	verdict(g, "ZERO or BAD with a wrong length", "empty ZERO");
	g = forge();
	extent(g, FRAME_ZERO, 0, 1, "x", 1);
	verdict(g, "payload is too long", "ZERO with a payload");
	g = forge();
	extent(g, FRAME_BAD, 0, 4096, NULL, 0);
	extent(g, FRAME_ZERO, 4096, 4096, NULL, 0);
	extent(g, FRAME_BAD, 61440, 4096, NULL, 0);
	commit(g);
	end(g);
	verdict(g, NULL, "BAD at the beginning and at the end");
	g = forge();
	extent(g, FRAME_BAD, 4096, 4096, NULL, 0);
	extent(g, FRAME_DATA, 8191, 1, "x", 1);
	verdict(g, "out of order", "an overlap with BAD");
	g = forge();
	extent(g, FRAME_BAD, 0, 0, NULL, 0);
	verdict(g, "ZERO or BAD with a wrong length", "empty BAD");
	g = forge();
	extent(g, FRAME_BAD, 0, 1, "x", 1);
	verdict(g, "payload is too long", "BAD with a payload");
}

static void wrong_counts(void)
{
	static const char *const words[] = {"number of frames", "number of bytes",
					    "number of bytes", "digest"};

	for (size_t i = 0; i < 4; i++) {
		struct forge *g = forge();
		extent(g, FRAME_DATA, 0, 1, "x", 1);
		extent(g, FRAME_ZERO, 1, 1, NULL, 0);
		g->counts.digest = frame_digest_value(g->epoch);
		uint64_t *field[] = {&g->counts.frames, &g->counts.data, &g->counts.zero,
				     &g->counts.digest};
		++*field[i];
		counts(g, FRAME_COMMIT, 65536, &g->counts);
		verdict(g, words[i], "COMMIT with a wrong count");
		g = forge();
		extent(g, FRAME_DATA, 0, 1, "x", 1);
		commit(g);
		struct stream_counts c = g->counts;
		c.digest = frame_digest_value(g->total);
		uint64_t *total[] = {&c.frames, &c.data, &c.zero, &c.digest};
		--*total[i];
		counts(g, FRAME_END, 0, &c);
		verdict(g, words[i], "END with a wrong count");
	}
	struct forge *g = forge();
	counts(g, FRAME_COMMIT, 4096, &g->counts);
	verdict(g, "disagree about the limit", "COMMIT with another limit");
}

// Frames that are good each but not these: a frame left out, doubled or taken from another epoch.
static void spliced(void)
{
	struct forge *g = forge();

	extent(g, FRAME_DATA, 0, 1, "x", 1);
	size_t from = g->n;
	extent(g, FRAME_DATA, 1, 1, "y", 1);
	g->n = from;
	extent(g, FRAME_DATA, 1, 1, "z", 1);
	g->counts.frames--;
	g->counts.data--;
	commit(g);
	verdict(g, "digest", "a frame changed for another of its size");
	g = forge();
	g->n = 8;
	frame(g, FRAME_HEAD, 0, 0, 65536, "# blx-extents 1\n# size: 65536\n# label: x\n", 41);
	commit(g);
	verdict(g, "digest", "a HEAD changed for another");
}

static void reserved(void)
{
	struct forge *g;

	for (int type = FRAME_HEAD; type <= FRAME_BAD; type++) {
		g = forge();
		size_t n = type != FRAME_ZERO && type != FRAME_BAD;
		frame(g, type, type % 2 ? FRAME_OPTIONAL : 1, 0, 1, "x", n);
		verdict(g, "reserved flags", "a known frame with flags");
	}
	g = forge();
	frame(g, 9, 0, 0, 0, NULL, 0);
	verdict(g, "unknown frame", "a frame of type 9");
	g = forge();
	frame(g, 0, 0, 0, 0, NULL, 0);
	verdict(g, "unknown frame", "a frame of type 0");
	g = forge();
	frame(g, 9, FRAME_OPTIONAL | 1, 0, 0, NULL, 0);
	verdict(g, "reserved flags", "an optional frame with more flags");
	g = forge();
	g->n = 8;
	frame(g, FRAME_HEAD, 0, 1, 65536, anonymous, sizeof(anonymous) - 1);
	verdict(g, "reserved field", "HEAD with an offset");
	g = forge();
	g->n = 8;
	frame(g, FRAME_HEAD, 0, 0, 65535, anonymous, sizeof(anonymous) - 1);
	verdict(g, "disagree about the size", "HEAD with another size");
	g = forge();
	g->n = 8;
	frame(g, FRAME_HEAD, 0, 0, 65536, "# size: 65536\n", 14);
	verdict(g, "not an extent list", "HEAD with half of a header");
	g = forge();
	frame(g, FRAME_COMMIT, 0, 1, 65536, blank, 32);
	verdict(g, "reserved field", "COMMIT with an offset");
	g = forge();
	commit(g);
	frame(g, FRAME_END, 0, 0, 1, blank, 32);
	verdict(g, "reserved field", "END with a length");
	g = forge();
	frame(g, FRAME_COMMIT, 0, 0, 65536, blank, 31);
	verdict(g, "counts with a wrong length", "COMMIT of 31 bytes");
}

// A header that says how much is to come; not a byte of it is there, and nothing was allocated for
// it.
static void oversized(void)
{
	static const uint32_t max[FRAME_BAD + 2] = {[FRAME_HEAD] = HEAD_TEXT_MAX,
						    [FRAME_DATA] = FRAME_DATA_MAX,
						    [FRAME_COMMIT] = 32,
						    [FRAME_END] = 32,
						    [FRAME_ABORT] = FRAME_WHY_MAX,
						    [FRAME_PACK] = FRAME_PACKED_MAX,
						    [FRAME_BAD + 1] = FRAME_OPTIONAL_MAX};

	for (int type = FRAME_HEAD; type <= FRAME_BAD + 1; type++) {
		struct forge *g = forge();
		struct frame_header h = {(uint16_t)type, type > FRAME_BAD ? FRAME_OPTIONAL : 0,
					 max[type] + 1,  0,
					 max[type] + 1,  0};
		uint8_t b[FRAME_HEADER];
		frame_put(b, &h);
		put(g, b, sizeof(b));
		verdict(g, "payload is too long", "a payload beyond the bound of its type");
	}
}

// ---- ABORT

static void aborts(void)
{
	struct forge *g = forge();
	struct stream_reader *r;
	struct frame fr;
	struct fault f = {.text = ""};

	frame(g, FRAME_ABORT, 0, 5, 0, "wrong disk", 10);
	int fd = fd_of(g->b, g->n);
	r = must(stream_reader_new(fd));
	int head = stream_read(r, &fr, &f);
	ok(head == 1 && stream_read(r, &fr, &f) == 1 && fr.type == FRAME_ABORT && fr.offset == 5,
	   "ABORT is returned once");
	for (int i = 0; i < 2; i++)
		ok(stream_read(r, &fr, &f) == -1 && f.code == BLX_TARGET &&
			   strstr(f.text, "wrong disk"),
		   "and is the end, with its code and words");
	stream_reader_free(r);
	close(fd);
	g->n = 8;
	frame(g, FRAME_ABORT, 0, 0, 0, "x", 1);
	verdict(g, "unknown code", "ABORT with code 0");
	g = forge();
	frame(g, FRAME_ABORT, 0, 8, 0, "x", 1);
	verdict(g, "unknown code", "ABORT with code 8");
	g = forge();
	frame(g, FRAME_ABORT, 0, 3, 0, "a\nb", 3);
	verdict(g, "control characters", "ABORT of two lines");
	g = forge();
	frame(g, FRAME_ABORT, 0, 3, 1, "x", 1);
	verdict(g, "reserved field", "ABORT with a length");
}

// ---- PACK

// A PACK frame around the content of INNER, said to begin at OFFSET and to be LENGTH long (0: as it
// is).
static void pack(struct forge *g, const struct forge *inner, uint64_t offset, uint64_t length)
{
	struct zpack_pool *p = must(zpack_pool_new(1, 1, 8192));
	struct zpack_job *j = zpack_room(p);

	gather(j->content, inner->b, inner->n);
	memset(j->content + inner->n, 0, 8192 - inner->n);
	j->content_n = inner->n;
	zpack_give(p);
	j = zpack_take(p, 1);
	if (!j->packed_n)
		must(NULL); // the contents here shrink
	frame(g, FRAME_PACK, 0, offset, length ? length : inner->n, j->packed, j->packed_n);
	zpack_pool_free(p);
}

// Pack what MAKE puts into an empty forge, and see what the reader says.
static void pack_verdict(void (*make)(struct forge *), uint64_t offset, uint64_t length,
			 const char *words, const char *what)
{
	struct forge *g = forge(), *inner = forge();

	inner->n = 0;
	make(inner);
	for (size_t at = 0;
	     at + FRAME_HEADER <= inner->n;) { // the digest is that of what is inside
		struct frame_header h;
		frame_get(inner->b + at, &h);
		frame_digest_add(g->epoch, h.check);
		at += FRAME_HEADER + h.payload_len;
	}
	g->counts = inner->counts;
	pack(g, inner, offset, length);
	commit(g);
	end(g);
	verdict(g, words, what);
	frame_digest_free(inner->epoch);
	frame_digest_free(inner->total);
	free(inner);
}

static void good_inside(struct forge *g)
{
	extent(g, FRAME_DATA, 4096, 4096, blank, 4096);
	extent(g, FRAME_ZERO, 8192, 1, NULL, 0);
}

static void head_inside(struct forge *g)
{
	good_inside(g);
	frame(g, FRAME_HEAD, 0, 0, 65536, anonymous, sizeof(anonymous) - 1);
}

static void pack_inside(struct forge *g)
{
	good_inside(g);
	frame(g, FRAME_PACK, 0, 0, 4096, blank, 32);
}

static void bad_inside(struct forge *g)
{
	good_inside(g);
	extent(g, FRAME_BAD, 12288, 4096, NULL, 0);
}

static void optional_inside(struct forge *g)
{
	good_inside(g);
	frame(g, 99, FRAME_OPTIONAL, 0, 0, NULL, 0);
}

static void rest_inside(struct forge *g)
{
	good_inside(g);
	put(g, blank, 31);
}

static void cut_inside(struct forge *g)
{
	good_inside(g);
	extent(g, FRAME_DATA, 16384, 100, blank, 100);
	g->n--;
}

static void bad_check_inside(struct forge *g)
{
	good_inside(g);
	g->b[FRAME_HEADER] ^= 1;
}

static void disorder_inside(struct forge *g)
{
	good_inside(g);
	extent(g, FRAME_ZERO, 0, 1, NULL, 0);
}

static void far_inside(struct forge *g)
{
	good_inside(g);
	extent(g, FRAME_ZERO, 65536, 1, NULL, 0);
}

static void packs(void)
{
	pack_verdict(good_inside, 4096, 0, NULL, "a good pack");
	pack_verdict(good_inside, 0, 0, "the first frame begins elsewhere",
		     "a pack with another offset");
	pack_verdict(good_inside, 4096, 4161, "says another length", "a pack shorter than it says");
	pack_verdict(good_inside, 4096, 4159, "says another length", "a pack longer than it says");
	pack_verdict(good_inside, 4096, 31, "PACK with a wrong length",
		     "a pack too short for a frame");
	pack_verdict(good_inside, 4096, FRAME_PACK_MAX + 1, "PACK with a wrong length",
		     "a pack too large");
	pack_verdict(head_inside, 4096, 0, "neither DATA nor ZERO", "HEAD in a pack");
	pack_verdict(pack_inside, 4096, 0, "neither DATA nor ZERO", "PACK in a pack");
	pack_verdict(optional_inside, 4096, 0, "neither DATA nor ZERO",
		     "an optional frame in a pack");
	pack_verdict(bad_inside, 4096, 0, "neither DATA nor ZERO", "BAD in a pack");
	pack_verdict(rest_inside, 4096, 0, "a frame is cut", "a rest in a pack");
	pack_verdict(cut_inside, 4096, 0, "a frame is cut", "a cut frame in a pack");
	pack_verdict(bad_check_inside, 4096, 0, "check of a frame does not agree",
		     "a bad check in a pack");
	pack_verdict(disorder_inside, 4096, 0, "out of order", "disorder in a pack");
	pack_verdict(far_inside, 4096, 0, "beyond the device", "a far frame in a pack");
	struct forge *g = forge();
	frame(g, FRAME_PACK, 0, 0, 4096, "no zstd at all, this", 20);
	verdict(g, "at byte", "a pack that is no zstd");
	g = forge();
	commit(g);
	frame(g, FRAME_PACK, 0, 0, 4096, "x", 1);
	verdict(g, "PACK outside of an epoch", "a pack after COMMIT");
}

int main(void)
{
	grammar();
	extents();
	wrong_counts();
	spliced();
	reserved();
	oversized();
	aborts();
	packs();
	return done();
}
