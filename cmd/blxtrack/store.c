// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "check.h"
#include "file.h"
#include "fsmap.h"
#include "io.h"
#include "num.h"
#include "store.h"

enum { RANGES_MAX = 1 << 16 };

static const struct store nothing = {.fd = -1, .room = UINT64_MAX};

static int take_device(struct store *s, const char *path, struct fault *f)
{
	if (blkdev_identify(path, &s->dev, f))
		return -1;
	s->raw = true;
	return 0;
}

static int add_range(struct store *s, uint64_t offset, uint64_t length, struct fault *f)
{
	if (offset % STORE_PAGE || length % STORE_PAGE || !length || offset > s->dev.size ||
	    length > s->dev.size - offset)
		return fault_set(f, BLX_USAGE,
				 "%s: %" PRIu64 "+%" PRIu64 " is no range of whole pages of %s",
				 s->name, offset, length, s->dev.name);
	if (extents_add(&s->at, (struct extent){offset, length}, RANGES_MAX))
		return fault_errno(f, "%s", s->name);
	s->room += length;
	return 0;
}

// OFFSET+LENGTH[,OFFSET+LENGTH...]
static int parse_ranges(struct store *s, char *text, struct fault *f)
{
	char *rest = text, *word, *plus;
	uint64_t offset, length;

	s->room = 0;
	while ((word = strtok_r(rest, ",", &rest))) {
		if (!(plus = strchr(word, '+')))
			return fault_set(f, BLX_USAGE, "%s: OFFSET+LENGTH is expected after @",
					 s->name);
		*plus = 0;
		if (num_u64(word, &offset) || num_u64(plus + 1, &length))
			return fault_set(f, BLX_USAGE, "%s: not numbers after @", s->name);
		if (add_range(s, offset, length, f))
			return -1;
	}
	return s->room ? 0 : fault_set(f, BLX_USAGE, "%s: no range after @", s->name);
}

int store_find(struct store *s, const char *name, struct fault *f)
{
	char path[STORE_NAME];
	struct stat st;

	*s = nothing;
	if (!*name || strlen(name) + sizeof(".new") > sizeof(s->name))
		return fault_set(f, BLX_USAGE, "the name of the saved state is %s",
				 *name ? "too long" : "empty");
	strcpy(s->name, name);
	bool there = !stat(name, &st);
	if (there && S_ISBLK(st.st_mode)) {
		s->room = 0;
		s->whole = true;
		return take_device(s, name, f) ||
				       add_range(s, 0, s->dev.size / STORE_PAGE * STORE_PAGE, f)
			       ? -1
			       : 0;
	}
	if (there && !S_ISREG(st.st_mode))
		return fault_set(f, BLX_TARGET, "%s: neither a file nor a block device", name);
	strcpy(path, name);
	char *at = strrchr(path, '@');
	if (at) {
		*at = 0;
		if (!stat(path, &st) && S_ISBLK(st.st_mode))
			return take_device(s, path, f) || parse_ranges(s, at + 1, f) ? -1 : 0;
	}
	return 0;
}

int store_map(struct store *s, const char *file, const struct blkdev *dev, struct fault *f)
{
	struct extents all;

	*s = nothing;
	snprintf(s->name, sizeof(s->name), "%s", file);
	s->raw = true;
	s->dev = *dev;
	s->room = 0;
	if (fsmap_file(file, &all, f))
		return -1;
	int bad = 0;
	// what is no whole page, on a file system with small blocks, is left alone
	for (size_t i = 0; i < all.n && !bad; i++) {
		uint64_t from = (all.e[i].offset + STORE_PAGE - 1) / STORE_PAGE * STORE_PAGE;
		uint64_t end = (all.e[i].offset + all.e[i].length) / STORE_PAGE * STORE_PAGE;
		if (from < end)
			bad = add_range(s, from, end - from, f);
	}
	extents_free(&all);
	if (!bad && !s->room)
		return fault_set(f, BLX_TARGET,
				 "%s: holds no whole page of its disk: allocate more", file);
	return bad;
}

int store_spell(const struct store *s, char *text, size_t n, struct fault *f)
{
	if (!s->raw) {
		snprintf(text, n, "%s", s->name);
		return 0;
	}
	size_t have = (size_t)snprintf(text, n, "/dev/%s", s->dev.name);
	for (size_t i = 0; i < s->at.n && have < n; i++)
		have += (size_t)snprintf(text + have, n - have, "%c%" PRIu64 "+%" PRIu64,
					 i ? ',' : '@', s->at.e[i].offset, s->at.e[i].length);
	return have < n
		       ? 0
		       : fault_set(f, BLX_TARGET, "%s: in too many pieces (%zu)", s->name, s->at.n);
}

void store_close(struct store *s)
{
	if (s->fd >= 0)
		close(s->fd);
	extents_free(&s->at);
	*s = nothing;
}

// What names a whole disk or partition must not cost what is on it.
int store_check(const struct store *s, const struct blkdev *saved, struct fault *f)
{
	static _Alignas(STORE_PAGE) uint8_t page[STORE_PAGE];
	size_t i = 0;

	if (!s->whole)
		return 0;
	if (s->dev.major == saved->major && s->dev.minor == saved->minor)
		return fault_set(f, BLX_TARGET, "%s: is the device that is to be saved", s->name);
	int fd = blkdev_open(&s->dev, O_RDONLY | O_EXCL | O_DIRECT, f);
	if (fd < 0)
		return errno == EBUSY ? fault_set(f, BLX_BUSY, "%s: is in use", s->name) : -1;
	ssize_t n = io_pread_full(fd, page, sizeof(page), 0);
	close(fd);
	if (n != STORE_PAGE)
		return fault_errno(f, "%s: read at 0", s->name);
	while (i < STORE_PAGE && !page[i])
		i++;
	return i == STORE_PAGE || !memcmp(page, STORE_MAGIC, 8)
		       ? 0
		       : fault_set(f, BLX_TARGET,
				   "%s: holds something else: if nobody needs that, make its first "
				   "pages zero (wipefs -a, or dd)",
				   s->name);
}

static void beside(const struct store *s, char *path, size_t n)
{
	snprintf(path, n, "%.*s.new", STORE_NAME - 8, s->name);
}

// The directories of the default place.
static int make_parents(const char *path, struct fault *f)
{
	char dir[STORE_NAME];

	for (const char *p = path; (p = strchr(p + 1, '/'));) {
		snprintf(dir, sizeof(dir), "%.*s", (int)(p - path), path);
		if (mkdir(dir, 0700) && errno != EEXIST)
			return fault_errno(f, "%s: create", dir);
	}
	return 0;
}

int store_begin(struct store *s, struct fault *f)
{
	static _Alignas(STORE_PAGE) const uint8_t zero[STORE_PAGE];
	char path[STORE_NAME], dir[STORE_NAME];

	if (s->raw) {
		s->fd = blkdev_open(&s->dev, O_RDWR | O_DIRECT, f);
		return s->fd < 0 || store_write(s, zero, sizeof(zero), 0, f) || store_sync(s, f)
			       ? -1
			       : 0;
	}
	beside(s, path, sizeof(path));
	if (make_parents(path, f))
		return -1;
	// what an earlier save left must not be found after a kill of this one
	strcpy(dir, s->name);
	if ((unlink(s->name) && errno != ENOENT) || file_sync_dir(dirname(dir)))
		return fault_errno(f, "%s: remove", s->name);
	s->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	s->replaces = true;
	return s->fd < 0 ? fault_errno(f, "%s: create", path) : 0;
}

int store_open(struct store *s, struct fault *f)
{
	if (s->raw) {
		s->fd = blkdev_open(&s->dev, O_RDWR | O_DIRECT, f);
		return s->fd < 0 ? -1 : 0;
	}
	s->fd = open(s->name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (s->fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 1;
	return s->fd < 0 ? fault_errno(f, "%s", s->name) : 0;
}

// The piece of [OFF, OFF + N) that lies in one range, and where on the device that is.
static size_t piece(const struct store *s, uint64_t off, size_t n, uint64_t *at)
{
	*at = off;
	if (!s->raw)
		return n;
	for (size_t i = 0; i < s->at.n; i++) {
		uint64_t length = s->at.e[i].length;
		if (off < length) {
			*at = s->at.e[i].offset + off;
			return length - off < n ? (size_t)(length - off) : n;
		}
		off -= length;
	}
	return 0;
}

int store_write(struct store *s, const void *buf, size_t n, uint64_t off, struct fault *f)
{
	for (size_t done = 0, part; done < n; done += part) {
		uint64_t at;
		part = piece(s, off + done, n - done, &at);
		if (!part)
			return fault_set(f, BLX_SYSTEM,
					 "%s: has room for %" PRIu64 " bytes only: more is to be "
					 "saved",
					 s->name, s->room);
		if (io_pwrite_full(s->fd, (const uint8_t *)buf + done, part, at))
			return fault_errno(f, "%s: write at %" PRIu64, s->name, off + done);
	}
	return 0;
}

ssize_t store_read(const struct store *s, void *buf, size_t n, uint64_t off, struct fault *f)
{
	size_t done = 0;

	while (done < n) {
		uint64_t at;
		size_t part = piece(s, off + done, n - done, &at);
		ssize_t r = part ? io_pread_full(s->fd, (uint8_t *)buf + done, part, at) : 0;
		if (r < 0)
			return fault_errno(f, "%s: read at %" PRIu64, s->name, off + done);
		done += (size_t)r;
		if ((size_t)r < part || !part)
			break;
	}
	return (ssize_t)done;
}

int store_sync(const struct store *s, struct fault *f)
{
	return fsync(s->fd) ? fault_errno(f, "%s: fsync", s->name) : 0;
}

int store_end(struct store *s, struct fault *f)
{
	char path[STORE_NAME], dir[STORE_NAME];

	if (store_sync(s, f))
		return -1;
	if (!s->replaces)
		return 0;
	beside(s, path, sizeof(path));
	if (rename(path, s->name))
		return fault_errno(f, "%s: rename", path);
	strcpy(dir, s->name);
	return file_sync_dir(dirname(dir)) ? fault_errno(f, "%s: fsync its directory", s->name) : 0;
}

// A file is known by its path and inode: neither a copy nor one that was moved is what was saved.
static uint64_t place_of_file(const struct store *s)
{
	char dir[STORE_NAME], base[STORE_NAME], path[PATH_MAX];
	struct stat st;
	uint8_t raw[8];

	strcpy(dir, s->name);
	strcpy(base, s->name);
	if (fstat(s->fd, &st) || !realpath(dirname(dir), path))
		return 0;
	const char *name = basename(base);
	put_le64(raw, st.st_ino);
	return check_of(name, strlen(name), check_of(path, strlen(path), check_of(raw, 8, 1)));
}

uint64_t store_place(const struct store *s)
{
	uint64_t sum = 1;
	uint8_t raw[16];

	if (!s->raw)
		return place_of_file(s);
	// on the disk: a partition may be found as one, or as a part of it
	for (size_t i = 0; i < s->at.n; i++) {
		put_le64(raw, s->dev.start + s->at.e[i].offset);
		put_le64(raw + 8, s->at.e[i].length);
		sum = check_of(raw, sizeof(raw), sum);
	}
	return sum;
}
