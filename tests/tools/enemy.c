// SPDX-License-Identifier: BSD-2-Clause
// Streams of somebody who means harm, with right checks: `enemy NAME [LABEL]` writes one to
// standard output; without a NAME their names. Some do not end by themselves.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "frame.h"

enum { SIZE = 1 << 20 };

static struct frame_digest *epoch;
static struct stream_counts counts;
static const char *label;

static void out(const void *p, size_t n)
{
	if (fwrite(p, 1, n, stdout) != n)
		exit(0); // its reader has had enough
}

static void raw(struct frame_header h, const void *payload, size_t have)
{
	uint8_t b[FRAME_HEADER];

	frame_put(b, &h);
	h.check = frame_check(b, payload, have);
	frame_put(b, &h);
	out(b, sizeof(b));
	out(payload, have);
	if (h.type == FRAME_HEAD)
		frame_digest_reset(epoch);
	if (h.type == FRAME_HEAD || h.type == FRAME_DATA || h.type == FRAME_ZERO ||
	    h.type == FRAME_BAD)
		frame_digest_add(epoch, h.check);
	if (h.type == FRAME_DATA || h.type == FRAME_ZERO || h.type == FRAME_BAD)
		frame_count(&counts, (enum frame_type)h.type, h.length);
}

static void frame(uint16_t type, uint64_t offset, uint64_t length, const void *payload, size_t n)
{
	raw((struct frame_header){.type = type,
				  .offset = offset,
				  .length = length,
				  .payload_len = (uint32_t)n},
	    payload, n);
}

static void magic(void)
{
	out(STREAM_MAGIC, 8);
}

// A whole first copy of SIZE bytes, with MORE lines.
static void head(uint64_t size, const char *more)
{
	static char text[8 << 20];
	int n = snprintf(text, sizeof(text),
			 "# blx-extents 1\n"
			 "# lineage: 6ba7b810-9dad-11d1-80b4-00c04fd430c8\n"
			 "# device: 7:300\n"
			 "# size: %llu\n"
			 "# block: 4096\n"
			 "# consumer: default\n"
			 "# base: none\n"
			 "# cursor: 0\n"
			 "# epoch: 1 00000000000000000000000000000001\n"
			 "%s"
			 "# chain: 00000000000000000000000000000001\n"
			 "%s%s%s",
			 (unsigned long long)size, more, label ? "# label: " : "",
			 label ? label : "", label ? "\n" : "");

	counts = (struct stream_counts){0};
	frame(FRAME_HEAD, 0, size, text, (size_t)n);
}

static void commit(uint64_t size)
{
	uint8_t payload[FRAME_COUNTS], total[FRAME_COUNTS];
	uint8_t b[FRAME_HEADER];

	counts.digest = frame_digest_value(epoch);
	frame_put_counts(payload, &counts);
	struct frame_header h = {.type = FRAME_COMMIT, .length = size, .payload_len = FRAME_COUNTS};
	frame_put(b, &h);
	uint64_t check = frame_check(b, payload, sizeof(payload));
	frame(FRAME_COMMIT, 0, size, payload, sizeof(payload));
	frame_digest_reset(epoch);
	frame_digest_add(epoch, check);
	counts.digest = frame_digest_value(epoch);
	frame_put_counts(total, &counts);
	frame(FRAME_END, 0, 0, total, sizeof(total));
}

static void begin(uint64_t size)
{
	magic();
	head(size, "");
}

// ---- sizes and places

static void size_all_ones(void)
{
	begin(UINT64_MAX);
	frame(FRAME_ZERO, 0, UINT64_MAX, "", 0);
	commit(UINT64_MAX);
}

static void size_half(void)
{
	begin(1ull << 63);
	frame(FRAME_ZERO, 0, 1ull << 63, "", 0);
	commit(1ull << 63);
}

static void offset_wraps(void)
{
	begin(SIZE);
	frame(FRAME_DATA, UINT64_MAX, 2, "xx", 2);
}

static void length_wraps(void)
{
	begin(SIZE);
	frame(FRAME_ZERO, 4096, UINT64_MAX - 100, "", 0);
}

static void beyond(void)
{
	begin(SIZE);
	frame(FRAME_DATA, SIZE - 1, 2, "xx", 2);
}

static void backwards(void)
{
	begin(SIZE);
	frame(FRAME_DATA, 4096, 2, "xx", 2);
	frame(FRAME_DATA, 0, 2, "xx", 2);
}

// ---- lengths that are not there, and must not be allocated

static void claims(uint16_t type, uint64_t length)
{
	magic();
	if (type != FRAME_HEAD)
		head(SIZE, "");
	raw((struct frame_header){.type = type, .length = length, .payload_len = UINT32_MAX}, "",
	    0);
	for (;;)
		frame(FRAME_ZERO, 0, 1, "", 0); // it may wait for more
}

static void claims_head(void)
{
	claims(FRAME_HEAD, SIZE);
}

static void claims_data(void)
{
	claims(FRAME_DATA, UINT32_MAX);
}

static void claims_pack(void)
{
	claims(FRAME_PACK, FRAME_PACK_MAX);
}

static void claims_optional(void)
{
	magic();
	raw((struct frame_header){.type = 99, .flags = FRAME_OPTIONAL, .payload_len = UINT32_MAX},
	    "", 0);
}

// ---- packs

static void pack(uint64_t length, const uint8_t *p, size_t n)
{
	begin(SIZE);
	frame(FRAME_PACK, 0, length, p, n);
	commit(SIZE);
}

static void pack_huge(void)
{
	pack(1ull << 40, (const uint8_t *)"x", 1);
}

// A zstd frame (RFC 8878) of BLOCKS run-length blocks of 128 KiB that says it holds SAYS bytes,
// with a window of WINDOW (an exponent and mantissa byte; 0: a single segment).
static void bomb(uint64_t length, uint64_t says, int blocks, uint8_t window)
{
	static uint8_t b[1 << 20];
	size_t n = 0;

	put_le32(b, 0xfd2fb528);
	n = 4;
	b[n++] = window ? 0xc0 : 0xe0; // content size in 8 bytes
	if (window)
		b[n++] = window;
	put_le64(b + n, says);
	n += 8;
	for (int i = 0; i < blocks; i++) {
		uint32_t h = (128 * 1024) << 3 | 1 << 1 | (i == blocks - 1);
		b[n++] = (uint8_t)h;
		b[n++] = (uint8_t)(h >> 8);
		b[n++] = (uint8_t)(h >> 16);
		b[n++] = 0;
	}
	pack(length, b, n);
}

static void bomb_longer(void) // 16 GiB in a pack that says 1 MiB
{
	bomb(SIZE, SIZE, 131072, 0);
}

static void bomb_honest(void) // the zstd frame says so itself
{
	bomb(SIZE, 131072ull * 128 * 1024, 131072, 0);
}

static void bomb_window(void) // the window is as large as there are
{
	bomb(SIZE, SIZE, 8, 0xff);
}

static void pack_in_pack(void)
{
	uint8_t b[5 + 4 + 3 + FRAME_HEADER] = {0x28, 0xb5, 0x2f, 0xfd, 0xa0};
	struct frame_header h = {.type = FRAME_PACK, .length = FRAME_PACK_MAX};

	put_le32(b + 5, FRAME_HEADER);
	put_le32(b + 9, FRAME_HEADER << 3 | 1);
	frame_put(b + 12, &h);
	h.check = frame_check(b + 12, NULL, 0);
	frame_put(b + 12, &h);
	pack(FRAME_HEADER, b, sizeof(b));
}

// ---- headers

static char *lines(const char *line, size_t n)
{
	size_t k = strlen(line);
	char *text = malloc(n * k + 1), *p = text;

	for (size_t i = 0; i < n; i++, p += k)
		memcpy(p, line, k);
	*p = 0;
	return text;
}

static void head_of(const char *line, size_t n)
{
	char *text = lines(line, n);

	magic();
	head(SIZE, text);
	free(text);
	commit(SIZE);
}

static void chain_of_millions(void) // as many tokens as a HEAD has room for
{
	enum { LINE = 42, N = (HEAD_TEXT_MAX - 1024) / LINE };
	char *text = malloc((size_t)N * LINE + 1);

	for (int i = 0; i < N; i++)
		sprintf(text + (size_t)i * LINE, "# chain: %031x0\n", i + 2);
	magic();
	head(SIZE, text);
	free(text);
	commit(SIZE);
}

static void chain_of_one_token(void)
{
	head_of("# chain: 00000000000000000000000000000002\n", 60000);
}

static void unknown_lines(void)
{
	head_of("# x-a: b\n", 400000);
}

static void one_long_line(void)
{
	char *text = malloc(4000000 + 16);

	strcpy(text, "# x-a: ");
	memset(text + 7, 'a', 4000000);
	strcpy(text + 4000007, "\n");
	magic();
	head(SIZE, text);
	free(text);
	commit(SIZE);
}

static void nul_in_head(void)
{
	static const char text[] = "# blx-extents 1\n# size: 1048576\0\n# label: x\n";

	magic();
	frame(FRAME_HEAD, 0, SIZE, text, sizeof(text) - 1);
}

// ---- what does not end

static void endless_zeroes(void)
{
	begin(1ull << 40);
	for (uint64_t at = 0;; at++)
		frame(FRAME_ZERO, at, 1, "", 0);
}

static void endless_bad(void)
{
	begin(1ull << 40);
	for (uint64_t at = 0;; at++)
		frame(FRAME_BAD, at, 1, "", 0);
}

static void endless_optional(void)
{
	magic();
	for (;;)
		raw((struct frame_header){.type = 99, .flags = FRAME_OPTIONAL}, "", 0);
}

static void endless_heads(void)
{
	magic();
	for (;;)
		head(SIZE, "");
}

static void endless_garbage(void)
{
	for (;;)
		out("no stream at all, and no end of it\n", 35);
}

// ---- words for a terminal

static void words(void)
{
	static const char why[] = "\x1b]0;owned\x07\x1b[2J";

	begin(SIZE);
	frame(FRAME_ABORT, 3, 0, why, sizeof(why) - 1);
}

static void ordinary(void)
{
	begin(SIZE);
	frame(FRAME_DATA, 0, 6, "enemy!", 6);
	frame(FRAME_ZERO, 6, SIZE - 6, "", 0);
	commit(SIZE);
}

static const struct {
	const char *name;
	void (*write)(void);
} streams[] = {
#define S(name)                                                                                    \
	{                                                                                          \
#name, name                                                                        \
	}
	S(size_all_ones),
	S(size_half),
	S(offset_wraps),
	S(length_wraps),
	S(beyond),
	S(backwards),
	S(claims_head),
	S(claims_data),
	S(claims_pack),
	S(claims_optional),
	S(pack_huge),
	S(bomb_longer),
	S(bomb_honest),
	S(bomb_window),
	S(pack_in_pack),
	S(chain_of_millions),
	S(chain_of_one_token),
	S(unknown_lines),
	S(one_long_line),
	S(nul_in_head),
	S(endless_zeroes),
	S(endless_bad),
	S(endless_optional),
	S(endless_heads),
	S(endless_garbage),
	S(words),
	S(ordinary),
#undef S
};

int main(int argc, char **argv)
{
	epoch = frame_digest_new();
	label = argc > 2 ? argv[2] : NULL;
	for (size_t i = 0; i < sizeof(streams) / sizeof(*streams); i++)
		if (argc < 2) {
			puts(streams[i].name);
		} else if (!strcmp(argv[1], streams[i].name)) {
			streams[i].write();
			return fflush(stdout) ? 1 : 0;
		}
	return argc < 2 ? 0 : 2;
}
