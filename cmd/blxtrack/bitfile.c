// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bitfile.h"
#include "bytes.h"
#include "check.h"
#include "io.h"
#include "state.h"

#define MAGIC "BLXDELT2"
enum { PAGE = 4096, RECORDS_MAX = 1 << 22, HEAD = 64, HEAD_CHECK = HEAD - 8 };

static uint64_t records_at(const struct bitfile *b)
{
	return PAGE + (b->words * 8 + PAGE - 1) / PAGE * PAGE;
}

int bitfile_create(struct bitfile *b, int dirfd, const char *name, uint64_t blocks, uint64_t words,
		   struct fault *f)
{
	*b = (struct bitfile){
		.blocks = blocks, .words = words, .mix = 0x9e3779b97f4a7c15, .checked = true};
	snprintf(b->what, sizeof(b->what), STATE_DIR ": %s", name ? name : "bitmap");
	b->fd = name ? openat(dirfd, name, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
			      0600)
		     : openat(dirfd, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	return b->fd < 0 ? fault_errno(f, "%s: create", b->what) : 0;
}

int bitfile_put(struct bitfile *b, uint64_t first, const uint64_t *words, size_t n, struct fault *f)
{
	uint8_t page[BITFILE_CHUNK * 8];

	for (size_t i = 0; i < n; i++) {
		put_le64(page + 8 * i, words[i]);
		b->set += (uint64_t)__builtin_popcountll(words[i]);
		b->mix = (b->mix ^ words[i]) * 0xff51afd7ed558ccd;
		b->mix ^= b->mix >> 32;
	}
	if (io_pwrite_full(b->fd, page, n * 8, PAGE + first * 8))
		return fault_errno(f, "%s: write at %" PRIu64, b->what, PAGE + first * 8);
	return 0;
}

static bool is_zero(const uint8_t *p, size_t n)
{
	return !p[0] && !memcmp(p, p + 1, n - 1);
}

// The bitmap's check. Of a file that was cut within data: -1, errno EBADMSG.
static int sum_pages(const struct bitfile *b, uint64_t *sum)
{
	uint64_t end = PAGE + b->words * 8;
	uint8_t page[8 + PAGE];

	*sum = 0;
	for (uint64_t at = PAGE; at < end; at += PAGE) {
		off_t data = lseek(b->fd, (off_t)at, SEEK_DATA);
		if (data < 0)
			return errno == ENXIO ? 0 : -1;
		if ((uint64_t)data >= end)
			return 0;
		at = (uint64_t)data / PAGE * PAGE;
		size_t n = end - at < PAGE ? (size_t)(end - at) : PAGE;
		ssize_t got = io_pread_full(b->fd, page + 8, n, at);
		if (got >= 0 && got < (ssize_t)n)
			errno = EBADMSG;
		if (got < (ssize_t)n)
			return -1;
		put_le64(page, at / PAGE);
		if (!is_zero(page + 8, n))
			*sum = check_of(page, 8 + n, *sum);
	}
	return 0;
}

int bitfile_end(struct bitfile *b, const void *records, uint32_t n, size_t size, struct fault *f)
{
	uint8_t head[HEAD] = MAGIC;
	uint64_t sum;

	if (sum_pages(b, &sum))
		return fault_errno(f, "%s: read", b->what);
	put_le64(head + 8, b->blocks);
	put_le64(head + 16, b->words);
	put_le64(head + 24, b->set);
	put_le32(head + 32, n);
	put_le64(head + 40, sum);
	put_le64(head + 48, check_of(records, n * size, 0));
	put_le64(head + HEAD_CHECK, check_of(head, HEAD_CHECK, 0));
	if (io_pwrite_full(b->fd, head, sizeof(head), 0) ||
	    io_pwrite_full(b->fd, records, n * size, records_at(b)))
		return fault_errno(f, "%s: write its records", b->what);
	return 0;
}

int bitfile_open(struct bitfile *b, int dirfd, const char *name, const char *what, struct fault *f)
{
	uint8_t head[HEAD] = {0};

	*b = (struct bitfile){0};
	snprintf(b->what, sizeof(b->what), "%s", what);
	b->fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (b->fd < 0)
		return errno == ENOENT ? fault_set(f, BLX_RESYNC, "%s: gone", what)
				       : fault_errno(f, "%s", what);
	bool whole = io_pread_full(b->fd, head, sizeof(head), 0) == sizeof(head) &&
		     !memcmp(head, MAGIC, 8) &&
		     get_le64(head + HEAD_CHECK) == check_of(head, HEAD_CHECK, 0);
	b->blocks = get_le64(head + 8);
	b->words = get_le64(head + 16);
	b->set = get_le64(head + 24);
	b->records = get_le32(head + 32);
	b->bits_check = get_le64(head + 40);
	b->records_check = get_le64(head + 48);
	if (whole && b->records <= RECORDS_MAX && b->words <= UINT32_MAX)
		return 0;
	bitfile_close(b);
	return fault_set(f, BLX_RESYNC, "%s: damaged", what);
}

int bitfile_records(const struct bitfile *b, void *records, size_t size, struct fault *f)
{
	size_t n = b->records * size;

	return io_pread_full(b->fd, records, n, records_at(b)) == (ssize_t)n &&
			       check_of(records, n, 0) == b->records_check
		       ? 0
		       : fault_set(f, BLX_RESYNC, "%s: damaged", b->what);
}

int bitfile_check(struct bitfile *b, struct fault *f)
{
	uint64_t sum = 0;

	if (b->checked)
		return 0;
	bool read = !sum_pages(b, &sum);
	if (!read && errno != EBADMSG)
		return fault_errno(f, "%s: read", b->what);
	b->checked = read && sum == b->bits_check;
	return b->checked ? 0 : fault_set(f, BLX_RESYNC, "%s: damaged", b->what);
}

int bitfile_or(struct bitfile *b, uint64_t first, uint64_t *out, size_t n, struct fault *f)
{
	uint8_t raw[BITFILE_CHUNK * 8];
	uint64_t at = PAGE + first * 8, end = PAGE + b->words * 8;

	if (bitfile_check(b, f))
		return -1;
	if (at >= end)
		return 0;
	if (at + n * 8 > end)
		n = (end - at) / 8;
	if (b->data_at < at) {
		off_t next = lseek(b->fd, (off_t)at, SEEK_DATA);
		if (next < 0 && errno != ENXIO)
			return fault_errno(f, "%s: seek", b->what);
		b->data_at = next < 0 ? UINT64_MAX : (uint64_t)next;
	}
	if (b->data_at >= at + n * 8)
		return 0;
	if (io_pread_full(b->fd, raw, n * 8, at) != (ssize_t)(n * 8))
		return fault_errno(f, "%s: read at %" PRIu64, b->what, at);
	for (size_t i = 0; i < n; i++)
		out[i] |= get_le64(raw + 8 * i);
	return 0;
}

void bitfile_close(struct bitfile *b)
{
	if (b->fd >= 0)
		close(b->fd);
	b->fd = -1;
}
