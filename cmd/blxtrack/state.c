// SPDX-License-Identifier: BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "kv.h"
#include "num.h"
#include "state.h"

enum { TMPFS_MAGIC = 0x01021994, POLL_NS = 5000000 };

int state_lock(int timeout_s, struct fault *f)
{
	int fd = state_lock_any(timeout_s, f);

	if (fd < 0)
		return -1;
	int layout = state_layout(HOST_RECORD);
	if (!state_newer(f)) {
		if ((!layout || layout == TRACK_LAYOUT) && !state_layout(HOST_NEXT))
			return fd;
		fault_set(f, BLX_SYSTEM,
			  "tracking was started by another version of blxtrack; 'blxtrack upgrade' "
			  "takes it over");
	}
	close(fd);
	return -1;
}

int state_lock_any(int timeout_s, struct fault *f)
{
	int fd = open(STATE_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return fault_errno(f, "%s%s", STATE_LOCK, geteuid() ? " (run as root)" : "");
	for (int64_t tries = (int64_t)timeout_s * 1000000000 / POLL_NS;; tries--) {
		if (!flock(fd, LOCK_EX | LOCK_NB))
			return fd;
		if (errno != EWOULDBLOCK && errno != EINTR)
			fault_errno(f, "%s: lock", STATE_LOCK);
		else if (tries <= 0)
			fault_set(f, BLX_BUSY, "%s: held by another blxtrack for %d s", STATE_LOCK,
				  timeout_s);
		else {
			nanosleep(&(struct timespec){0, POLL_NS}, NULL);
			continue;
		}
		close(fd);
		return -1;
	}
}

bool state_mounted(void)
{
	struct stat dir, parent;
	struct statfs fs;

	return !stat(STATE_DIR, &dir) && !stat(STATE_DIR "/..", &parent) &&
	       dir.st_dev != parent.st_dev && !statfs(STATE_DIR, &fs) && fs.f_type == TMPFS_MAGIC;
}

int state_mount(struct fault *f)
{
	if (state_mounted())
		return 0;
	if (mkdir(STATE_DIR, 0700) && errno != EEXIST)
		return fault_errno(f, "%s: create", STATE_DIR);
	if (mount("blx", STATE_DIR, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700"))
		return fault_errno(f, "%s: mount a tmpfs%s", STATE_DIR,
				   errno == EPERM && !geteuid() ? " (it takes CAP_SYS_ADMIN)" : "");
	return 0;
}

bool state_gone(struct fault *f)
{
	if (!kernel_present() ||
	    (state_mounted() && (!access(STATE_DIR "/" HOST_RECORD, F_OK) || !kernel_tracks())))
		return false;
	fault_set(f, BLX_RESYNC,
		  "%s is gone while the kernel still tracks: the history is lost; run 'blxtrack "
		  "stop --all --force' and start again",
		  STATE_DIR);
	return true;
}

int state_unmount(struct fault *f)
{
	if (state_mounted() && umount2(STATE_DIR, MNT_DETACH))
		return fault_errno(f, "%s: unmount", STATE_DIR);
	rmdir(STATE_DIR);
	return 0;
}

static int open_dir(const char *path, struct fault *f)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		fault_errno(f, "%s", path);
	return fd;
}

// ---- a tracked device

static void dir_name(char *buf, size_t n, uint32_t major, uint32_t minor)
{
	snprintf(buf, n, STATE_DIR "/%u:%u", major, minor);
}

int tracked_create(struct tracked *t, struct fault *f)
{
	char path[64];

	dir_name(path, sizeof(path), t->dev.major, t->dev.minor);
	if (mkdir(path, 0700) && errno != EEXIST)
		return fault_errno(f, "%s: create", path);
	t->dirfd = open_dir(path, f);
	return t->dirfd < 0 ? -1 : 0;
}

static void write_balance(FILE *to, const char *what, const struct balance *b)
{
	fprintf(to,
		"%s-lo: %" PRId64 "\n%s-hi: %" PRId64 "\n%s: %" PRIu64 "\n%s-waiting: %" PRIu64
		"\n",
		what, b->lo, what, b->hi, what, b->accounted, what, b->waiting);
}

static int save_tracked(const struct tracked *t, const char *name, struct fault *f)
{
	struct kv_out o;
	char lineage[UUID_TEXT];

	if (kv_begin(&o, f))
		return -1;
	uuid_format(&t->lineage, lineage);
	fprintf(o.to,
		"lineage: %s\nlabel: %s\nname: %s\ndisk-name: %s\nserial: %s\nbacking: %s\nlost: "
		"%s\n",
		lineage, t->label, t->dev.name, t->dev.disk_name, t->dev.serial, t->backing,
		t->lost);
	fprintf(o.to, "disk: %u\ndisk-minor: %u\nsize: %" PRIu64 "\nstart: %" PRIu64 "\n",
		t->dev.disk_major, t->dev.disk_minor, t->dev.size, t->dev.start);
	fprintf(o.to, "disk-size: %" PRIu64 "\ndiskseq: %" PRIu64 "\nlogical: %u\npartition: %d\n",
		t->dev.disk_size, t->dev.diskseq, t->dev.logical_block, t->dev.partition);
	fprintf(o.to,
		"way: %d\nslot: %u\nblock: %u\nignore-passthrough: %d\nstarting: %d\nstarted: "
		"%" PRId64 "\n",
		(int)t->way, t->slot, t->block, t->ignore_passthrough, t->starting, t->started);
	fprintf(o.to,
		"beyond: %" PRIu64 "\nunplaced: %" PRIu64 "\ndisk-unplaced: %" PRIu64
		"\ndisk-passed: %" PRIu64 "\ndisk-crowded: %" PRIu64 "\ndisk-swaps: %" PRIu64
		"\nimages: %" PRIu64 "\n",
		t->known.beyond, t->known.unplaced, t->known.disk_unplaced, t->known.disk_passed,
		t->known.disk_crowded, t->known.disk_swaps, t->known.images);
	fprintf(o.to, "epoch: %" PRIu64 "\nnewest: %" PRIu64 "\nproof: %d\n", t->epoch, t->newest,
		(int)t->proof);
	fprintf(o.to,
		"waiting-since: %" PRId64 "\nsubmitted: %" PRIu64 "\nidle-since: %" PRId64 "\n",
		t->waiting_since, t->submitted, t->idle_since);
	write_balance(o.to, "written", &t->written);
	write_balance(o.to, "discarded", &t->discarded);
	write_balance(o.to, "sub-written", &t->sub_written);
	write_balance(o.to, "sub-discarded", &t->sub_discarded);
	fprintf(o.to, "unseen: %" PRIu64 "\n", t->unseen);
	return kv_end(&o, t->dirfd, name, f);
}

int tracked_save(const struct tracked *t, struct fault *f)
{
	return save_tracked(t, "state", f);
}

int tracked_save_next(const struct tracked *t, struct fault *f)
{
	return save_tracked(t, "state.next", f);
}

int tracked_take_next(int dir, struct fault *f)
{
	if (renameat(dir, "state.next", dir, "state") && errno != ENOENT)
		return fault_errno(f, "tracking state: replace");
	return 0;
}

static void read_device(struct kv *kv, struct blkdev *d)
{
	kv_copy(kv, "name", d->name, sizeof(d->name));
	kv_copy(kv, "disk-name", d->disk_name, sizeof(d->disk_name));
	kv_copy(kv, "serial", d->serial, sizeof(d->serial));
	d->disk_major = (uint32_t)kv_u64(kv, "disk");
	d->disk_minor = (uint32_t)kv_u64(kv, "disk-minor");
	d->size = kv_u64(kv, "size");
	d->start = kv_u64(kv, "start");
	d->disk_size = kv_u64(kv, "disk-size");
	d->diskseq = kv_u64(kv, "diskseq");
	d->logical_block = (uint32_t)kv_u64(kv, "logical");
	d->partition = kv_u64(kv, "partition");
}

static void read_balance(struct kv *kv, const char *what, struct balance *b)
{
	char key[32];

	snprintf(key, sizeof(key), "%s-lo", what);
	b->lo = kv_i64(kv, key);
	snprintf(key, sizeof(key), "%s-hi", what);
	b->hi = kv_i64(kv, key);
	snprintf(key, sizeof(key), "%s-waiting", what);
	b->waiting = kv_u64(kv, key);
	b->accounted = kv_u64(kv, what);
}

static int tracked_read(struct tracked *t, struct fault *f)
{
	struct kv kv;

	if (kv_load(&kv, t->dirfd, "state", f))
		return -1;
	read_device(&kv, &t->dev);
	if (uuid_parse(kv_str(&kv, "lineage"), &t->lineage))
		kv.missing = true;
	kv_copy(&kv, "label", t->label, sizeof(t->label));
	kv_copy(&kv, "backing", t->backing, sizeof(t->backing));
	kv_copy(&kv, "lost", t->lost, sizeof(t->lost));
	t->way = (enum way)kv_u64(&kv, "way");
	t->slot = (uint32_t)kv_u64(&kv, "slot");
	t->block = (uint32_t)kv_u64(&kv, "block");
	t->ignore_passthrough = kv_u64(&kv, "ignore-passthrough");
	t->starting = kv_u64(&kv, "starting");
	t->started = kv_i64(&kv, "started");
	t->epoch = kv_u64(&kv, "epoch");
	t->newest = kv_u64(&kv, "newest");
	t->known.beyond = kv_u64(&kv, "beyond");
	t->known.unplaced = kv_u64(&kv, "unplaced");
	t->known.disk_unplaced = kv_u64(&kv, "disk-unplaced");
	t->known.disk_passed = kv_u64(&kv, "disk-passed");
	t->known.disk_crowded = kv_u64(&kv, "disk-crowded");
	t->known.disk_swaps = kv_u64(&kv, "disk-swaps");
	t->known.images = kv_u64(&kv, "images");
	t->proof = (enum proof)kv_u64(&kv, "proof");
	t->waiting_since = kv_i64(&kv, "waiting-since");
	t->submitted = kv_u64(&kv, "submitted");
	t->idle_since = kv_i64(&kv, "idle-since");
	read_balance(&kv, "written", &t->written);
	read_balance(&kv, "discarded", &t->discarded);
	read_balance(&kv, "sub-written", &t->sub_written);
	read_balance(&kv, "sub-discarded", &t->sub_discarded);
	t->unseen = kv_u64(&kv, "unseen");
	int bad = kv_check(&kv, f);
	kv_free(&kv);
	if (!bad && (t->slot > SLOT_NONE || (t->slot == SLOT_NONE && !t->starting) ||
		     t->block < 512 || t->block > 1 << 20 || t->way >= WAYS))
		return fault_set(f, BLX_RESYNC,
				 "tracking state: damaged at 'slot', 'block' or 'way'");
	return bad;
}

int tracked_load(struct tracked *t, uint32_t major, uint32_t minor, struct fault *f)
{
	char path[64];

	memset(t, 0, sizeof(*t));
	t->dev.major = major;
	t->dev.minor = minor;
	dir_name(path, sizeof(path), major, minor);
	t->dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (t->dirfd < 0 && errno == ENOENT && state_gone(f))
		return -1;
	if (t->dirfd < 0 && errno == ENOENT)
		return fault_set(f, BLX_TARGET,
				 "device %u:%u is not tracked: run 'blxtrack start' first", major,
				 minor);
	if (t->dirfd < 0)
		return fault_errno(f, "%s%s", path, geteuid() ? " (run as root)" : "");
	// made by a start that died before it wrote the state, or left by a stop that died after
	// removing it
	if (faccessat(t->dirfd, "state", F_OK, 0) && errno == ENOENT) {
		tracked_close(t);
		return fault_set(f, BLX_TARGET,
				 "device %u:%u is not tracked: run 'blxtrack start' first", major,
				 minor);
	}
	if (!tracked_read(t, f))
		return 0;
	tracked_close(t);
	if (f->code != BLX_RESYNC)
		return -1;
	char why[sizeof(f->text)];
	memcpy(why, f->text, sizeof(why));
	return fault_set(f, BLX_RESYNC,
			 "device %u:%u: %s; run 'blxtrack stop --all --force' and start again",
			 major, minor, why);
}

// MAJOR:MINOR
static bool number_of(const char *text, uint32_t *major, uint32_t *minor)
{
	const char *colon = strchr(text, ':');
	char first[16];
	uint64_t a, b;

	if (!colon || (size_t)(colon - text) >= sizeof(first))
		return false;
	snprintf(first, sizeof(first), "%.*s", (int)(colon - text), text);
	if (num_u64(first, &a) || num_u64(colon + 1, &b) || a >= 1 << 12 || b >= 1 << 20)
		return false;
	*major = (uint32_t)a;
	*minor = (uint32_t)b;
	return true;
}

int state_each(int (*each)(int dir, struct fault *f), struct fault *f)
{
	DIR *d = opendir(STATE_DIR);
	struct dirent *e;
	uint32_t major, minor;
	int bad = 0;

	if (!d)
		return fault_errno(f, STATE_DIR);
	for (errno = 0; !bad && (e = readdir(d)); errno = 0) {
		if (!number_of(e->d_name, &major, &minor))
			continue;
		int dir = openat(dirfd(d), e->d_name,
				 O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		bad = dir < 0 ? fault_errno(f, STATE_DIR "/%s", e->d_name) : each(dir, f);
		if (dir >= 0)
			close(dir);
	}
	if (!bad && errno)
		bad = fault_errno(f, STATE_DIR ": list");
	closedir(d);
	return bad;
}

int tracked_find(struct tracked *t, const char *path, struct fault *f)
{
	struct blkdev d;
	uint32_t major, minor;

	// finds a device whose node has gone, too
	if (number_of(path, &major, &minor))
		return tracked_load(t, major, minor, f);
	if (blkdev_identify(path, &d, f)) {
		size_t n = strlen(f->text);
		if (f->code == BLX_TARGET && n < sizeof(f->text))
			snprintf(f->text + n, sizeof(f->text) - n,
				 " (a device that is gone is named by its MAJOR:MINOR, as status "
				 "shows it)");
		return -1;
	}
	if (!tracked_load(t, d.major, d.minor, f))
		return 0;
	char why[sizeof(f->text)];
	memcpy(why, f->text, sizeof(why));
	return fault_set(f, f->code, "%s: %s", path, why);
}

void tracked_close(struct tracked *t)
{
	if (t->dirfd >= 0)
		close(t->dirfd);
	t->dirfd = -1;
}

int tracked_remove(struct tracked *t, struct fault *f)
{
	char path[64];
	int fd = dup(t->dirfd);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	dir_name(path, sizeof(path), t->dev.major, t->dev.minor);
	if (!d)
		return fault_errno(f, "%s: list", path);
	// `state` first: without it the rest means nothing
	unlinkat(t->dirfd, "state", 0);
	while ((e = readdir(d)))
		unlinkat(t->dirfd, e->d_name, 0);
	closedir(d);
	if (rmdir(path))
		return fault_errno(f, "%s: remove", path);
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const struct tracked *x = a, *y = b;

	if (x->dev.major != y->dev.major)
		return x->dev.major < y->dev.major ? -1 : 1;
	return x->dev.minor < y->dev.minor ? -1 : x->dev.minor > y->dev.minor;
}

int tracked_all(struct tracked **all, size_t *n, struct fault *f)
{
	DIR *d = opendir(STATE_DIR);
	struct dirent *e;
	uint32_t major, minor;
	int bad = 0;

	*all = NULL;
	*n = 0;
	if (!d)
		return errno == ENOENT ? 0
				       : fault_errno(f, "%s%s", STATE_DIR,
						     geteuid() ? " (run as root)" : "");
	for (errno = 0; !bad && (e = readdir(d)); errno = 0) {
		if (!number_of(e->d_name, &major, &minor))
			continue;
		void *p = realloc(*all, (*n + 1) * sizeof(**all));
		if (!p) {
			bad = fault_errno(f, "%s", STATE_DIR);
			break;
		}
		*all = p;
		bad = tracked_load(&(*all)[*n], major, minor, f);
		if (bad && f->code == BLX_TARGET) {
			bad = 0;
			continue;
		}
		*n += !bad;
	}
	if (!bad && errno)
		bad = fault_errno(f, "%s: list", STATE_DIR);
	closedir(d);
	if (bad) {
		tracked_all_free(*all, *n);
		*all = NULL;
		*n = 0;
		return -1;
	}
	if (*n)
		qsort(*all, *n, sizeof(**all), by_number);
	return 0;
}

void tracked_all_free(struct tracked *all, size_t n)
{
	for (size_t i = 0; i < n; i++)
		tracked_close(&all[i]);
	free(all);
}

int tracked_lose(struct tracked *t, struct fault *f, const char *fmt, ...)
{
	va_list ap;

	if (!t->lost[0]) {
		va_start(ap, fmt);
		vsnprintf(t->lost, sizeof(t->lost), fmt, ap);
		va_end(ap);
		tracked_save(t, f); // on a full tmpfs the next command finds it out again
	}
	return fault_set(f, BLX_RESYNC,
			 "%s: tracking is incomplete: %s; run 'blxtrack start /dev/%s' again, then "
			 "'blxtrack resync' (the differences) or 'blxtrack consumer reset NAME "
			 "/dev/%s' (a full copy) for each consumer",
			 t->dev.name, t->lost, t->dev.name, t->dev.name);
}

uint64_t tracked_blocks(const struct tracked *t)
{
	return (t->dev.size + t->block - 1) / t->block;
}
