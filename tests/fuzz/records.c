// SPDX-License-Identifier: BSD-2-Clause
// What the programs read besides streams and lists: the first byte says as what the rest is taken.
// Records get right checks where they have them.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "cmd/blxapply/apply.h"
#include "cmd/blxls/view.h"
#include "dir.h"
#include "file.h"
#include "forge.h"
#include "num.h"
#include "zpack.h"

static char *text_of(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	fuzz_check(text != NULL);
	memcpy(text, data, size);
	text[size] = 0;
	return text;
}

// ---- numbers, times, tokens: what is taken is said again as it was

static void numbers(const uint8_t *data, size_t size)
{
	char *s = text_of(data, size), again[32], time[NUM_TIME_TEXT], token[TOKEN_TEXT];
	char uuid[UUID_TEXT];
	struct token t;
	uint64_t v;
	int64_t at;

	if (!num_u64(s, &v)) {
		snprintf(again, sizeof(again), "%llu", (unsigned long long)v);
		fuzz_check(!strcmp(s, again));
	}
	num_u64_hex(s, &v);
	num_size(s, &v);
	num_seconds(s, &v);
	if (!num_time(s, &at)) {
		num_time_text(at, time);
		fuzz_check(at <= NUM_TIME_MAX && !strcmp(s, time));
	}
	if (!token_parse(s, &t)) {
		token_format(&t, token);
		fuzz_check(!strcmp(s, token));
	}
	if (!uuid_parse(s, &t)) {
		uuid_format(&t, uuid);
		fuzz_check(!strcmp(s, uuid));
	}
	free(s);
}

// ---- the state of a replica: what is taken stays what it is

static char *with_check(const uint8_t *data, size_t size, size_t *n)
{
	char *text = malloc(size + 32);

	fuzz_check(text != NULL);
	memcpy(text, data, size);
	*n = size + (size_t)snprintf(text + size, 32, "end: %016llx\n",
				     (unsigned long long)XXH3_64bits(data, size));
	return text;
}

static void state(const uint8_t *data, size_t size)
{
	size_t n, m, k;
	char *text = with_check(data, size, &n), *plain = text_of(data, size), *once, *twice;
	struct replica r, again;
	struct fault f;

	if (replica_parse(plain, size, &r, &f))
		fuzz_check(f.code == BLX_TARGET && f.text[0]);
	free(plain);
	if (!replica_parse(text, n, &r, &f)) {
		fuzz_check((once = replica_format(&r, &m)) && !replica_parse(once, m, &again, &f));
		fuzz_check((twice = replica_format(&again, &k)) && k == m &&
			   !memcmp(once, twice, k));
		free(once);
		free(twice);
	}
	free(text);
}

// ---- digests beside a replica

static void digests(const uint8_t *data, size_t size)
{
	enum { IMAGE = 3 * DIGESTFILE_BLOCK + 100, HEADER = 4096, CHECK_AT = 56 };
	static uint8_t file[HEADER + 256], bytes[IMAGE];
	struct digestfile d;
	struct fault f;
	uint64_t entry[8];
	bool right = size && data[0] & 1;

	size = size < sizeof(file) ? size : sizeof(file);
	memset(file, 0, sizeof(file));
	memcpy(file, data, size);
	if (right) {
		memcpy(file, "blxdig1", 8);
		put_le32(file + 8, DIGESTFILE_BLOCK);
		put_le32(file + 20, 0); // not larger than what can be gone through
		put_le64(file + CHECK_AT, XXH3_64bits(file, CHECK_AT));
	}
	fuzz_put("digests", file, right ? sizeof(file) : size);
	int got = digestfile_open(&d, fuzz_dir_fd(), "digests", &f);
	fuzz_check(got > 0 || !right);
	if (got <= 0)
		return;
	int image = fuzz_fd(bytes, sizeof(bytes));
	fuzz_check(!digestfile_read(&d, 0, 8, entry));
	digestfile_put(&d, image, 100, bytes, 300);
	digestfile_put(&d, image, DIGESTFILE_BLOCK, NULL, DIGESTFILE_BLOCK + 1);
	digestfile_resize(&d, IMAGE);
	digestfile_put(&d, image, 0, NULL, IMAGE);
	fuzz_check(d.lost || !digestfile_mark(&d, &d.token, NULL));
	digestfile_close(&d);
}

// ---- ranges that could not be read, beside a replica

static void unread(const uint8_t *data, size_t size)
{
	struct options o = {.timeout_ms = -1};
	struct ack a = {.kind = ACK_DONE};
	struct fault f;
	struct job j;

	fuzz_put("unread.00000000000000000000000000000000", data, size);
	job_init(&j, &o);
	j.t.dirfd = dup(fuzz_dir_fd());
	for (uint64_t count = 1; count < 4; count++)
		if (unread_ack_again(&j, &a, count, &f))
			fuzz_check(f.code == BLX_TARGET);
		else
			fuzz_check(a.unread == count);
	job_free(&j);
}

// ---- permissions

static void permission(const uint8_t *data, size_t size)
{
	struct target t = {.dirfd = fuzz_dir_fd()};

	fuzz_put("allow", data, size);
	bool init = target_allowed(&t, "init"), resync = target_allowed(&t, "resync");
	fuzz_check(!(init && resync));
}

// ---- a pack

static void pack(const uint8_t *data, size_t size)
{
	static struct zpack_opener *o;
	static uint8_t content[FRAME_PACK_MAX];
	const char *why = NULL;

	if (size < 4)
		return;
	if (!o)
		o = zpack_opener_new();
	size_t n = get_le32(data) % FRAME_PACK_MAX;
	fuzz_check(o && (!zpack_open(o, data + 4, size - 4, content, n, &why) || why));
}

// ---- what blxls says of a stream

static void view(const uint8_t *data, size_t size)
{
	static const struct view *const views[] = {&view_list, &view_verbose, &view_json,
						   &view_check};
	struct show s = {.want_ack = true};
	struct frame fr;
	struct fault f;
	int got;

	if (!size)
		return;
	const struct view *v = views[data[0] % 4];
	struct stream_reader *r = stream_reader_new(fuzz_fd(data + 1, size - 1));
	fuzz_check(r != NULL);
	if (v->packs)
		stream_reader_show_packs(r);
	do {
		s.begins = true;
		s.start = stream_reader_position(r);
		while ((got = stream_read(r, &fr, &f)) > 0) {
			v->frame(&s, &fr, stream_reader_head(r));
			s.begins = false;
		}
	} while (!got && (got = stream_reader_next(r, &f)) > 0);
	if (got < 0) {
		v->failed(&s, stream_reader_position(r), &f);
		if (s.acks)
			fclose(s.acks);
		free(s.acks_text);
		extents_free(&s.unread);
	} else if (v->done(&s, stream_reader_position(r), &f)) {
		fuzz_check(f.code == BLX_TARGET && f.text[0]);
	}
	stream_reader_free(r);
}

// ---- what blxtrack has written of a device, as others read it

static const uint8_t *record;
static size_t record_n;

static int read_record(int dirfd, const char *name, size_t max, char **buf, size_t *n)
{
	(void)dirfd;
	(void)name;
	errno = EFBIG;
	if (record_n > max)
		return -1;
	*buf = text_of(record, record_n);
	*n = record_n;
	return 0;
}

#define file_read read_record
#define tracked_look looked_at
int looked_at(uint32_t major, uint32_t minor, struct token *lineage, uint64_t *epoch, bool *whole,
	      struct fault *f);
#define BLX_TRACKED_H
#include "../../lib/tracked.c" // NOLINT(bugprone-suspicious-include): what is static there
#undef file_read

static void tracked(const uint8_t *data, size_t size)
{
	struct token lineage;
	struct fault f = {.code = BLX_OK};
	uint64_t epoch;
	bool whole;

	record = data;
	record_n = size;
	if (looked_at(7, 0, &lineage, &epoch, &whole, &f) < 0)
		fuzz_check(f.code == BLX_RESYNC || f.code == BLX_SYSTEM);
}

// ---- what dumpe2fs, xfs_logprint and xfs_db print, and where things are mounted

#include "../../cmd/blxused/unmounted.c" // NOLINT(bugprone-suspicious-include): what is static there
#define refused map_refused
#define take take_record
#include "../../cmd/blxused/mounted.c" // NOLINT(bugprone-suspicious-include): what is static there

static const char *output;

void used_free(struct used *u, uint64_t offset, uint64_t length)
{
	// Of which the end, at least, is a number.
	fuzz_check(offset + length >= offset);
	u->at = offset + length;
}

int tool_start(struct tool *t, const char *const argv[], struct fault *f)
{
	(void)f;
	const char *s = !strcmp(argv[0], "xfs_logprint") ? "state: <CLEAN>\n" : output;
	t->out = fmemopen((void *)s, strlen(s) + !*s, "r");
	fuzz_check(t->out != NULL);
	return 0;
}

int tool_end(struct tool *t)
{
	fclose(t->out);
	return 0;
}

static void used(const uint8_t *data, size_t size)
{
	struct used u = {.dev = {.major = 7, .size = 1 << 30}};
	struct fault f;

	if (!size)
		return;
	char *text = text_of(data + 1, size - 1);
	output = text;
	if (data[0] & 1)
		xfs_free(&u, "device", "device", &f);
	else
		ext_free(&u, "device", "device", &f);
	place(text, &u.dev);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const kinds[])(const uint8_t *, size_t) = {
		numbers, state, digests, unread, permission, pack, view, tracked, used,
	};
	static int begun;
	int out = dup(STDOUT_FILENO), nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);

	begun = begun || (stderr = fopen("/dev/null", "w"));
	fflush(stdout);
	dup2(nowhere, STDOUT_FILENO);
	if (size)
		kinds[data[0] % (sizeof(kinds) / sizeof(*kinds))](data + 1, size - 1);
	fflush(stdout);
	dup2(out, STDOUT_FILENO);
	close(out);
	close(nowhere);
	return 0;
}
