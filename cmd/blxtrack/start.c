// SPDX-License-Identifier: BSD-2-Clause
// blxtrack start: begin to track, or go on where a save ended.
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "blxtrack.h"
#include "die.h"
#include "num.h"
#include "quiesce.h"
#include "saved.h"
#include "trackable.h"

struct options {
	uint32_t block; // 0: not given
	bool ignore_passthrough;
	const char *label; // NULL: not given
	bool restore;
	const char *from; // NULL: the usual place
};

enum { BLOCK_DEFAULT = 4096, BLOCK_MIN = 512, BLOCK_MAX = 1 << 20 };

static void usage(FILE *to)
{
	fputs("usage: blxtrack start [-b SIZE] [--label NAME] [--ignore-passthrough] "
	      "[--restore[=FILE]] DEV...\n"
	      "  -b, --block SIZE        bytes in a block: 512 to 1M, a power of two (default "
	      "4096)\n"
	      "      --label NAME        name of the device in its lists, and of its image where "
	      "many "
	      "are received\n"
	      "                          (default: its device-mapper or kernel name)\n"
	      "      --ignore-passthrough  do not count SG_IO and the like as lost writes\n"
	      "      --restore[=FILE]    after a reboot: go on where 'blxtrack save' ended\n"
	      "  -h, --help              this text\n",
	      to);
}

// Beside an image NAME a receiver keeps its state in NAME.blx.
static bool is_state_name(const char *label)
{
	size_t n = strlen(label);

	return n >= 4 && !strcmp(label + n - 4, ".blx");
}

static struct options parse_options(int argc, char **argv)
{
	static const struct option longs[] = {{"block", required_argument, NULL, 'b'},
					      {"label", required_argument, NULL, 'l'},
					      {"ignore-passthrough", no_argument, NULL, 'P'},
					      {"restore", optional_argument, NULL, 'r'},
					      {"help", no_argument, NULL, 'h'},
					      {0}};
	struct options o = {0};
	uint64_t v;
	int c;

	while ((c = getopt_long(argc, argv, "b:h", longs, NULL)) != -1) {
		switch (c) {
		case 'b':
			if (num_size(optarg, &v) || v < BLOCK_MIN || v > BLOCK_MAX || (v & (v - 1)))
				usage_error("-b %s: a block is a power of two from 512 to 1M",
					    optarg);
			o.block = (uint32_t)v;
			break;
		case 'l':
			if (!head_name_ok(optarg) || is_state_name(optarg))
				usage_error("--label %s: 1 to %d of A-Z a-z 0-9 . _ : -, not "
					    "beginning with . or - nor ending in .blx",
					    optarg, HEAD_NAME_MAX);
			o.label = optarg;
			break;
		case 'P':
			o.ignore_passthrough = true;
			break;
		case 'r':
			o.restore = true;
			o.from = optarg;
			break;
		case 'h':
			usage(stdout);
			close_stdout();
			exit(BLX_OK);
		default:
			usage_error(NULL);
		}
	}
	if (optind == argc)
		usage_error("start: which device?");
	if (o.label && optind + 1 < argc)
		usage_error("start: --label names one device");
	if (o.from && optind + 1 < argc)
		usage_error("start: --restore=FILE is of one device");
	return o;
}

// ---- beginning

static enum passthrough passthrough_of(const struct blkdev *d)
{
	if (!strncmp(d->disk_name, "sd", 2) || !strncmp(d->disk_name, "sr", 2))
		return PASS_SCSI;
	if (!strncmp(d->disk_name, "nvme", 4))
		return PASS_NVME;
	if (!strncmp(d->disk_name, "vd", 2))
		return PASS_VIRTIO;
	return PASS_UNKNOWN;
}

// A device without any consumer gets the default one, which lacks everything. LOST: there were
// some, and nobody knows who.
static int first_consumer(const struct tracked *t, bool lost, struct fault *f)
{
	struct consumer *c, first = {.name = DEFAULT_CONSUMER,
				     .epoch = t->epoch,
				     .added = time(NULL),
				     .lost = lost};
	size_t n;

	if (consumer_all(t, &c, &n, f))
		return -1;
	free(c);
	return n ? 0 : consumer_save(t, &first, f);
}

// Consumers that were there lose their positions.
static int reset_consumers(struct tracked *t, struct fault *f)
{
	struct consumer *c;
	size_t n;

	if (consumer_all(t, &c, &n, f))
		return -1;
	int bad = 0;
	for (size_t i = 0; i < n && !bad; i++)
		bad = consumer_lose(t, &c[i], f);
	free(c);
	return bad;
}

int activate(struct kernel *k, struct tracked *t, struct fault *f)
{
	uint64_t blocks = tracked_blocks(t);
	uint32_t disk = kernel_dev(t->dev.disk_major, t->dev.disk_minor);

	for (uint32_t parity = 0; parity < 2; parity++)
		if (kernel_bitmap_create(k, t->slot, parity, blocks, f))
			return -1;
	volatile struct slot *s = &k->slots[t->slot];
	s->start = t->dev.start >> SECTOR_SHIFT;
	s->end = t->dev.partition ? (t->dev.start + t->dev.size) >> SECTOR_SHIFT : UINT64_MAX;
	s->shift = (uint32_t)__builtin_ctz(t->block) - SECTOR_SHIFT;
	s->passthrough = passthrough_of(&t->dev);
	s->command = kernel_command_at(s->passthrough);
	s->way = t->way;
	return kernel_slot_link(k, disk, t->slot, f) || (t->way == WAY_BIO && quiesce(&t->dev, f))
		       ? -1
		       : 0;
}

// A name that is the same after a reboot where the device has one.
static void label_for(const struct blkdev *d, const char *wanted, char label[HEAD_NAME_MAX + 1])
{
	char name[HEAD_NAME_MAX + 1];

	if (wanted)
		snprintf(name, sizeof(name), "%s", wanted);
	else if (d->partition || blkdev_attr(d, "dm/name", name, sizeof(name)))
		snprintf(name, sizeof(name), "%s", d->name);
	for (char *p = name; *p; p++)
		if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-",
			    *p) ||
		    (p == name && strchr(".-", *p)))
			*p = '_';
	if (is_state_name(name))
		name[strlen(name) - 4] = '_';
	memcpy(label, name, sizeof(name));
}

// What was saved in the usual place, and is not restored, must not be taken up by a later boot,
// after the writes of this one.
static int forgo(const struct blkdev *d, const struct options *o, struct fault *f)
{
	bool found;

	if (restore_forgo(d, NULL, &found, f))
		return -1;
	if (found)
		warn("%s: what 'blxtrack save' kept of it %sis given up (--restore%s)", d->name,
		     o->from ? "in the usual place " : "",
		     o->from ? " named another" : " was not given");
	return 0;
}

// How the history goes on, or why it does not.
static int settle(struct tracked *t, const struct restore *r, struct fault *f)
{
	if (r->why[0]) {
		warn("%s: its history is lost: %s: tracking begins under a new lineage; each "
		     "consumer needs a 'blxtrack resync' or 'blxtrack consumer reset'",
		     t->dev.name, r->why);
		if (delta_drop(t, UINT64_MAX, f) || reset_consumers(t, f))
			return -1;
	} else if (r->found) {
		warn("%s: its history goes on after epoch %" PRIu64, t->dev.name, t->epoch);
	}
	return first_consumer(t, r->why[0], f);
}

// The kernel side, and what was restored.
static int begin_here(struct kernel *k, struct tracked *t, struct restore *r, struct fault *f)
{
	uint32_t disk = kernel_dev(t->dev.disk_major, t->dev.disk_minor);

	warn("%s: %" PRIu64 " bytes in blocks of %u: %" PRIu64 " KiB of kernel memory", t->dev.name,
	     t->dev.size, t->block, (trackable_memory(&t->dev, t->block) + 1023) / 1024);
	if (kernel_slot_alloc(k, disk, &t->slot, f) || tracked_save(t, f) || activate(k, t, f) ||
	    prove_begin(k, t, f) || (r->found && restore_end(r, k, t, f)) || settle(t, r, f))
		return -1;
	t->starting = false;
	return tracked_save(t, f);
}

// A new lineage, unless a saved one goes on. T holds the epoch counter and the label of an earlier
// one, or zero, and its directory if it has one.
static int begin(struct kernel *k, struct tracked *t, const struct blkdev *d,
		 const struct options *o, struct fault *f)
{
	bool restore = o->restore && (t->dirfd < 0 || t->starting);
	uint64_t epoch = t->epoch;
	char label[sizeof(t->label)];
	struct restore r = {0};

	memcpy(label, t->label, sizeof(label));
	tracked_close(t);
	*t = (struct tracked){.dirfd = -1, .dev = *d, .epoch = epoch, .starting = true};
	t->block = o->block ? o->block : BLOCK_DEFAULT;
	t->ignore_passthrough = o->ignore_passthrough;
	t->started = time(NULL);
	t->way = trackable_way(d);
	if (uuid_make(&t->lineage))
		return fault_errno(f, "%s: make a lineage", d->name);
	if (backing_of(d, t->backing, sizeof(t->backing), f) || tracked_create(t, f) ||
	    delta_drop(t, UINT64_MAX, f) || reset_consumers(t, f) ||
	    (restore && restore_begin(&r, t, o->from, o->block, f)) ||
	    ((!restore || o->from) && forgo(d, o, f)))
		return -1;
	if (r.block) {
		t->block = r.block;
		t->ignore_passthrough |= r.ignore_passthrough;
		memcpy(label, r.label, sizeof(label));
	}
	if (restore && !r.found)
		warn("%s: nothing was saved of it in %s: tracking begins", d->name, r.place);
	label_for(d, o->label ? o->label : label[0] ? label : NULL, t->label);
	int bad = begin_here(k, t, &r, f);
	restore_close(t);
	return bad;
}

// Is what was attached still there, and nothing else? Programs of a way that the host's record does
// not name were left by a start that was killed: nothing is tracked by them.
static bool host_intact(void)
{
	struct kernel_ids now;
	struct kernel k;
	struct host h;
	struct fault f;
	enum program p, end;

	if (host_load(&h, &f))
		return false;
	for (enum way way = 0; way < SIDES; way++) {
		kernel_programs(way, &p, &end);
		if (!h.ids.link[p])
			kernel_unload_way(way);
	}
	if (kernel_ids(TRACK_LAYOUT, &now, &f) || memcmp(&now, &h.ids, sizeof(now)) ||
	    kernel_open(&k, &f))
		return false;
	kernel_close(&k);
	return true;
}

// Somebody's hands were at the pins: no device's history is whole, and no slot of theirs is left.
static int abandon_kernel(struct fault *f)
{
	struct tracked *all;
	size_t n;

	if (tracked_all(&all, &n, f))
		return -1;
	for (size_t i = 0; i < n; i++) {
		all[i].starting = true;
		all[i].slot = SLOT_NONE;
		tracked_lose(&all[i], f, "the tracking programs were gone");
		if (tracked_save(&all[i], f))
			return -1;
	}
	tracked_all_free(all, n);
	return kernel_unload(f);
}

// State, and what of the kernel side is there, as they must be before any device can start.
static int ready_host(struct fault *f)
{
	if (kernel_present() && !state_mounted())
		return fault_set(f, BLX_RESYNC,
				 "%s is gone while the kernel still tracks: run 'blxtrack stop "
				 "--all --force', "
				 "then start again",
				 STATE_DIR);
	if (state_mount(f))
		return -1;
	return kernel_present() && !host_intact() ? abandon_kernel(f) : 0;
}

// The programs of a way, loaded once for the host.
static int ready_way(struct kernel *k, enum way way, struct fault *f)
{
	struct host h = {0};
	struct fault ignored;
	bool first = !kernel_present();

	if (!first && kernel_has(way))
		return kernel_open(k, f);
	if ((!first && host_load(&h, f)) || kernel_load(way, f))
		return -1;
	if (!kernel_open(k, f)) {
		if (!prove_host_begin(k, way, &h, f) && !host_save(&h, f))
			return 0;
		kernel_close(k);
	}
	if (first)
		kernel_unload(&ignored);
	else
		kernel_unload_way(way);
	return -1;
}

static int take_back(const struct tracked *t, struct fault *f)
{
	int saved = saved_take_back(t, f);

	if (saved > 0)
		warn("%s: taken back: what was saved is used up", t->dev.name);
	return saved < 0 ? -1 : 0;
}

// Is T, found under the device's number, tracked and whole? Then start has nothing to do.
static int still_whole(const struct kernel *k, struct tracked *t, const struct options *o,
		       struct fault *f)
{
	uint64_t size;

	if (t->starting)
		return 0;
	if (identify_again(t, &size, f) || prove(k, t, f))
		return f->code == BLX_RESYNC ? 0 : -1;
	if (o->block && o->block != t->block)
		return fault_set(f, BLX_TARGET,
				 "%s is tracked in blocks of %u bytes: stop it first", t->dev.name,
				 t->block);
	t->ignore_passthrough |= o->ignore_passthrough;
	if (o->label)
		label_for(&t->dev, o->label, t->label);
	bool found;
	return take_back(t, f) || tracked_save(t, f) ||
			       (o->restore && restore_forgo(&t->dev, o->from, &found, f))
		       ? -1
		       : 1;
}

// What some kernels do not permit, or have no use for: status says so.
static void ready_side(enum way side, struct kernel *k)
{
	struct fault f;

	if (kernel_has(side))
		return;
	kernel_close(k);
	if (ready_way(k, side, &f))
		kernel_open(k, &f);
}

static int start_one(const char *path, const struct options *o, struct fault *f)
{
	struct kernel k;
	struct tracked t = {.dirfd = -1};
	struct blkdev d;
	int bad, whole;

	if (blkdev_identify(path, &d, f) ||
	    trackable_check(&d, o->block ? o->block : BLOCK_DEFAULT, f) ||
	    ready_way(&k, trackable_way(&d), f))
		return -1;
	if (!strncmp(d.disk_name, "dm-", 3))
		ready_side(SIDE_TABLES, &k);
	ready_side(SIDE_HIBERNATE, &k);
	if (tracked_load(&t, d.major, d.minor, f)) {
		t = (struct tracked){.dirfd = -1};
		bad = f->code != BLX_TARGET || begin(&k, &t, &d, o, f);
	} else if (!(bad = (whole = still_whole(&k, &t, o, f)) < 0) && !whole) {
		warn("%s: %s: tracking begins again under a new lineage", path,
		     t.lost[0] ? t.lost : "an earlier start was interrupted");
		uint32_t disk = kernel_dev(t.dev.disk_major, t.dev.disk_minor);
		bad = take_back(&t, f) ||
		      (t.slot != SLOT_NONE && kernel_slot_unlink(&k, disk, t.slot, f)) ||
		      begin(&k, &t, &d, o, f);
	}
	kernel_close(&k);
	tracked_close(&t);
	return bad ? -1 : 0;
}

static bool is_tracked(const struct blkdev *d)
{
	struct fault ignored;
	struct tracked t;

	if (tracked_load(&t, d->major, d->minor, &ignored))
		return false;
	tracked_close(&t);
	return !t.starting;
}

static void forgo_place(const struct blkdev *d, const char *from)
{
	struct fault f;
	bool found;

	if (restore_forgo(d, from, &found, &f))
		warn("%s; what 'blxtrack save' kept of %s must never be restored", f.text, d->name);
	else if (found)
		warn("%s: what 'blxtrack save' kept of it is given up, as nothing tracks it",
		     d->name);
}

// Nothing is tracked: a later boot must not miss what this one writes. FROM is NULL where what it
// holds is of another device.
static void forgo_untracked(char *const *paths, const char *from)
{
	struct fault ignored;
	struct blkdev d;

	for (; *paths; paths++) {
		if (blkdev_identify(*paths, &d, &ignored) || is_tracked(&d))
			continue;
		forgo_place(&d, NULL);
		if (from)
			forgo_place(&d, from);
	}
}

static int check_all(char *const *paths, const struct options *o, struct fault *f)
{
	for (; *paths; paths++) {
		struct blkdev d;
		if (blkdev_identify(*paths, &d, f) ||
		    trackable_check(&d, o->block ? o->block : BLOCK_DEFAULT, f))
			return -1;
	}
	return 0;
}

int cmd_start(int argc, char **argv)
{
	const struct options o = parse_options(argc, argv);
	struct fault f;
	int lock = state_lock(LOCK_WAIT_S, &f);

	if (lock < 0)
		die_fault(&f);
	if (check_all(argv + optind, &o, &f) || ready_host(&f)) {
		if (f.code != BLX_USAGE)
			forgo_untracked(argv + optind, o.from);
		die_fault(&f);
	}
	for (int i = optind; i < argc; i++) {
		if (!start_one(argv[i], &o, &f))
			continue;
		forgo_untracked(argv + i, f.code == BLX_TARGET ? NULL : o.from);
		die_fault(&f);
	}
	close(lock);
	return BLX_OK;
}
