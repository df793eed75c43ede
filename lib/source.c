// SPDX-License-Identifier: BSD-2-Clause
// Opening and checking what is read, and reading it ahead.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "source.h"

typedef unsigned long long ull;

enum { DIRECT_ALIGN = 4096 };

static int start_reading(struct source *s, uint32_t align, bool threads, struct fault *f)
{
	s->ahead = readahead_new(s->fd, align, threads);
	return s->ahead ? 0 : fault_errno(f, "%s: read ahead", s->name);
}

// The page cache of a device does not see what a file system writes below it: O_DIRECT.
static int open_device(struct source *s, bool threads, struct fault *f)
{
	s->is_device = true;
	s->size = s->dev.size;
	s->fd = blkdev_open(&s->dev, O_RDONLY | O_DIRECT, f);
	if (s->fd < 0)
		return -1;
	return start_reading(s, s->dev.logical_block, threads, f);
}

// What O_DIRECT wants of offsets and lengths in this file; 0: it cannot be read so.
static uint32_t direct_align(int fd)
{
#ifdef STATX_DIOALIGN
	struct statx x;

	if (!statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &x) && x.stx_mask & STATX_DIOALIGN)
		return x.stx_dio_mem_align <= DIRECT_ALIGN ? x.stx_dio_offset_align : 0;
#endif
	uint8_t probe[DIRECT_ALIGN] __attribute__((aligned(DIRECT_ALIGN)));

	return pread(fd, probe, sizeof(probe), 0) < 0 ? 0 : DIRECT_ALIGN;
}

static int open_file(struct source *s, const char *path, bool threads, struct fault *f)
{
	uint32_t align = 0;
	struct stat st;

	if (s->direct)
		s->fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
	if (s->fd >= 0)
		align = direct_align(s->fd);
	if (s->fd >= 0 && (!align || align > READAHEAD_MAX)) {
		close(s->fd);
		s->fd = -1;
	}
	if (s->fd < 0) {
		align = 1;
		s->fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (s->fd < 0 || fstat(s->fd, &st))
		return fault_errno(f, "%s: open", path);
	s->size = (uint64_t)st.st_size;
	return start_reading(s, align, threads, f);
}

int source_open(struct source *s, const char *path, bool threads, struct fault *f)
{
	struct stat st;

	snprintf(s->name, sizeof(s->name), "%s", path);
	if (stat(path, &st)) {
		fault_errno(f, "%s", path);
		if (errno == ENOENT || errno == ENOTDIR)
			f->code = BLX_TARGET;
		return -1;
	}
	if (S_ISREG(st.st_mode)) {
		if (open_file(s, path, threads, f))
			return -1;
	} else if (S_ISBLK(st.st_mode)) {
		if (blkdev_identify(path, &s->dev, f) || open_device(s, threads, f))
			return -1;
	} else {
		return fault_set(f, BLX_TARGET, "%s: neither a block device nor a file", path);
	}
	return s->size ? 0 : fault_set(f, BLX_TARGET, "%s: is empty", path);
}

static int differs(const struct source *s, const char *what, uint64_t is, uint64_t listed,
		   struct fault *f)
{
	return fault_set(f, BLX_TARGET, "%s: not the device of the list: %s is %llu, listed %llu",
			 s->name, what, (ull)is, (ull)listed);
}

static int check_identity(const struct source *s, const struct head *h, struct fault *f)
{
	const struct blkdev *d = &s->dev;

	if (d->major != h->major || d->minor != h->minor)
		return fault_set(f, BLX_TARGET,
				 "%s: not the device of the list: number is %u:%u, listed %u:%u",
				 s->name, d->major, d->minor, h->major, h->minor);
	if (h->diskseq && d->diskseq != h->diskseq)
		return differs(s, "diskseq", d->diskseq, h->diskseq, f);
	if (d->size != h->size)
		return differs(s, "size", d->size, h->size, f);
	if (d->start != h->start)
		return differs(s, "start", d->start, h->start, f);
	if (h->serial[0] && d->serial[0] && strcmp(h->serial, d->serial))
		return fault_set(f, BLX_TARGET,
				 "%s: not the device of the list: serial is %s, listed %s", s->name,
				 d->serial, h->serial);
	return 0;
}

int source_open_listed(struct source *s, const struct head *h, const char *path, bool threads,
		       struct fault *f)
{
	int bad = path ? blkdev_identify(path, &s->dev, f)
		       : blkdev_identify_number(h->major, h->minor, &s->dev, f);

	if (bad)
		return -1;
	if (path)
		snprintf(s->name, sizeof(s->name), "%s", path);
	else
		snprintf(s->name, sizeof(s->name), "/dev/%s", s->dev.name);
	if (check_identity(s, h, f))
		return -1;
	return s->fd >= 0 ? 0 : open_device(s, threads, f);
}

// A loop device would read the file, and what is written there.
static bool backed_by(const struct blkdev *d, const struct stat *file)
{
	char path[PATH_MAX];
	struct stat st;

	return !blkdev_attr(d, "loop/backing_file", path, sizeof(path)) && !stat(path, &st) &&
	       st.st_dev == file->st_dev && st.st_ino == file->st_ino;
}

bool source_is(const struct source *s, const struct stat *other)
{
	struct stat st;

	if (s->is_device)
		return S_ISBLK(other->st_mode)
			       ? other->st_rdev == makedev(s->dev.major, s->dev.minor)
			       : backed_by(&s->dev, other);
	return !fstat(s->fd, &st) && st.st_dev == other->st_dev && st.st_ino == other->st_ino;
}

void source_rewind(struct source *s)
{
	s->data = s->hole = 0;
}

// No data from OFFSET on: a hole, unless the file has been cut meanwhile.
static int hole_to_the_end(struct source *s, uint64_t offset, struct fault *f)
{
	struct stat st;

	if (fstat(s->fd, &st))
		return fault_errno(f, "%s: stat", s->name);
	if ((uint64_t)st.st_size < s->size)
		return fault_set(f, BLX_SYSTEM, "%s: read at %llu: it ends at %llu", s->name,
				 (ull)offset, (ull)st.st_size);
	s->data = s->hole = s->size;
	return 0;
}

// Where the data after OFFSET begins and ends.
static int look_for_holes(struct source *s, uint64_t offset, struct fault *f)
{
	off_t data = lseek(s->fd, (off_t)offset, SEEK_DATA);
	off_t hole = -1;

	if (data < 0 && errno == ENXIO)
		return hole_to_the_end(s, offset, f);
	if (data >= 0)
		hole = lseek(s->fd, data, SEEK_HOLE);
	if (hole < 0)
		return fault_errno(f, "%s: seek at %llu", s->name, (ull)offset);
	s->data = (uint64_t)data;
	s->hole = (uint64_t)hole;
	if (s->grain) {
		s->data &= ~(uint64_t)(s->grain - 1);
		s->hole = (s->hole + s->grain - 1) & ~(uint64_t)(s->grain - 1);
	}
	return 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

int source_queue(struct source *s, struct extent *e, struct fault *f)
{
	while (e->length) {
		uint64_t n = e->length;
		int room;

		if (!s->is_device && e->offset >= s->hole && look_for_holes(s, e->offset, f))
			return -1;
		if (!s->is_device && e->offset < s->data) {
			n = least(n, s->data - e->offset);
			room = readahead_put_hole(s->ahead, e->offset, n);
		} else {
			n = least(n, READAHEAD_MAX - e->offset % READAHEAD_MAX);
			if (!s->is_device)
				n = least(n, s->hole - e->offset);
			room = readahead_put(s->ahead, e->offset, (size_t)n);
		}
		if (!room)
			break;
		e->offset += n;
		e->length -= n;
	}
	return 0;
}

int source_next(struct source *s, struct readahead_chunk *c, struct fault *f)
{
	int got = readahead_get(s->ahead, c);

	if (got >= 0)
		return got;
	if (errno == ENODATA)
		return fault_set(f, BLX_SYSTEM, "%s: read at %llu: it ends before %llu", s->name,
				 (ull)c->offset, (ull)(c->offset + c->length));
	return fault_errno(f, "%s: read of %llu at %llu", s->name, (ull)c->length, (ull)c->offset);
}

void source_close(struct source *s)
{
	readahead_free(s->ahead);
	if (s->fd >= 0)
		close(s->fd);
	s->ahead = NULL;
	s->fd = -1;
}
