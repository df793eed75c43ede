// SPDX-License-Identifier: BSD-2-Clause
// lib/stream: the writer against golden bytes, the reader against every cut, every flipped bit, and
// forged frames whose checks are right.
#include <errno.h>
#include <fcntl.h>

#include "reading.h"
#include "tap.h"

static void golden_read(const char *name, int frames)
{
	struct fault f = {.text = ""};
	size_t len;
	char *b = data_file(name, &len);
	int n, code = read_bytes(b, len, &f, &n);

	ok(code == 0 && n == frames, "%s is read: %d frames %s", name, n, f.text);
	free(b);
}

static void cut_anywhere(const char *name)
{
	struct fault f = {.text = ""};
	size_t len, i;
	char *b = data_file(name, &len);
	int n, bad = 0;

	for (i = 0; i < len; i++)
		if (read_bytes(b, i, &f, &n) != BLX_CORRUPT ||
		    !strstr(f.text, i ? "cut at byte" : "empty input"))
			ok(!++bad, "%s cut to %zu bytes: %s", name, i, f.text);
	ok(!bad, "%s is refused at each of the %zu lengths it can be cut to", name, len);
	free(b);
}

// A flipped bit anywhere, in headers, payloads and checks: no stream of these takes it.
static void flip_anything(const char *name)
{
	struct fault f = {.text = ""};
	size_t len, i;
	char *b = data_file(name, &len);
	int n, bad = 0;

	for (i = 0; i < 8 * len; i++) {
		b[i / 8] ^= (char)(1 << i % 8);
		if (read_bytes(b, len, &f, &n) != BLX_CORRUPT)
			ok(!++bad, "%s with bit %zu of byte %zu flipped was taken", name, i % 8,
			   i / 8);
		b[i / 8] ^= (char)(1 << i % 8);
	}
	ok(!bad, "%s is refused with any one of its %zu bits flipped", name, 8 * len);
	free(b);
}

// ---- the writer

static void write_small(struct stream_writer *w, struct head *h)
{
	uint8_t b[512];
	struct fault f;
	size_t n, at = 0;
	char *list = data_file("small.list", &n);
	int r = 0;

	for (int epoch = 0; epoch < 2; epoch++) {
		size_t from = at;
		while (list[at] == '#' && strncmp(list + at, "# end", 5))
			at += strcspn(list + at, "\n") + 1;
		head_free(h);
		r |= head_parse(h, list + from, at - from, &f) | stream_write_head(w, h);
		if (epoch) {
			r |= stream_write_zero(w, 0, 4096);
		} else {
			for (int i = 0; i < 512; i++)
				b[i] = (uint8_t)(i * 7 + (i >> 8) + 1);
			r |= stream_write_data(w, 4096, b, 512);
			for (int i = 0; i < 100; i++)
				b[i] = (uint8_t)(i * 7 + 2);
			r |= stream_write_data(w, 4608, b, 100);
			r |= stream_write_zero(w, 65536, 131072) |
			     stream_write_data(w, 1048575, "!", 1);
		}
		r |= stream_write_commit(w);
		at = (size_t)(strstr(list + at, "# end") - list);
		at += strcspn(list + at, "\n") + 1;
	}
	ok(!r && !stream_write_end(w), "two epochs are written");
	free(list);
}

static void golden_written(void)
{
	struct head h;
	size_t n;
	char *want = data_file("small.stream", &n), *have = must(calloc(1, n + 1));
	int fd = fd_of("", 0);
	struct stream_writer *w = must(stream_writer_new(fd));

	head_init(&h);
	write_small(w, &h);
	ok(stream_writer_position(w) == n && pread(fd, have, n + 1, 0) == (ssize_t)n &&
		   !memcmp(want, have, n),
	   "small.stream is written byte for byte");
	stream_writer_free(w);
	head_free(&h);
	close(fd);
	free(want);
	free(have);
}

static bool einval(int r)
{
	bool is = r == -1 && errno == EINVAL;

	errno = 0;
	return is;
}

static void writer_refuses(void)
{
	static uint8_t large[FRAME_DATA_MAX + 1];
	struct head h = {.size = 1 << 22, .limit = 1 << 22, .anonymous = true};
	struct head wrong = {.size = 5, .limit = 6, .anonymous = true};
	int fd = fd_of("", 0), n;
	struct stream_writer *w = must(stream_writer_new(fd));
	struct fault f;

	ok(einval(stream_write_data(w, 0, "x", 1)) && einval(stream_write_zero(w, 0, 1)) &&
		   einval(stream_write_commit(w)) && einval(stream_write_end(w)),
	   "nothing goes before HEAD");
	ok(einval(stream_write_head(w, &wrong)), "a head that head_check refuses");
	ok(stream_writer_position(w) == 0, "and nothing was written");
	ok(stream_write_head(w, &h) == 0 && einval(stream_write_head(w, &h)) &&
		   einval(stream_write_end(w)),
	   "neither HEAD nor END inside of an epoch");
	ok(einval(stream_writer_pack(w, 3, 1)), "no packing once begun");
	ok(einval(stream_write_data(w, 0, large, 0)) && einval(stream_write_zero(w, 0, 0)),
	   "nothing empty");
	ok(einval(stream_write_data(w, 0, large, sizeof(large))), "no DATA beyond 1 MiB");
	ok(stream_write_data(w, 4096, large, FRAME_DATA_MAX) == 0 &&
		   einval(stream_write_zero(w, 4095, 1)) &&
		   einval(stream_write_data(w, 4096 + FRAME_DATA_MAX - 1, "x", 1)),
	   "nothing that overlaps");
	ok(einval(stream_write_zero(w, 1 << 22, 1)) && einval(stream_write_zero(w, UINT64_MAX, 2)),
	   "nothing beyond");
	ok(stream_write_commit(w) == 0 && einval(stream_write_commit(w)) &&
		   einval(stream_write_zero(w, 0, 1)),
	   "no data after COMMIT");
	ok(stream_write_end(w) == 0 && einval(stream_write_end(w)) &&
		   einval(stream_write_head(w, &h)) &&
		   einval(stream_write_abort(w, BLX_SYSTEM, "x")),
	   "nothing after END");
	ok(lseek(fd, 0, SEEK_SET) == 0 && read_fd(fd, &f, &n) == 0 && n == 4,
	   "what came out of it is valid");
	stream_writer_free(w);
	close(fd);
}

static void writer_aborts(void)
{
	static char why[400];
	int fd = fd_of("", 0);
	struct stream_writer *w = must(stream_writer_new(fd));
	struct frame fr;
	struct fault f;

	memset(why, 'x', 399);
	why[3] = '\n';
	memcpy(why + 254, "\xc3\xa4", 2); // an umlaut across the bound
	ok(einval(stream_write_abort(w, BLX_OK, "x")) &&
		   stream_write_abort(w, BLX_RESYNC, why) == 0,
	   "ABORT before anything");
	ok(einval(stream_write_abort(w, BLX_RESYNC, "x")), "only once");
	stream_writer_free(w);
	lseek(fd, 0, SEEK_SET);
	struct stream_reader *r = must(stream_reader_new(fd));
	ok(stream_read(r, &fr, &f) == 1 && fr.type == FRAME_ABORT && fr.offset == BLX_RESYNC &&
		   fr.payload_len == 254 && fr.payload[3] == '?',
	   "its words are one line and end with a whole character");
	ok(stream_read(r, &fr, &f) == -1 && f.code == BLX_RESYNC, "its code comes through");
	stream_reader_free(r);
	close(fd);
}

static void failed_output(void)
{
	struct head h = {.size = 1 << 22, .limit = 1 << 22, .anonymous = true};
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	struct stream_writer *w = must(stream_writer_new(fd));

	ok(stream_write_head(w, &h) == 0 && stream_write_commit(w) == -1 && errno == ENOSPC,
	   "a full disk is an error");
	ok(einval(stream_write_commit(w)) && einval(stream_write_abort(w, BLX_SYSTEM, "x")),
	   "and the last one");
	stream_writer_free(w);
	close(fd);
}

// ---- packs from end to end, and waiting

static void packed_streams(void)
{
	static uint8_t b[FRAME_DATA_MAX];
	struct head h = {.size = 1ull << 30, .limit = 1ull << 30, .anonymous = true};
	off_t sizes[3];

	for (int round = 0; round < 3; round++) {
		int fd = fd_of("", 0), n, r, threads[] = {1, 4, 16};
		struct stream_writer *w = must(stream_writer_new(fd));
		struct fault f;
		r = stream_writer_pack(w, 1, threads[round]) | stream_write_head(w, &h);
		for (uint64_t i = 0; i < 300 && !r; i++) {
			size_t len = i % 50 == 7 ? FRAME_DATA_MAX : 4096 + i * 100;
			for (size_t k = 0; k < len; k++)
				b[k] = (uint8_t)(i % 50 == 7 ? i * k * k * 7919 >> 9 : k >> 5);
			r = i % 60 == 59 ? stream_write_bad(w, i << 21, 512)
			    : i % 3 == 1 ? stream_write_zero(w, i << 21, 4096)
					 : stream_write_data(w, i << 21, b, len);
		}
		r = r || stream_write_commit(w) || stream_write_end(w);
		sizes[round] = lseek(fd, 0, SEEK_END);
		lseek(fd, 0, SEEK_SET);
		ok(!r && read_fd(fd, &f, &n) == 0 && n == 303,
		   "300 frames through packs of %d threads", threads[round]);
		stream_writer_free(w);
		close(fd);
	}
	ok(sizes[0] == sizes[1] && sizes[0] == sizes[2], "are as long with any number of threads");
}

// The largest header there may be: more than the reader's buffer holds at first.
static void longest_chain(void)
{
	struct head h = {
		.size = 1 << 20, .limit = 1 << 20, .block = 4096, .consumer = "c", .epoch = 1};
	int fd = fd_of("", 0), r = 0;
	struct stream_writer *w = must(stream_writer_new(fd));
	struct stream_reader *reader = must(stream_reader_new(fd));
	struct frame fr;
	struct fault f = {.text = ""};

	for (int i = 0; i < HEAD_CHAIN_MAX && !r; i++) {
		memcpy(h.token.b, &i, sizeof(i));
		r = head_chain_add(&h, &h.token);
	}
	ok(!r && !stream_write_head(w, &h) && !stream_write_commit(w) && !stream_write_end(w),
	   "a header of 65536 tokens is written");
	lseek(fd, 0, SEEK_SET);
	ok(stream_read(reader, &fr, &f) == 1 && fr.type == FRAME_HEAD &&
		   stream_reader_head(reader)->chain_len == HEAD_CHAIN_MAX,
	   "and read %s", f.text);
	ok(stream_read(reader, &fr, &f) == 1 && stream_read(reader, &fr, &f) == 1 &&
		   stream_read(reader, &fr, &f) == 0,
	   "and what follows it");
	stream_reader_free(reader);
	stream_writer_free(w);
	head_free(&h);
	close(fd);
}

static void waiting(void)
{
	int in[2], out[2];
	struct frame fr;
	struct fault f;

	if (pipe(in) || pipe(out))
		must(NULL);
	struct stream_reader *r = must(stream_reader_new(in[0]));
	stream_reader_watch(r, -1, 10);
	ok(stream_read(r, &fr, &f) == -1 && f.code == BLX_SYSTEM && strstr(f.text, "no input for"),
	   "no input in time");
	stream_reader_free(r);
	r = must(stream_reader_new(in[0]));
	stream_reader_watch(r, out[1], -1);
	close(out[0]);
	ok(stream_read(r, &fr, &f) == -1 && f.code == BLX_SYSTEM && errno == EPIPE,
	   "waiting ends when nobody reads the output any more");
	stream_reader_free(r);
	r = must(stream_reader_new(-1));
	ok(stream_read(r, &fr, &f) == -1 && f.code == BLX_SYSTEM && strstr(f.text, "read at 0"),
	   "a failed read");
	stream_reader_free(r);
	close(in[0]);
	close(in[1]);
	close(out[1]);
}

// Epochs of BYTES, stream after stream; each stream is told to begin at the right place.
static int read_on(const void *bytes, size_t n, int *streams, struct fault *f)
{
	int fd = fd_of(bytes, n), got;
	struct stream_reader *r = must(stream_reader_new(fd));
	struct frame fr;

	*streams = 0;
	do {
		while ((got = stream_read(r, &fr, f)) > 0)
			;
		*streams += !got;
	} while (!got && (got = stream_reader_next(r, f)) > 0);
	stream_reader_free(r);
	close(fd);
	return got;
}

static void streams_in_succession(void)
{
	struct head h = {.size = 1 << 22, .limit = 1 << 22, .anonymous = true};
	int fd = fd_of("", 0), bad = 0, streams;
	struct stream_writer *w = must(stream_writer_new(fd));
	static uint8_t bytes[4096];
	struct fault f = {.text = ""};

	ok(einval(stream_writer_next(w)), "no next stream before one has ended");
	for (int i = 0; i < 3; i++) {
		bad |= i && stream_writer_next(w);
		bad |= stream_write_head(w, &h) || stream_write_data(w, 4096, "hello", 5);
		bad |= !einval(stream_writer_next(w)) || stream_write_commit(w) ||
		       stream_write_end(w);
	}
	ok(!bad, "three streams through one writer (%s)", strerror(errno));
	size_t n = (size_t)lseek(fd, 0, SEEK_END), one = n / 3;
	ok(n % 3 == 0 && pread(fd, bytes, sizeof(bytes), 0) == (ssize_t)n &&
		   !memcmp(bytes, bytes + one, one),
	   "are as one by one");
	ok(read_on(bytes, n, &streams, &f) == 0 && streams == 3, "and read one after the other %s",
	   f.text);
	ok(read_on(bytes, one + 3, &streams, &f) == -1 && streams == 1 && strstr(f.text, "cut at"),
	   "cut in the second one's magic (%s)", f.text);
	ok(read_on(bytes, 2 * one - 1, &streams, &f) == -1 && streams == 1 &&
		   strstr(f.text, "cut at"),
	   "cut in the second one's END (%s)", f.text);
	bytes[one] = 'b';
	ok(read_on(bytes, n, &streams, &f) == -1 && streams == 1 &&
		   strstr(f.text, "bytes follow after END"),
	   "no stream but bytes (%s)", f.text);
	bytes[one] = 'B';
	bytes[2 * one + 60] ^= 1;
	ok(read_on(bytes, n, &streams, &f) == -1 && streams == 2 && f.code == BLX_CORRUPT,
	   "a wrong byte in the third one (%s)", f.text);
	stream_write_abort(w, BLX_SYSTEM, "x");
	stream_writer_next(w);
	ok(!stream_write_abort(w, BLX_SYSTEM, "x") && einval(stream_writer_next(w)),
	   "nothing follows an aborted one");
	stream_writer_free(w);
	close(fd);
}

static void not_streams(void)
{
	struct fault f;
	int n;

	ok(read_bytes("# blx-extents 1\n", 16, &f, &n) == BLX_CORRUPT &&
		   strstr(f.text, "is a blxread missing?"),
	   "an extent list is known for what it is");
	ok(read_bytes("Last login: Monday", 18, &f, &n) == BLX_CORRUPT &&
		   strstr(f.text, "not a blx stream"),
	   "a banner is no stream");
	ok(read_bytes("BLXSTRM2", 8, &f, &n) == BLX_CORRUPT && strstr(f.text, "not a blx stream"),
	   "another version is none");
	ok(read_bytes("", 0, &f, &n) == BLX_CORRUPT && strstr(f.text, "empty input"),
	   "an empty input is none");
}

int main(void)
{
	static const char *const files[] = {"example.stream", "small.stream", "packed.stream",
					    "optional.stream"};

	golden_read("example.stream", 5);
	golden_read("small.stream", 10);
	golden_read("packed.stream", 7);
	golden_read("optional.stream", 4);
	golden_written();
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		cut_anywhere(files[i]);
		flip_anything(files[i]);
	}
	not_streams();
	writer_refuses();
	writer_aborts();
	failed_output();
	packed_streams();
	longest_chain();
	waiting();
	streams_in_succession();
	return done();
}
