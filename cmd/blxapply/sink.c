// SPDX-License-Identifier: BSD-2-Clause
// Bytes and zeroes into an image or a block device. Zeroes become holes where that is possible, and
// never a discard: after a discard a device may return the old data.
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apply.h"
#include "io.h"

enum { ALIGN = 4096, ZEROOUT_MAX = 1 << 30 };

static int failed(const struct sink *s, const char *what, uint64_t offset, struct fault *f)
{
	return fault_errno(f, "%s: %s at %llu", s->name, what, (unsigned long long)offset);
}

static int write_at(const struct sink *s, uint64_t offset, const void *buf, size_t n,
		    struct fault *f)
{
	return io_pwrite_full(s->fd, buf, n, offset) ? failed(s, "write", offset, f) : 0;
}

static int write_zeroes(const struct sink *s, uint64_t offset, uint64_t n, struct fault *f)
{
	static const uint8_t zeroes[64 * 1024];

	while (n) {
		size_t part = n < sizeof(zeroes) ? (size_t)n : sizeof(zeroes);
		if (write_at(s, offset, zeroes, part, f))
			return -1;
		offset += part;
		n -= part;
	}
	return 0;
}

// BLKZEROOUT wants whole logical blocks; pieces, so that the kernel can be interrupted.
static int zero_block(const struct sink *s, uint64_t offset, uint64_t end, struct fault *f)
{
	uint64_t a = (offset + ALIGN - 1) / ALIGN * ALIGN, b = end / ALIGN * ALIGN;

	if (a >= b)
		return write_zeroes(s, offset, end - offset, f);
	if (write_zeroes(s, offset, a - offset, f))
		return -1;
	while (a < b) {
		uint64_t range[2] = {a, b - a < ZEROOUT_MAX ? b - a : ZEROOUT_MAX};
		if (ioctl(s->fd, BLKZEROOUT, range))
			return failed(s, "zero", a, f);
		a += range[1];
	}
	return write_zeroes(s, b, end - b, f);
}

static int zero_file(const struct sink *s, uint64_t offset, uint64_t n, struct fault *f)
{
	if (!fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)n))
		return 0;
	if (errno != EOPNOTSUPP && errno != ENOSYS)
		return failed(s, "punch a hole", offset, f);
	return write_zeroes(s, offset, n, f);
}

int sink_frame(const struct sink *s, const struct frame *fr, struct fault *f)
{
	if (s->digests)
		digestfile_put(s->digests, s->fd, fr->offset,
			       fr->type == FRAME_DATA ? fr->payload : NULL, fr->length);
	if (fr->type == FRAME_DATA)
		return write_at(s, fr->offset, fr->payload, fr->payload_len, f);
	if (s->block)
		return zero_block(s, fr->offset, fr->offset + fr->length, f);
	return zero_file(s, fr->offset, fr->length, f);
}

// The search for a hole may look at every page or extent up to it: once, not for every frame.
bool sink_lacks(const struct sink *s, const struct frame *fr, uint64_t *dense)
{
	if (fr->type != FRAME_DATA || fr->offset + fr->length <= *dense)
		return false;
	off_t hole = lseek(s->fd, (off_t)fr->offset, SEEK_HOLE);
	if (hole < 0)
		return true;
	*dense = (uint64_t)hole;
	return *dense < fr->offset + fr->length;
}

int sink_reserve(const struct sink *s, const struct frame *fr, struct fault *f)
{
	while (fallocate(s->fd, FALLOC_FL_KEEP_SIZE, (off_t)fr->offset, (off_t)fr->length))
		if (errno == EOPNOTSUPP || errno == ENOSYS)
			return 0;
		else if (errno != EINTR)
			return failed(s, "reserve room", fr->offset, f);
	return 0;
}

int sink_resize(const struct sink *s, uint64_t size, struct fault *f)
{
	return ftruncate(s->fd, (off_t)size) ? failed(s, "set the size", size, f) : 0;
}

int sink_extend(const struct sink *s, uint64_t size, struct fault *f)
{
	struct stat st;

	if (fstat(s->fd, &st))
		return fault_errno(f, "%s: stat", s->name);
	return (uint64_t)st.st_size < size ? sink_resize(s, size, f) : 0;
}

int sink_sync(const struct sink *s, struct fault *f)
{
	return fsync(s->fd) ? fault_errno(f, "%s: fsync", s->name) : 0;
}
