// SPDX-License-Identifier: BSD-2-Clause
// What blxtrack keeps in /run/blx, damaged: the first byte says which of the files the rest is.
// With an odd second byte it gets right checks, so that what is behind them is reached. Whatever it
// holds, it is read, or told to be damaged.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "bytes.h"
#include "check.h"
#include "cmd/blxtrack/blxtrack.h"
#include "cmd/blxtrack/kv.h"
#include "dir.h"

#include "../../cmd/blxtrack/state.c" // NOLINT(bugprone-suspicious-include): what is static there

enum { DEVICE = 1 << 24, BLOCK = 4096, PAGE = 4096, EPOCH = 3 };

void usage_error(const char *fmt, ...) // of main.c
{
	(void)fmt;
	abort();
}

static struct tracked device(void)
{
	return (struct tracked){
		.dirfd = fuzz_dir_fd(), .block = BLOCK, .dev = {.size = DEVICE, .name = "d"}};
}

static void check_fault(int bad, const struct fault *f)
{
	fuzz_check(!bad || ((f->code == BLX_RESYNC || f->code == BLX_SYSTEM) && f->text[0]));
}

// ---- records of text

static void put_text(const char *name, const uint8_t *data, size_t size, bool right)
{
	char *text = malloc(size + CHECK_LINE + 1);

	fuzz_check(text != NULL);
	memcpy(text, data, size);
	if (right)
		check_line((const char *)data, size, text + size);
	fuzz_put(name, text, size + (right ? CHECK_LINE : 0));
	free(text);
}

static void state(const uint8_t *data, size_t size, bool right)
{
	struct tracked t = device();
	struct fault f;

	put_text("state", data, size, right);
	int bad = tracked_read(&t, &f);
	check_fault(bad, &f);
	fuzz_check(bad || (t.block >= 512 && t.slot <= SLOT_NONE && t.way < WAYS));
}

static void consumer(const uint8_t *data, size_t size, bool right)
{
	struct tracked t = device();
	struct consumer c;
	struct fault f;

	put_text("consumer.x", data, size, right);
	int bad = consumer_load(&t, "x", &c, &f);
	check_fault(bad, &f);
	fuzz_check(bad || !consumer_save(&t, &c, &f));
}

// ---- bitmaps

// Bitmap, then records, each with the number of bytes before it; the head's numbers as they come.
static void put_bits(const char *name, const uint8_t *data, size_t size, bool right)
{
	struct bitfile b;
	struct fault f;
	uint64_t words[BITFILE_CHUNK] = {0};
	size_t each = 48;

	if (!right || size < 16) {
		fuzz_put(name, data, size);
		return;
	}
	uint64_t blocks = get_le16(data), nwords = get_le16(data + 8) % (BITFILE_CHUNK + 1);
	size_t records = get_le16(data + 2) % 32;
	fuzz_check(!bitfile_create(&b, fuzz_dir_fd(), name, blocks, nwords, &f));
	for (data += 16, size -= 16; size >= 8 && b.data_at < nwords; data += 8, size -= 8)
		words[b.data_at++] = get_le64(data);
	fuzz_check(!nwords || !bitfile_put(&b, 0, words, nwords, &f));
	records = size / each < records ? size / each : records;
	fuzz_check(!bitfile_end(&b, data, (uint32_t)records, each, &f));
	bitfile_close(&b);
}

static void print(struct changes *ch, struct fault *f)
{
	static FILE *to;

	to = to ? to : fopen("/dev/null", "w");
	fuzz_check(to != NULL);
	check_fault(changes_print(ch, to, f), f);
}

static void delta(const uint8_t *data, size_t size, bool right)
{
	struct tracked t = device();
	struct consumer c = {.name = "x", .cursor = DEVICE, .has_base = true, .epoch = 1};
	struct delta *all;
	struct changes ch;
	struct fault f;
	size_t n;

	put_bits("delta.3", data, size, right);
	int bad = delta_all(&t, 0, &all, &n, &f);
	check_fault(bad, &f);
	if (!bad && n) {
		struct stamp *last = &all[n - 1].stamps[all[n - 1].nstamps - 1];
		fuzz_check(last->epoch == EPOCH);
		c.base = all[0].stamps[0].token;
		bad = changes_open(&ch, &t, &c, last, 0, &f);
		if (bad && f.code != BLX_CORRUPT) // no header can be made of it
			check_fault(bad, &f);
		if (!bad) {
			print(&ch, &f);
			changes_close(&ch);
		}
	}
	if (all)
		delta_all_free(all, n);
	unlinkat(t.dirfd, "delta.3", 0);
}

static void extra(const uint8_t *data, size_t size, bool right)
{
	struct tracked t = device();
	struct consumer c = {.name = "x", .extra = {[EXTRA_RESYNC] = 1}};
	uint64_t chunk[BITFILE_CHUNK];
	struct bitfile b;
	struct fault f;

	put_bits("extra.x.1", data, size, right);
	int got = extra_open(&b, &t, &c, EXTRA_RESYNC, &f);
	check_fault(got < 0, &f);
	if (got <= 0)
		return;
	for (uint64_t w = 0; w < 4 * BITFILE_CHUNK && got > 0; w += BITFILE_CHUNK) {
		memset(chunk, 0, sizeof(chunk));
		int bad = bitfile_or(&b, w, chunk, BITFILE_CHUNK, &f);
		check_fault(bad, &f);
		got = !bad;
	}
	bitfile_close(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const kinds[])(const uint8_t *, size_t, bool) = {state, consumer, delta,
								       extra};

	if (size >= 2)
		kinds[data[0] % 4](data + 2, size - 2, data[1] & 1);
	return 0;
}
