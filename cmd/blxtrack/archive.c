// SPDX-License-Identifier: BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive.h"
#include "bytes.h"
#include "check.h"
#include "io.h"

enum {
	HEAD = 48,
	HEAD_CHECK = HEAD - 8,
	RECORD = 16,
	NAME_LEN_MAX = 200,
	BUFFER = 16 * STORE_PAGE,
};
enum kind { FILE_NAME = 1, FILE_DATA, FILE_SIZE, ARCHIVE_END };

// What a device's directory is made of; other names are never written.
static bool kept(const char *name)
{
	static const char *const first[] = {"consumer.", "delta.", "extra."};
	size_t n = strlen(name);

	if (n > NAME_LEN_MAX || strchr(name, '/') || (n > 4 && !strcmp(name + n - 4, ".new")))
		return false;
	for (size_t i = 0; i < sizeof(first) / sizeof(*first); i++)
		if (!strncmp(name, first[i], strlen(first[i])))
			return true;
	// and nothing that a restore unpacked and a kill left there
	return !strcmp(name, "state") || !strcmp(name, "saved.meta");
}

// ---- writing

struct writer {
	struct store *to;
	uint8_t *buf; // BUFFER bytes, page-aligned
	size_t have;
	uint64_t at, body, sum;
};

static int flush(struct writer *w, size_t n, struct fault *f)
{
	if (store_write(w->to, w->buf, n, w->at, f))
		return -1;
	w->at += n;
	w->have = 0;
	return 0;
}

static int put(struct writer *w, const uint8_t *p, size_t n, struct fault *f)
{
	w->body += n;
	while (n) {
		size_t part = BUFFER - w->have < n ? BUFFER - w->have : n;
		memcpy(w->buf + w->have, p, part);
		w->have += part;
		p += part;
		n -= part;
		if (w->have == BUFFER && flush(w, BUFFER, f))
			return -1;
	}
	return 0;
}

static int put_record(struct writer *w, enum kind kind, uint64_t offset, const void *p, size_t n,
		      struct fault *f)
{
	uint8_t r[RECORD + STORE_PAGE];

	put_le32(r, kind);
	put_le32(r + 4, (uint32_t)n);
	put_le64(r + 8, offset);
	if (n)
		memcpy(r + RECORD, p, n);
	w->sum = check_of(r, RECORD + n, w->sum);
	return put(w, r, RECORD + n, f);
}

static int put_pages(struct writer *w, int fd, const char *name, uint64_t size, struct fault *f)
{
	static const uint8_t zero[STORE_PAGE];
	uint8_t page[STORE_PAGE];

	for (uint64_t at = 0; at < size;) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break;
		if (data < 0)
			return fault_errno(f, "%s: seek", name);
		at = (uint64_t)data / STORE_PAGE * STORE_PAGE;
		size_t n = size - at < STORE_PAGE ? (size_t)(size - at) : STORE_PAGE;
		if (io_pread_full(fd, page, n, at) != (ssize_t)n)
			return fault_errno(f, "%s: read at %" PRIu64, name, at);
		if (memcmp(page, zero, n) && put_record(w, FILE_DATA, at, page, n, f))
			return -1;
		at += n;
	}
	return put_record(w, FILE_SIZE, size, NULL, 0, f);
}

static int put_file(struct writer *w, int dirfd, const char *name, struct fault *f)
{
	struct stat st;
	int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st)) {
		fault_errno(f, "%s", name);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	int bad = put_record(w, FILE_NAME, 0, name, strlen(name), f) ||
		  put_pages(w, fd, name, (uint64_t)st.st_size, f);
	close(fd);
	return bad ? -1 : 0;
}

static int put_all(struct writer *w, int dirfd, struct fault *f)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), bad = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d)
		return fault_errno(f, "list what is to be saved");
	for (errno = 0; !bad && (e = readdir(d)); errno = 0)
		if (kept(e->d_name))
			bad = put_file(w, dirfd, e->d_name, f);
	if (!bad && errno)
		bad = fault_errno(f, "list what is to be saved");
	closedir(d);
	return bad || put_record(w, ARCHIVE_END, 0, NULL, 0, f) ? -1 : 0;
}

static void fill_head(uint8_t *page, bool used, uint64_t body, uint64_t sum, uint64_t place)
{
	static const uint8_t magic[] = STORE_MAGIC;

	memset(page, 0, STORE_PAGE);
	memcpy(page, magic, sizeof(magic) - 1);
	put_le64(page + 8, used);
	put_le64(page + 16, body);
	put_le64(page + 24, sum);
	put_le64(page + 32, place);
	put_le64(page + HEAD_CHECK, check_of(page, HEAD_CHECK, 0));
}

int archive_write(struct store *s, int dirfd, struct fault *f)
{
	struct writer w = {.to = s, .buf = aligned_alloc(STORE_PAGE, BUFFER), .at = STORE_PAGE};
	int bad =
		w.buf ? store_begin(s, f) || put_all(&w, dirfd, f) : fault_errno(f, "%s", s->name);

	if (!bad) {
		memset(w.buf + w.have, 0, BUFFER - w.have);
		size_t rest = (w.have + STORE_PAGE - 1) / STORE_PAGE * STORE_PAGE;
		bad = (rest && flush(&w, rest, f)) || store_sync(s, f);
	}
	if (!bad) {
		fill_head(w.buf, false, w.body, w.sum, store_place(s));
		bad = store_write(s, w.buf, STORE_PAGE, 0, f) || store_end(s, f);
	}
	free(w.buf);
	return bad ? -1 : 0;
}

// ---- reading

struct reader {
	const struct store *from;
	uint8_t *buf;
	size_t have, used;
	uint64_t at, left, sum;
};

struct record {
	enum kind kind;
	uint32_t n;
	uint64_t offset;
	uint8_t raw[RECORD + STORE_PAGE + 1];
	uint8_t *p; // n bytes and a NUL
};

static int damaged(const struct store *s, struct fault *f)
{
	return fault_set(f, BLX_CORRUPT, "%s: the saved state is damaged", s->name);
}

static int get(struct reader *r, uint8_t *p, size_t n, struct fault *f)
{
	if (n > r->left)
		return damaged(r->from, f);
	r->left -= n;
	while (n) {
		if (r->used == r->have) {
			ssize_t got = store_read(r->from, r->buf, BUFFER, r->at, f);
			if (got < 0)
				return -1;
			if (!got)
				return damaged(r->from, f);
			r->at += (uint64_t)got;
			r->have = (size_t)got;
			r->used = 0;
		}
		size_t part = r->have - r->used < n ? r->have - r->used : n;
		memcpy(p, r->buf + r->used, part);
		r->used += part;
		p += part;
		n -= part;
	}
	return 0;
}

static int get_record(struct reader *r, struct record *to, struct fault *f)
{
	if (get(r, to->raw, RECORD, f))
		return -1;
	to->kind = (enum kind)get_le32(to->raw);
	to->n = get_le32(to->raw + 4);
	to->offset = get_le64(to->raw + 8);
	to->p = to->raw + RECORD;
	if (to->kind < FILE_NAME || to->kind > ARCHIVE_END || to->n > STORE_PAGE)
		return damaged(r->from, f);
	if (get(r, to->p, to->n, f))
		return -1;
	to->p[to->n] = 0;
	r->sum = check_of(to->raw, RECORD + to->n, r->sum);
	return 0;
}

static int read_head(const struct store *s, uint8_t *page, struct fault *f)
{
	ssize_t n = store_read(s, page, STORE_PAGE, 0, f);

	if (n < 0)
		return -1;
	return n == STORE_PAGE && !memcmp(page, STORE_MAGIC, 8) &&
	       get_le64(page + HEAD_CHECK) == check_of(page, HEAD_CHECK, 0) &&
	       get_le64(page + 8) <= 1;
}

// 0, with the first record next; 1: no saved state.
static int reader_open(struct reader *r, const struct store *s, uint64_t *sum, struct fault *f)
{
	*r = (struct reader){.from = s, .buf = aligned_alloc(STORE_PAGE, BUFFER), .at = STORE_PAGE};
	if (!r->buf)
		return fault_errno(f, "%s", s->name);
	int got = read_head(s, r->buf, f);
	r->left = get_le64(r->buf + 16);
	*sum = get_le64(r->buf + 24);
	return got < 0 ? -1 : !got;
}

int archive_look(struct store *s, enum archive *what, struct fault *f)
{
	struct reader r;
	struct record rec;
	uint64_t sum;

	*what = ARCHIVE_NONE;
	int bad = store_open(s, f);
	if (bad)
		return bad < 0 ? -1 : 0;
	bad = reader_open(&r, s, &sum, f);
	if (bad == 1) {
		// a device may hold anything, a file is ours
		bad = s->raw ? 0 : damaged(s, f);
	} else if (!bad && get_le64(r.buf + 32) != store_place(s)) {
		bad = fault_set(f, BLX_CORRUPT, "%s: the saved state was moved here", s->name);
	} else if (!bad) {
		*what = get_le64(r.buf + 8) ? ARCHIVE_USED : ARCHIVE_FRESH;
		do
			bad = get_record(&r, &rec, f);
		while (!bad && rec.kind != ARCHIVE_END);
		if (!bad && (r.left || r.sum != sum))
			bad = damaged(s, f);
	}
	free(r.buf);
	return bad;
}

static int write_page(int fd, const struct record *rec, struct fault *f)
{
	if (fd < 0 || (rec->kind == FILE_DATA ? io_pwrite_full(fd, rec->p, rec->n, rec->offset)
					      : ftruncate(fd, (off_t)rec->offset)))
		return fault_errno(f, "saved state: unpack");
	return 0;
}

static int make_file(int dirfd, const char *name, struct fault *f)
{
	if (!kept(name))
		return fault_set(f, BLX_CORRUPT, "saved state: a file of an unknown name");
	const char *as = strcmp(name, "state") ? name : "saved.state";
	int fd = openat(dirfd, as, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? fault_errno(f, "saved state: %s: create", as) : fd;
}

int archive_unpack(const struct store *s, int dirfd, struct fault *f)
{
	struct reader r;
	struct record rec = {.kind = FILE_NAME};
	uint64_t sum;
	int fd = -1, bad = reader_open(&r, s, &sum, f);

	while (!bad && rec.kind != ARCHIVE_END && !(bad = get_record(&r, &rec, f))) {
		if (rec.kind == FILE_NAME) {
			if (fd >= 0)
				close(fd);
			fd = make_file(dirfd, (const char *)rec.p, f);
			bad = fd < 0;
		} else if (rec.kind != ARCHIVE_END) {
			bad = write_page(fd, &rec, f);
		}
	}
	if (fd >= 0)
		close(fd);
	free(r.buf);
	return bad ? -1 : 0;
}

int archive_use_up(struct store *s, struct fault *f)
{
	uint8_t *page = aligned_alloc(STORE_PAGE, STORE_PAGE);
	int bad = page ? 0 : fault_errno(f, "%s", s->name), got = 0;

	if (!bad && (got = read_head(s, page, f)) < 0)
		bad = -1;
	if (!bad && got && !get_le64(page + 8)) {
		fill_head(page, true, get_le64(page + 16), get_le64(page + 24),
			  get_le64(page + 32));
		bad = store_write(s, page, STORE_PAGE, 0, f) || store_sync(s, f);
	}
	free(page);
	return bad ? -1 : 0;
}
