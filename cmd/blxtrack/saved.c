// SPDX-License-Identifier: BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "fsmap.h"
#include "kv.h"
#include "num.h"
#include "saved.h"

#define RECORD "stored" // in the device's directory, for as long as this boot lasts

void saved_place(const struct blkdev *d, char *path, size_t n)
{
	const char *root = getenv("BLX_STATE_DIR");
	char id[BLKDEV_ID];

	blkdev_id(d, id);
	snprintf(path, n, "%s/saved/%s", root && *root ? root : "/var/lib/blx", id);
}

static size_t read_line(const char *path, char *buf, size_t n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? 0 : read(fd, buf, n - 1);

	if (fd >= 0)
		close(fd);
	buf[got > 0 ? got : 0] = 0;
	buf[strcspn(buf, "\n")] = 0;
	return strlen(buf);
}

// What the firmware says of the machine. A copy of a virtual machine has another uuid.
void saved_machine(char text[MACHINE_TEXT])
{
	static const char *const paths[] = {
		"/sys/class/dmi/id/product_uuid", "/sys/class/dmi/id/product_serial",
		"/sys/class/dmi/id/board_serial", "/sys/firmware/devicetree/base/serial-number"};
	char line[256];
	uint64_t sum = 0;
	bool any = false;

	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		size_t n = read_line(paths[i], line, sizeof(line));
		any |= n;
		sum = check_of(line, n + 1, sum);
	}
	snprintf(text, MACHINE_TEXT, "%0*" PRIx64, any ? 16 : 0, any ? sum : 0);
	if (!any)
		text[0] = 0;
}

int saved_boot(char text[BOOT_TEXT], struct fault *f)
{
	static const char path[] = "/proc/sys/kernel/random/boot_id";

	if (!read_line(path, text, BOOT_TEXT))
		return fault_set(f, BLX_SYSTEM, "%s: cannot be read", path);
	return 0;
}

// Sectors written and discarded, as NAME below DIR counts them. -1: not to be read.
static int count_sectors(const char *dir, const char *name, uint64_t *sectors)
{
	char path[512], text[512], *rest = text, *word;
	uint64_t v;

	*sectors = 0;
	snprintf(path, sizeof(path), "%s/%.64s/stat", dir, name);
	if (!read_line(path, text, sizeof(text)))
		return -1;
	for (int i = 0; (word = strtok_r(rest, " ", &rest)); i++) {
		if (i != 6 && i != 13)
			continue;
		if (num_u64(word, &v))
			return -1;
		*sectors += v;
	}
	return 0;
}

static int count_partitions(const char *disk, uint64_t *sectors)
{
	DIR *dir = opendir(disk);
	struct dirent *e;
	int bad = dir ? 0 : -1;

	*sectors = 0;
	while (!bad && (e = readdir(dir))) {
		char path[512];
		uint64_t v;
		snprintf(path, sizeof(path), "%s/%.64s/partition", disk, e->d_name);
		if (e->d_name[0] == '.' || access(path, F_OK))
			continue;
		bad = count_sectors(disk, e->d_name, &v);
		*sectors += v;
	}
	if (dir)
		closedir(dir);
	return bad;
}

// What was written to the disk, and not to a partition of it, may have gone anywhere. The figures
// are not of one instant: those of the partitions must stand still meanwhile.
static int count_around(const char *disk, uint64_t *sectors)
{
	enum { TRIES = 100, PAUSE_NS = 10000000 };
	uint64_t before, all, after;

	for (int i = 0; i < TRIES; i++) {
		if (count_partitions(disk, &before) || count_sectors(disk, "", &all) ||
		    count_partitions(disk, &after))
			return -1;
		*sectors = all - after;
		if (before == after)
			return 0;
		nanosleep(&(struct timespec){0, PAUSE_NS}, NULL);
	}
	return -1;
}

int saved_written(const struct blkdev *d, uint64_t *sectors, struct fault *f)
{
	char own[64], disk[64], text[16];
	uint64_t around = 0;

	*sectors = 0;
	if (!blkdev_attr(d, "queue/iostats", text, sizeof(text)) && !strcmp(text, "0"))
		return fault_set(f, BLX_TARGET,
				 "its statistics are off (queue/iostats): whether it was written "
				 "to cannot be known");
	snprintf(own, sizeof(own), "/sys/dev/block/%u:%u", d->major, d->minor);
	snprintf(disk, sizeof(disk), "/sys/dev/block/%u:%u", d->disk_major, d->disk_minor);
	if (count_sectors(own, "", sectors) || (d->partition && count_around(disk, &around)))
		return fault_set(f, BLX_TARGET,
				 "its statistics (%s/stat) cannot be read, or do not stand still",
				 own);
	*sectors += around;
	return 0;
}

int saved_read_only(const struct blkdev *d, const bool *set, bool *was, struct fault *f)
{
	int value = set && *set, fd = blkdev_open(d, O_RDONLY, f), bad = 0;

	if (fd < 0)
		return -1;
	if (set && ioctl(fd, BLKROSET, &value))
		bad = fault_errno(f, "%s: make it %s", d->name,
				  *set ? "read-only" : "writable again");
	if (!bad && was && ioctl(fd, BLKROGET, &value))
		bad = fault_errno(f, "%s: BLKROGET", d->name);
	if (was)
		*was = value;
	close(fd);
	return bad;
}

// ---- in the boot that saved

// What the store is told from another by that is found under its name: a disk that took the number
// of one that is gone, a directory without the file system that was mounted there.
static int home_of(const struct store *s, uint64_t *home, struct fault *f)
{
	dev_t dev;

	*home = s->dev.diskseq;
	if (s->raw)
		return 0;
	if (fsmap_home(s->name, &dev))
		return fault_errno(f, "%s", s->name);
	*home = dev;
	return 0;
}

// As store_find() takes it, from whatever directory.
static int spell(const struct store *s, char *text, size_t n, struct fault *f)
{
	if (s->raw || s->name[0] == '/')
		return store_spell(s, text, n, f);
	if (!getcwd(text, n))
		return fault_errno(f, "%s: the working directory", s->name);
	size_t have = strlen(text);
	if ((size_t)snprintf(text + have, n - have, "/%s", s->name) >= n - have)
		return fault_set(f, BLX_USAGE, "%s: its path is too long", s->name);
	return 0;
}

int saved_remember(const struct tracked *t, const struct store *s, bool written, bool read_only,
		   struct fault *f)
{
	char text[STORE_NAME];
	struct kv_out o;
	uint64_t home;

	if (spell(s, text, sizeof(text), f) || home_of(s, &home, f) || kv_begin(&o, f))
		return -1;
	fprintf(o.to, "store: %s\nraw: %d\nhome: %" PRIu64 "\nwritten: %d\nread-only: %d\n", text,
		s->raw, home, written, read_only);
	return kv_end(&o, t->dirfd, RECORD, f);
}

// What saved_remember() was given.
struct record {
	char store[STORE_NAME];
	uint64_t home;
	bool raw, written, read_only;
};

static int recall(struct record *r, const struct tracked *t, struct fault *f)
{
	struct kv kv;

	if (kv_load(&kv, t->dirfd, RECORD, f))
		return -1;
	kv_copy(&kv, "store", r->store, sizeof(r->store));
	r->home = kv_u64(&kv, "home");
	r->raw = kv_u64(&kv, "raw");
	r->written = kv_u64(&kv, "written");
	r->read_only = kv_u64(&kv, "read-only");
	int bad = kv_check(&kv, f);
	kv_free(&kv);
	return bad;
}

static int forget(const struct tracked *t, struct fault *f)
{
	if (unlinkat(t->dirfd, RECORD, 0))
		return fault_errno(f, "%s: %s: remove", t->dev.name, RECORD);
	return 0;
}

bool saved_is(const struct tracked *t)
{
	return !faccessat(t->dirfd, RECORD, F_OK, 0);
}

int saved_refuse(const struct tracked *t, struct fault *f)
{
	return saved_is(t) ? fault_set(f, BLX_BUSY,
				       "%s: was saved for a reboot; 'blxtrack start /dev/%s' takes "
				       "it back",
				       t->dev.name, t->dev.name)
			   : 0;
}

// What is there; what is damaged nobody can use. Where nothing is found, the store must be the one
// that was written to, and a file that was written may come back.
static int look_back(struct store *s, const struct tracked *t, const struct record *r,
		     enum archive *what, struct fault *f)
{
	struct fault why;
	uint64_t now;
	int bad = archive_look(s, what, &why);

	if (bad && why.code != BLX_CORRUPT) {
		*f = why;
		return -1;
	}
	if (!bad && !r->raw && !s->raw && *what != ARCHIVE_NONE)
		return 0;
	if (s->raw != r->raw || home_of(s, &now, f) || now != r->home)
		return fault_set(f, BLX_SYSTEM,
				 "%s: what was saved there cannot be used up: its disk, or file "
				 "system, is not there any more",
				 s->name);
	if (!bad)
		fault_set(&why, BLX_SYSTEM, "%s: what was saved there is not there any more",
			  s->name);
	if (!r->raw && r->written)
		return fault_set(f, BLX_SYSTEM,
				 "%s; put back what was saved there, or 'blxtrack stop --force "
				 "/dev/%s' forgets the history, and it must never be restored",
				 why.text, t->dev.name);
	if (bad)
		*what = ARCHIVE_USED;
	return 0;
}

int saved_take_back(const struct tracked *t, struct fault *f)
{
	struct store s = {.fd = -1};
	struct fault ignored;
	enum archive what;
	struct record r;
	bool off = false, on = true;

	if (!saved_is(t))
		return 0;
	if (recall(&r, t, f))
		return -1;
	int bad = store_find(&s, r.store, f);
	// used up before anybody can write to the device, unless it lies on the device itself
	bool on_it = !bad && s.raw && fsmap_below(&s.dev, &t->dev) == BELOW_DIRECT;
	if (on_it && !r.read_only)
		bad = saved_read_only(&t->dev, &off, NULL, f);
	bad = bad || look_back(&s, t, &r, &what, f);
	if (!bad && what == ARCHIVE_FRESH)
		bad = archive_use_up(&s, f);
	if (bad && on_it && !r.read_only)
		saved_read_only(&t->dev, &on, NULL, &ignored);
	if (!bad && !on_it && !r.read_only)
		bad = saved_read_only(&t->dev, &off, NULL, f);
	store_close(&s);
	return bad || forget(t, f) ? -1 : 1;
}

int saved_abandon(const struct tracked *t, struct fault *f)
{
	struct fault ignored;
	struct record r;
	bool off = false, was = !recall(&r, t, &ignored) && r.read_only;
	int bad = was ? 0 : saved_read_only(&t->dev, &off, NULL, f);

	return forget(t, bad ? &ignored : f) || bad ? -1 : 0;
}
