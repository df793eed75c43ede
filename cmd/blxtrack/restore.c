// SPDX-License-Identifier: BSD-2-Clause
// What `save` left before a reboot, taken up again (saved.h).
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fsmap.h"
#include "kv.h"
#include "num.h"
#include "prints.h"
#include "saved.h"

#define PREFIX "saved."

// The first reason stays.
static void lose(struct restore *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void lose(struct restore *r, const char *fmt, ...)
{
	va_list ap;

	if (r->why[0])
		return;
	va_start(ap, fmt);
	vsnprintf(r->why, sizeof(r->why), fmt, ap);
	va_end(ap);
}

// ---- what was saved, and of what

static int read_state(struct restore *r, const struct tracked *t, struct fault *f)
{
	struct kv kv;

	if (kv_load(&kv, t->dirfd, PREFIX "state", f))
		return -1;
	if (uuid_parse(kv_str(&kv, "lineage"), &r->lineage))
		kv.missing = true;
	kv_copy(&kv, "label", r->label, sizeof(r->label));
	r->block = (uint32_t)kv_u64(&kv, "block");
	r->ignore_passthrough = kv_u64(&kv, "ignore-passthrough");
	r->epoch = kv_u64(&kv, "epoch");
	r->newest = kv_u64(&kv, "newest");
	const char *lost = kv_str(&kv, "lost");
	if (*lost)
		lose(r, "it was incomplete when it was saved: %s", lost);
	if (r->block < 512 || r->block > 1 << 20 || r->block & (r->block - 1))
		kv.missing = true;
	int bad = kv_check(&kv, f);
	kv_free(&kv);
	return bad;
}

// Is it of this device? Everything else may have changed, and then the history ends.
static int compare_device(struct restore *r, const struct tracked *t, struct kv *kv,
			  struct fault *f)
{
	char id[BLKDEV_ID];

	blkdev_id(&t->dev, id);
	if (strcmp(kv_str(kv, "device"), id))
		return fault_set(f, BLX_TARGET, "%s: was saved of another device: %s is %s, not %s",
				 r->place, t->dev.name, id, kv_str(kv, "device"));
	if (kv_u64(kv, "size") != t->dev.size || kv_u64(kv, "start") != t->dev.start ||
	    kv_u64(kv, "logical") != t->dev.logical_block)
		lose(r, "it had %" PRIu64 " bytes from %" PRIu64 " on when it was saved",
		     kv_u64(kv, "size"), kv_u64(kv, "start"));
	return 0;
}

static int compare_machine(struct restore *r, struct kv *kv, bool used, struct fault *f)
{
	char machine[MACHINE_TEXT], boot[BOOT_TEXT], when[NUM_TIME_TEXT];

	saved_machine(machine);
	if (saved_boot(boot, f))
		return -1;
	num_time_text(kv_i64(kv, "time"), when);
	if (strcmp(kv_str(kv, "machine"), machine))
		lose(r, "it was saved on another machine");
	if (used)
		lose(r,
		     "what was saved at %s has been used up since: the machine went down without "
		     "'blxtrack save'",
		     when);
	if (!strcmp(kv_str(kv, "boot"), boot))
		lose(r, "it was saved in this boot, at %s, and the machine was not restarted",
		     when);
	return 0;
}

static int read_meta(struct restore *r, const struct tracked *t, bool used, struct fault *f)
{
	struct kv kv;

	if (kv_load(&kv, t->dirfd, PREFIX "meta", f))
		return -1;
	int bad = compare_device(r, t, &kv, f) || compare_machine(r, &kv, used, f) ||
		  kv_check(&kv, f);
	kv_free(&kv);
	return bad ? -1 : 0;
}

static void compare_written(struct restore *r, const struct tracked *t)
{
	uint64_t sectors;
	struct fault f;

	if (saved_written(&t->dev, &sectors, &f))
		lose(r, "%s", f.text);
	else if (sectors != r->own_sectors)
		lose(r,
		     "it has been written to since the machine started (%" PRIu64
		     " sectors) and before tracking began",
		     sectors);
}

// Unpacked, compared, used up. What cannot be read leaves consumers nobody knows.
static int take(struct restore *r, const struct tracked *t, struct store *s, enum archive what,
		struct fault *f)
{
	if (archive_unpack(s, t->dirfd, f) || read_state(r, t, f) ||
	    read_meta(r, t, what == ARCHIVE_USED, f)) {
		if (f->code != BLX_CORRUPT && f->code != BLX_RESYNC)
			return -1;
		lose(r, "%s", f->text);
		r->block = 0;
	}
	if (what == ARCHIVE_FRESH && archive_use_up(s, f))
		return -1;
	if (what == ARCHIVE_FRESH && s->raw && blkdev_overlap(&s->dev, &t->dev))
		r->own_sectors = STORE_PAGE >> SECTOR_SHIFT;
	return 0;
}

int restore_begin(struct restore *r, const struct tracked *t, const char *from, uint32_t block,
		  struct fault *f)
{
	char place[STORE_NAME];
	struct fault ignored;
	struct store s;
	enum archive what;

	*r = (struct restore){0};
	saved_place(&t->dev, place, sizeof(place));
	if (store_find(&s, from ? from : place, f))
		return -1;
	memcpy(r->place, s.name, sizeof(r->place));
	compare_written(r, t);
	int bad = archive_look(&s, &what, f);
	r->found = bad || what != ARCHIVE_NONE;
	if (bad && f->code == BLX_CORRUPT) {
		lose(r, "%s", f->text);
		bad = 0;
	} else if (!bad && r->found) {
		bad = take(r, t, &s, what, f);
	}
	// what this boot writes without it must not be missed by the next one with it
	if (bad && f->code != BLX_TARGET && s.fd >= 0)
		archive_use_up(&s, &ignored);
	store_close(&s);
	if (!r->found) // there is no history to lose
		r->why[0] = 0;
	if (!bad && block && r->block && block != r->block) {
		lose(r, "it was saved in blocks of %u bytes", r->block);
		r->block = block;
	}
	if (bad)
		restore_close(t);
	return bad ? -1 : 0;
}

int restore_forgo(const struct blkdev *d, const char *from, bool *found, struct fault *f)
{
	char place[STORE_NAME];
	struct store s;
	enum archive what;

	*found = false;
	saved_place(d, place, sizeof(place));
	if (store_find(&s, from ? from : place, f))
		return -1;
	int bad = archive_look(&s, &what, f);
	// where it cannot be read to its end its head may be
	bool any = bad ? f->code != BLX_CORRUPT && s.fd >= 0 : what == ARCHIVE_FRESH;
	if (bad && f->code == BLX_CORRUPT)
		bad = 0;
	if (any) {
		*found = true;
		bad = archive_use_up(&s, f);
	}
	store_close(&s);
	return bad ? -1 : 0;
}

// ---- tracking has begun

static int read_pending(const struct kv *kv, struct extents *all, struct fault *f)
{
	struct extent e;

	*all = (struct extents){0};
	for (const char *p = kv->text; p < kv->text + kv->n; p += strlen(p) + 1)
		if (sscanf(p, "pending: %" SCNu64 " %" SCNu64, &e.offset, &e.length) == 2 &&
		    extents_add(all, e, SIZE_MAX))
			return fault_errno(f, "saved state: ranges that are pending");
	return 0;
}

// Was nothing written before the programs looked, and is the content what it was?
static int compare_content(struct restore *r, const struct tracked *t, const struct kv *kv,
			   const struct extents *pending, struct fault *f)
{
	uint64_t at;

	compare_written(r, t);
	if (r->why[0])
		return 0;
	int same = prints_compare(t, kv, pending, &at, f);
	if (!same)
		lose(r,
		     "at %" PRIu64 " it is not what it was when it was saved: it was written to, "
		     "or set back, while nothing tracked it",
		     at);
	return same < 0 ? -1 : 0;
}

static int mark_pending(const struct kernel *k, const struct tracked *t,
			const struct extents *pending, struct fault *f)
{
	struct bitmap b;

	if (kernel_bitmap_map(k, t->slot, *k->parity & 1, &b, f))
		return -1;
	for (size_t i = 0; i < pending->n; i++) {
		const struct extent *e = &pending->e[i];
		kernel_bitmap_mark(&b, e->offset / t->block,
				   (e->offset + e->length - 1) / t->block);
	}
	kernel_bitmap_unmap(&b);
	return 0;
}

int restore_end(struct restore *r, const struct kernel *k, struct tracked *t, struct fault *f)
{
	struct extents pending = {0};
	struct kv kv = {0};

	if (!r->block) // not even its epochs are known
		return 0;
	int bad = kv_load(&kv, t->dirfd, PREFIX "meta", f) || read_pending(&kv, &pending, f) ||
		  compare_content(r, t, &kv, &pending, f);
	t->epoch = r->epoch;
	if (!bad && !r->why[0]) {
		t->newest = r->newest;
		t->lineage = r->lineage;
		bad = mark_pending(k, t, &pending, f);
	}
	extents_free(&pending);
	kv_free(&kv);
	return bad;
}

void restore_close(const struct tracked *t)
{
	int fd = openat(t->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (!strncmp(e->d_name, PREFIX, strlen(PREFIX)))
			unlinkat(t->dirfd, e->d_name, 0);
	if (d)
		closedir(d);
}
