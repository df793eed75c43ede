// SPDX-License-Identifier: BSD-2-Clause
// Layout 3, as of blx 0.1.0: text ended with a line `end` without a check; bitmaps had a head of 40
// bytes, magic "BLXDELT1", without checks, and stamps that did not name the one before:
// epoch u64, size u64, time i64, token 16 bytes.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bitfile.h"
#include "bytes.h"
#include "check.h"
#include "delta.h"
#include "file.h"
#include "io.h"
#include "num.h"
#include "older.h"
#include "state.h"

#define MAGIC "BLXDELT1"
#define END "\nend\n"
#define TEMPORARY "older.new"
enum { PAGE = 4096, HEAD = 40, STAMP_THEN = 40, STAMP = 48, TEXT_MAX = 1 << 20 };

static bool begins(const char *name, const char *prefix)
{
	return !strncmp(name, prefix, strlen(prefix));
}

// ---- text

// NAME with MORE lines.
static int convert_text(int dir, const char *name, const char *more, struct fault *f)
{
	char *text = NULL, *out = NULL, line[CHECK_LINE + 1];
	const size_t end = sizeof(END) - 1;
	size_t n;

	if (file_read(dir, name, TEXT_MAX, &text, &n))
		return fault_errno(f, "tracking state %s: read", name);
	int bad = 0;
	if (!check_text(text, n))
		goto done;
	if (n < end || memcmp(text + n - end, END, end)) {
		bad = fault_set(f, BLX_RESYNC, "tracking state %s: damaged", name);
		goto done;
	}
	text[n - end + 1] = 0;
	int len = asprintf(&out, "%s%s", text, more);
	if (len < 0) {
		out = NULL;
		bad = fault_errno(f, "tracking state %s", name);
		goto done;
	}
	check_line(out, (size_t)len, line);
	free(text);
	text = NULL;
	if ((len = asprintf(&text, "%s%s", out, line)) < 0 ||
	    file_replace(dir, name, text, (size_t)len))
		bad = fault_errno(f, "tracking state %s: write", name);
done:
	free(text);
	free(out);
	return bad;
}

// ---- bitmaps

// What an older file says of itself; `records` is malloc'ed.
struct older {
	int fd;
	uint64_t blocks, words;
	uint32_t n;
	uint8_t *records;
};

// 1; 0: it is not older.
static int open_older(struct older *o, int dir, const char *name, struct fault *f)
{
	uint8_t head[HEAD];

	*o = (struct older){.fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
	if (o->fd < 0)
		return fault_errno(f, "%s", name);
	if (io_pread_full(o->fd, head, HEAD, 0) != HEAD || memcmp(head, MAGIC, 8)) {
		close(o->fd);
		return 0;
	}
	o->blocks = get_le64(head + 8);
	o->words = get_le64(head + 16);
	o->n = get_le32(head + 32);
	uint64_t at = PAGE + (o->words * 8 + PAGE - 1) / PAGE * PAGE;
	size_t size = (size_t)o->n * STAMP_THEN;
	o->records = malloc(size + 1);
	if (o->records && o->words <= UINT32_MAX &&
	    io_pread_full(o->fd, o->records, size, at) == (ssize_t)size)
		return 1;
	free(o->records);
	close(o->fd);
	return fault_set(f, BLX_RESYNC, "%s: damaged", name);
}

static int copy_words(const struct older *o, struct bitfile *to, struct fault *f)
{
	for (uint64_t w = 0; w < o->words; w += BITFILE_CHUNK) {
		uint64_t left = o->words - w, words[BITFILE_CHUNK], any = 0;
		size_t n = left < BITFILE_CHUNK ? (size_t)left : BITFILE_CHUNK;
		off_t data = lseek(o->fd, (off_t)(PAGE + w * 8), SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			return 0;
		if (data >= (off_t)(PAGE + (w + n) * 8)) {
			w = ((uint64_t)data - PAGE) / PAGE * BITFILE_CHUNK - BITFILE_CHUNK;
			continue;
		}
		uint8_t raw[BITFILE_CHUNK * 8];
		if (io_pread_full(o->fd, raw, n * 8, PAGE + w * 8) != (ssize_t)(n * 8))
			return fault_set(f, BLX_RESYNC, "bitmap: cut at word %" PRIu64, w);
		for (size_t i = 0; i < n; i++)
			any |= words[i] = get_le64(raw + 8 * i);
		if (any && bitfile_put(to, w, words, n, f))
			return -1;
	}
	return 0;
}

// Stamps get the epoch of the one before them; AFTER: that before the first.
static uint8_t *stamps_of(const struct older *o, uint64_t after)
{
	uint8_t *stamps = calloc((size_t)o->n + 1, STAMP);

	for (uint32_t i = 0; stamps && i < o->n; i++) {
		const uint8_t *from = o->records + (size_t)i * STAMP_THEN;
		uint8_t *to = stamps + (size_t)i * STAMP;
		memcpy(to, from, 24);
		put_le64(to + 24, after);
		memcpy(to + 32, from + 24, 16);
		after = get_le64(from);
	}
	return stamps;
}

static int convert_bits(int dir, const char *name, uint64_t after, struct fault *f)
{
	struct older o;
	struct bitfile to;
	int got = open_older(&o, dir, name, f);

	if (got <= 0)
		return got;
	uint8_t *stamps = stamps_of(&o, after);
	int bad = stamps ? bitfile_create(&to, dir, TEMPORARY, o.blocks, o.words, f)
			 : fault_errno(f, "%s", name);
	if (!bad) {
		bad = copy_words(&o, &to, f) || bitfile_end(&to, stamps, o.n, STAMP, f);
		bitfile_close(&to);
		if (!bad && renameat(dir, TEMPORARY, dir, name))
			bad = fault_errno(f, "%s: write", name);
		if (bad)
			unlinkat(dir, TEMPORARY, 0);
	}
	free(stamps);
	free(o.records);
	close(o.fd);
	return bad ? -1 : 0;
}

// ---- a directory

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

// Deltas in order, as each names the one before; the last one's number.
static int convert_deltas(int dir, uint64_t *numbers, size_t n, uint64_t *newest, struct fault *f)
{
	char name[64];

	if (n)
		qsort(numbers, n, sizeof(*numbers), by_size);
	*newest = 0;
	for (size_t i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "delta.%" PRIu64, numbers[i]);
		if (convert_bits(dir, name, *newest, f))
			return -1;
		*newest = numbers[i];
	}
	return 0;
}

// One file, but for deltas, whose numbers are gathered.
static int convert_file(int dir, const char *name, uint64_t **numbers, size_t *n, struct fault *f)
{
	uint64_t number, *more;

	if (begins(name, "delta.") && !num_u64(name + strlen("delta."), &number)) {
		if (!(more = realloc(*numbers, (*n + 1) * sizeof(**numbers))))
			return fault_errno(f, "%s", name);
		*numbers = more;
		more[(*n)++] = number;
		return 0;
	}
	size_t len = strlen(name);
	if (len > 4 && !strcmp(name + len - 4, ".new"))
		return 0; // left by a killed replace
	if (begins(name, "extra."))
		return convert_bits(dir, name, 0, f);
	return begins(name, "consumer.") ? convert_text(dir, name, "", f) : 0;
}

// The state comes last: its new keys tell of the deltas.
static int convert_device(int dir, struct fault *f)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	uint64_t *numbers = NULL, newest;
	size_t n = 0;
	char keys[128];
	int bad = 0;

	if (!d)
		return fault_errno(f, "tracking state: list");
	while (!bad && (e = readdir(d)))
		bad = convert_file(dir, e->d_name, &numbers, &n, f);
	closedir(d);
	if (!bad && !(bad = convert_deltas(dir, numbers, n, &newest, f)) &&
	    !faccessat(dir, "state", F_OK, 0)) {
		snprintf(keys, sizeof(keys),
			 "newest: %" PRIu64 "\nimages: 0\nsubmitted: 0\nidle-since: 0\n", newest);
		bad = convert_text(dir, "state", keys, f);
	}
	free(numbers);
	return bad;
}

int older_convert(struct fault *f)
{
	int dir = open(STATE_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return fault_errno(f, STATE_DIR);
	int bad = state_each(convert_device, f) || convert_text(dir, "host", "", f);
	close(dir);
	return bad ? -1 : 0;
}
