// SPDX-License-Identifier: BSD-2-Clause
// What blxtrack keeps in /run/blx, and saves over a reboot, damaged: the first byte says which of
// the files the rest is. With an odd second byte it gets right checks, so that what is behind them
// is reached. Whatever it holds, it is read, or told to be damaged.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "bytes.h"
#include "check.h"
#include "cmd/blxtrack/archive.h"
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

// ---- what is saved over a reboot

enum { SAVED_HEAD_CHECK = 40, SAVED_RECORD = 16 };

// The chain of checks over the records that can be told apart; *BODY: their bytes.
static uint64_t chain(const uint8_t *data, size_t size, size_t *body)
{
	uint64_t sum = 0;
	size_t at = 0, n;

	while (at + SAVED_RECORD <= size && (n = get_le32(data + at + 4)) <= PAGE &&
	       n <= size - at - SAVED_RECORD) {
		sum = check_of(data + at, SAVED_RECORD + n, sum);
		at += SAVED_RECORD + n;
		if (get_le32(data + at - n - SAVED_RECORD) == 4) // the end
			break;
	}
	*body = at;
	return sum;
}

static void saved(const uint8_t *data, size_t size, bool right)
{
	uint8_t *file = calloc(1, PAGE + size);
	enum archive what;
	struct store s;
	struct fault f;
	char path[128];
	size_t body;

	fuzz_check(file != NULL);
	memcpy(file + (right ? PAGE : 0), data, size);
	fuzz_put("archive", file, PAGE + size);
	snprintf(path, sizeof(path), "%s/archive", fuzz_dir());
	fuzz_check(!store_find(&s, path, &f));
	if (right) {
		static const uint8_t magic[] = STORE_MAGIC;
		memcpy(file, magic, sizeof(magic) - 1);
		uint64_t sum = chain(data, size, &body);
		put_le64(file + 16, body);
		put_le64(file + 24, sum);
		fuzz_check(!store_open(&s, &f));
		put_le64(file + 32, store_place(&s));
		close(s.fd);
		put_le64(file + SAVED_HEAD_CHECK, check_of(file, SAVED_HEAD_CHECK, 0));
		fuzz_put("archive", file, PAGE + size);
	}
	free(file);
	int bad = archive_look(&s, &what, &f);
	fuzz_check(!bad || f.code == BLX_CORRUPT);
	if (!bad && what == ARCHIVE_FRESH) {
		bad = archive_unpack(&s, fuzz_dir_fd(), &f);
		fuzz_check(!bad || f.code == BLX_CORRUPT || f.code == BLX_SYSTEM);
		fuzz_check(!archive_use_up(&s, &f));
		store_close(&s);
		fuzz_check(!store_find(&s, path, &f) && !archive_look(&s, &what, &f));
		fuzz_check(what == ARCHIVE_USED);
	}
	store_close(&s);
	fuzz_empty(fuzz_dir());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const kinds[])(const uint8_t *, size_t, bool) = {state, consumer, delta,
								       extra, saved};

	if (size >= 2)
		kinds[data[0] % 5](data + 2, size - 2, data[1] & 1);
	return 0;
}
