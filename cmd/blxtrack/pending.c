// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "die.h"
#include "fsmap.h"
#include "io.h"
#include "pending.h"

enum {
	RANGES_MAX = 4096,
	ENTRIES_MAX = 1024,
	BTRFS_RESERVED = 1 << 20, // for boot loaders, at the beginning of the file system
};

// [OFFSET, OFFSET + LENGTH) of FROM, as far as it lies on D.
static int add(struct extents *all, const struct blkdev *d, const struct blkdev *from,
	       uint64_t offset, uint64_t length, struct fault *f)
{
	uint64_t begin = from->start + offset, end = begin + length;

	if (from->disk_major != d->disk_major || from->disk_minor != d->disk_minor)
		return 0;
	begin = begin > d->start ? begin - d->start : 0;
	end = end > d->start ? end - d->start : 0;
	end = end < d->size ? end : d->size;
	if (begin < end && extents_add(all, (struct extent){begin, end - begin}, RANGES_MAX))
		return fault_errno(f, "%s: ranges that are pending", d->name);
	return 0;
}

static int add_file(struct extents *all, const struct blkdev *d, const char *path,
		    const struct blkdev *on, struct fault *f)
{
	struct extents ranges;

	if (fsmap_file(path, &ranges, f))
		return -1;
	int bad = 0;
	for (size_t i = 0; i < ranges.n && !bad; i++)
		bad = add(all, d, on, ranges.e[i].offset, ranges.e[i].length, f);
	extents_free(&ranges);
	return bad;
}

// As `save --map` prints it: of a file whose file system is not mounted any more.
static int add_map(struct extents *all, const struct blkdev *d, const char *map, struct fault *f)
{
	struct store s;

	int bad = store_find(&s, map, f);
	if (!bad && !s.raw)
		bad = fault_set(f, BLX_USAGE, "--pending %s: nothing of that name", map);
	for (size_t i = 0; !bad && i < s.at.n; i++)
		bad = add(all, d, &s.dev, s.at.e[i].offset, s.at.e[i].length, f);
	store_close(&s);
	return bad;
}

static int add_named(struct extents *all, const struct blkdev *d, const char *path, struct fault *f)
{
	struct blkdev on;
	struct stat st;

	if (stat(path, &st))
		return strchr(path, '@') ? add_map(all, d, path, f)
					 : fault_errno(f, "--pending %s", path);
	if (S_ISBLK(st.st_mode))
		return blkdev_identify(path, &on, f) || add(all, d, &on, 0, on.size, f) ? -1 : 0;
	int found = fsmap_device(path, &on, f);
	if (found <= 0)
		return found;
	if (fsmap_below(&on, d) == BELOW_THROUGH)
		return fault_set(f, BLX_TARGET,
				 "--pending %s: lies on %s through %s: name a partition", path,
				 d->name, on.name);
	return add_file(all, d, path, &on, f);
}

// ---- boot loaders

// GRUB writes its environment in place, by the blocks that the file has. 1: it was found, wherever.
static int add_grubenv(struct extents *all, const struct blkdev *d, struct fault *f)
{
	static const char *const paths[] = {"/boot/grub/grubenv", "/boot/grub2/grubenv"};
	struct blkdev on;
	int found = 0;

	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		if (access(paths[i], F_OK))
			continue;
		found = 1;
		int bad = fsmap_device(paths[i], &on, f);
		if (bad < 0)
			return -1;
		// above device-mapper and the like it only reads
		if (!bad || fsmap_below(&on, d) != BELOW_DIRECT)
			continue;
		if (add_file(all, d, paths[i], &on, f) && add(all, d, &on, 0, BTRFS_RESERVED, f))
			return -1;
	}
	return found;
}

struct table {
	const struct blkdev *d;
	int fd;
	uint8_t *buf; // 4096 bytes, aligned to them
	bool boots;   // a boot loader is there
};

static int read_block(struct table *t, uint64_t at, struct fault *f)
{
	ssize_t n = io_pread_full(t->fd, t->buf, 4096, at);

	if (n < 0)
		return fault_errno(f, "%s: read at %" PRIu64, t->d->name, at);
	memset(t->buf + n, 0, 4096 - (size_t)n);
	return 0;
}

// The EFI system partition: what firmware may write to.
static int read_gpt(struct table *t, struct extents *all, struct fault *f)
{
	static const uint8_t efi[16] = {0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11,
					0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b};
	const uint64_t block = t->d->logical_block;

	if (read_block(t, block, f))
		return -1;
	if (memcmp(t->buf, "EFI PART", 8))
		return 0;
	uint64_t at = get_le64(t->buf + 72) * block;
	uint32_t n = get_le32(t->buf + 80), size = get_le32(t->buf + 84);
	if (n > ENTRIES_MAX || size < 128 || 4096 % size)
		return fault_set(f, BLX_TARGET, "%s: its partition table is not understood",
				 t->d->name);
	for (uint32_t i = 0; i < n; i++) {
		uint64_t entry = (uint64_t)i * size;
		if (entry % 4096 == 0 && read_block(t, at + entry, f))
			return -1;
		const uint8_t *e = t->buf + entry % 4096;
		if (memcmp(e, efi, sizeof(efi)))
			continue;
		uint64_t first = get_le64(e + 32), last = get_le64(e + 40);
		t->boots = true;
		if (last < first || last >= t->d->size / block ||
		    add(all, t->d, t->d, first * block, (last - first + 1) * block, f))
			return last < first || last >= t->d->size / block
				       ? fault_set(f, BLX_TARGET,
						   "%s: its partition table is not understood",
						   t->d->name)
				       : -1;
	}
	return 0;
}

static int read_mbr(struct table *t, struct extents *all, struct fault *f)
{
	enum { TABLE = 446, ENTRY = 16, EFI = 0xef };

	if (read_block(t, 0, f))
		return -1;
	if (t->buf[510] != 0x55 || t->buf[511] != 0xaa)
		return 0;
	t->boots = memmem(t->buf, TABLE, "GRUB", 4);
	for (const uint8_t *e = t->buf + TABLE; e < t->buf + 510; e += ENTRY) {
		if (e[4] != EFI)
			continue;
		t->boots = true;
		if (add(all, t->d, t->d, (uint64_t)get_le32(e + 8) * t->d->logical_block,
			(uint64_t)get_le32(e + 12) * t->d->logical_block, f))
			return -1;
	}
	return 0;
}

// 1: the disk has a boot loader.
static int read_tables(const struct blkdev *d, struct extents *all, struct fault *f)
{
	struct table t = {.d = d, .buf = aligned_alloc(4096, 4096)};

	if (!t.buf)
		return fault_errno(f, "%s: partition table", d->name);
	t.fd = blkdev_open(d, O_RDONLY | O_DIRECT, f);
	int bad = t.fd < 0 || read_mbr(&t, all, f) || read_gpt(&t, all, f);
	if (t.fd >= 0)
		close(t.fd);
	free(t.buf);
	return bad ? -1 : t.boots;
}

int pending_find(const struct blkdev *d, char *const *paths, size_t n, const struct store *on,
		 struct extents *all, struct fault *f)
{
	*all = (struct extents){0};
	for (size_t i = 0; i < n; i++) {
		size_t before = all->n;
		if (add_named(all, d, paths[i], f))
			return -1;
		if (all->n == before)
			warn("--pending %s: does not lie on %s", paths[i], d->name);
	}
	bool named = all->n;
	for (size_t i = 0; on && i < on->at.n; i++)
		if (add(all, d, &on->dev, on->at.e[i].offset, on->at.e[i].length, f))
			return -1;
	int boots = d->partition ? 0 : read_tables(d, all, f);
	int found = boots < 0 ? -1 : add_grubenv(all, d, f);
	if (found < 0)
		return -1;
	if (boots && !found && !named)
		return fault_set(f, BLX_USAGE,
				 "%s has a boot loader, which may write before anything is "
				 "tracked: name its file or partition with --pending (GRUB: the "
				 "partition of /boot)",
				 d->name);
	return 0;
}
