// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include <xxhash.h>

#include "bytes.h"
#include "digestfile.h"
#include "io.h"

#define FRESH "digests.fresh" // until it has its name
static const uint8_t MAGIC[8] = "blxdig1";

enum {
	BLOCK = DIGESTFILE_BLOCK,
	HEADER = 4096,
	BATCH = 1024, // entries of one read or write
	AT_BLOCK = 8,
	AT_UNSETTLED = 12,
	AT_SIZE = 16,
	AT_TOKEN = 24,
	AT_ALSO = 40,
	AT_CHECK = 56,
	USED = 64
};

uint64_t digestfile_of(const void *block)
{
	uint64_t v = XXH3_64bits(block, BLOCK);

	return v ? v : 1; // 0 is unknown
}

// ---- the header

static int write_header(const struct digestfile *d)
{
	uint8_t b[HEADER] = {0};

	memcpy(b, MAGIC, sizeof(MAGIC));
	put_le32(b + AT_BLOCK, BLOCK);
	put_le32(b + AT_UNSETTLED, d->unsettled);
	put_le64(b + AT_SIZE, d->size);
	memcpy(b + AT_TOKEN, d->token.b, sizeof(d->token.b));
	memcpy(b + AT_ALSO, d->also.b, sizeof(d->also.b));
	put_le64(b + AT_CHECK, XXH3_64bits(b, AT_CHECK));
	return io_pwrite_full(d->fd, b, sizeof(b), 0);
}

static int read_header(struct digestfile *d, struct fault *f)
{
	uint8_t b[USED] = {0};

	if (io_pread_full(d->fd, b, sizeof(b), 0) < 0)
		return fault_errno(f, "digests: read");
	if (memcmp(b, MAGIC, sizeof(MAGIC)) || get_le32(b + AT_BLOCK) != BLOCK ||
	    get_le64(b + AT_CHECK) != XXH3_64bits(b, AT_CHECK))
		return fault_set(f, BLX_TARGET, "digests: damaged");
	d->again = d->unsettled = get_le32(b + AT_UNSETTLED);
	d->size = get_le64(b + AT_SIZE);
	memcpy(d->token.b, b + AT_TOKEN, sizeof(d->token.b));
	memcpy(d->also.b, b + AT_ALSO, sizeof(d->also.b));
	return 0;
}

int digestfile_open(struct digestfile *d, int dirfd, const char *name, struct fault *f)
{
	*d = (struct digestfile){.fd = openat(dirfd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC)};
	if (d->fd < 0)
		return errno == ENOENT ? 0 : fault_errno(f, "digests: open");
	if (!read_header(d, f))
		return 1;
	digestfile_close(d);
	return -1;
}

void digestfile_close(struct digestfile *d)
{
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
}

int digestfile_reset(struct digestfile *d, int dirfd, const char *name, uint64_t size,
		     const struct token *token, struct fault *f)
{
	*d = (struct digestfile){.size = size, .token = *token};
	unlinkat(dirfd, FRESH, 0);
	d->fd = openat(dirfd, FRESH, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (d->fd >= 0 && !write_header(d) && !fsync(d->fd) &&
	    !renameat(dirfd, FRESH, dirfd, name) && !fsync(dirfd))
		return 0;
	fault_errno(f, "digests: create");
	unlinkat(dirfd, FRESH, 0);
	digestfile_close(d);
	return -1;
}

bool digestfile_is_at(const struct digestfile *d, const struct token *token)
{
	static const struct token none;

	return token_equal(&d->token, token) ||
	       (token_equal(&d->also, token) && !token_equal(&d->also, &none));
}

int digestfile_hold(struct digestfile *d, struct fault *f)
{
	while (flock(d->fd, LOCK_EX))
		if (errno != EINTR)
			return fault_errno(f, "digests: flock");
	return 0;
}

void digestfile_let_go(struct digestfile *d)
{
	flock(d->fd, LOCK_UN);
}

int digestfile_mark(struct digestfile *d, const struct token *token, const struct token *also)
{
	static const struct token none;

	if (d->lost && ftruncate(d->fd, HEADER))
		return -1;
	d->token = *token;
	d->also = also ? *also : none;
	return write_header(d);
}

int digestfile_sync(struct digestfile *d)
{
	return fsync(d->fd);
}

// ---- entries

static uint64_t place(uint64_t block)
{
	return HEADER + block * sizeof(uint64_t);
}

// Beyond the file's end all are unknown.
int digestfile_read(const struct digestfile *d, uint64_t first, size_t n, uint64_t *entry)
{
	uint8_t b[BATCH * sizeof(uint64_t)];

	for (size_t k; n; first += k, n -= k, entry += k) {
		k = n < BATCH ? n : BATCH;
		memset(b, 0, k * sizeof(uint64_t));
		if (io_pread_full(d->fd, b, k * sizeof(uint64_t), place(first)) < 0)
			return -1;
		for (size_t i = 0; i < k; i++)
			entry[i] = get_le64(b + i * sizeof(uint64_t));
	}
	return 0;
}

int digestfile_write(const struct digestfile *d, uint64_t first, size_t n, const uint64_t *entry)
{
	uint8_t b[BATCH * sizeof(uint64_t)];

	for (size_t k; n; first += k, n -= k, entry += k) {
		k = n < BATCH ? n : BATCH;
		for (size_t i = 0; i < k; i++)
			put_le64(b + i * sizeof(uint64_t), entry[i]);
		if (io_pwrite_full(d->fd, b, k * sizeof(uint64_t), place(first)))
			return -1;
	}
	return 0;
}

// ---- what is about to be written

// A block of which N bytes from offset AT on are written. What it holds else must be what it was
// known to be, or it stays as wrong as it is; if it may hold something else of what was written
// nothing is known of it.
static int put_part(struct digestfile *d, int image, uint64_t block, size_t at, const uint8_t *p,
		    size_t n)
{
	uint8_t b[BLOCK] = {0};
	uint64_t was, end = d->size - block * BLOCK;

	if (digestfile_read(d, block, 1, &was))
		return -1;
	if (!was)
		return 0;
	ssize_t got = io_pread_full(image, b, end < BLOCK ? (size_t)end : BLOCK, block * BLOCK);
	uint64_t held = got < 0 ? 0 : digestfile_of(b);
	if (p)
		memcpy(b + at, p, n);
	else
		memset(b + at, 0, n);
	uint64_t v = digestfile_of(b);
	if (held != was && !d->again)
		return 0;
	if (held != was && v != was)
		v = 0;
	return digestfile_write(d, block, 1, &v);
}

static int put_whole(struct digestfile *d, uint64_t block, const uint8_t *p, uint64_t n)
{
	static const uint8_t zeroes[BLOCK];
	uint64_t v[BATCH], zero = p ? 0 : digestfile_of(zeroes);

	for (size_t k; n; block += k, n -= k) {
		k = n < BATCH ? (size_t)n : BATCH;
		for (size_t i = 0; i < k; i++, p = p ? p + BLOCK : p)
			v[i] = p ? digestfile_of(p) : zero;
		if (digestfile_write(d, block, k, v))
			return -1;
	}
	return 0;
}

static int put(struct digestfile *d, int image, uint64_t offset, const uint8_t *p, uint64_t n)
{
	while (n) {
		uint64_t block = offset / BLOCK, at = offset % BLOCK, k = n;
		// The last block ends where the replica does.
		bool whole = !at && (n >= BLOCK || offset + n == d->size);
		if (whole && n >= BLOCK) {
			k = n / BLOCK * BLOCK;
			if (put_whole(d, block, p, n / BLOCK))
				return -1;
		} else if (whole) {
			uint8_t last[BLOCK] = {0};
			if (p)
				memcpy(last, p, n);
			if (put_whole(d, block, last, 1))
				return -1;
		} else {
			k = BLOCK - at < n ? BLOCK - at : n;
			if (put_part(d, image, block, at, p, k))
				return -1;
		}
		offset += k;
		n -= k;
		p = p ? p + k : p;
	}
	return 0;
}

void digestfile_put(struct digestfile *d, int image, uint64_t offset, const void *bytes,
		    uint64_t length)
{
	if (!d->lost && put(d, image, offset, bytes, length))
		d->lost = errno ? errno : EIO;
}

void digestfile_resize(struct digestfile *d, uint64_t size)
{
	const uint64_t unknown = 0;

	// The last block is another one now.
	if (size != d->size && d->size % BLOCK && !d->lost &&
	    digestfile_write(d, d->size / BLOCK, 1, &unknown))
		d->lost = errno;
	d->size = size;
}
