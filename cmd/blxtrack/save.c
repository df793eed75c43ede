// SPDX-License-Identifier: BSD-2-Clause
// blxtrack save: the last thing before the machine goes down. What is known of devices that nobody
// can write to any more is kept for the next boot.
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "blxtrack.h"
#include "die.h"
#include "flip.h"
#include "fsmap.h"
#include "kv.h"
#include "pending.h"
#include "prints.h"
#include "saved.h"
#include "writers.h"

#define META "saved.meta"
enum { PENDING_MAX = 64 };

struct options {
	bool all, map;
	const char *output; // NULL: the usual place of each
	char *pending[PENDING_MAX];
	size_t npending;
};

static void usage(FILE *to)
{
	fputs("usage: blxtrack save [-o FILE] [--pending PATH]... DEV... | --all\n"
	      "       blxtrack save --map FILE\n"
	      "  -o, --output FILE   where to (default: below /var/lib/blx/saved, by the device's "
	      "name\n"
	      "                      there): a file, a partition, or what --map prints\n"
	      "      --pending PATH  a file or partition that firmware or a boot loader may write "
	      "to\n"
	      "      --all           every tracked device\n"
	      "      --map           print the places of FILE on its disk, for -o and start "
	      "--restore where\n"
	      "                      its file system is not mounted\n"
	      "  -h, --help          this text\n"
	      "Afterwards the devices are read-only, until the machine has been restarted or "
	      "'blxtrack start'\n"
	      "takes them back.\n",
	      to);
}

static struct options parse_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{"output", required_argument, NULL, 'o'}, {"pending", required_argument, NULL, 'p'},
		{"all", no_argument, NULL, 'a'},          {"map", no_argument, NULL, 'm'},
		{"help", no_argument, NULL, 'h'},         {0}};
	struct options o = {0};
	int c;

	while ((c = getopt_long(argc, argv, "o:h", longs, NULL)) != -1) {
		switch (c) {
		case 'o':
			o.output = optarg;
			break;
		case 'p':
			if (o.npending == PENDING_MAX)
				usage_error("--pending: %d at most", PENDING_MAX);
			o.pending[o.npending++] = optarg;
			break;
		case 'a':
			o.all = true;
			break;
		case 'm':
			o.map = true;
			break;
		case 'h':
			usage(stdout);
			close_stdout();
			exit(BLX_OK);
		default:
			usage_error(NULL);
		}
	}
	if (o.map && (o.all || o.output || o.npending || optind + 1 != argc))
		usage_error("save --map: FILE");
	if (!o.map && o.all == (optind < argc))
		usage_error("save: name devices, or --all");
	if (o.output && (o.all || optind + 1 < argc))
		usage_error("save: -o is for one device");
	return o;
}

// ---- where to

static int print_map(const char *file, struct fault *f)
{
	char text[STORE_NAME];
	struct blkdev on;
	struct store s;

	int found = fsmap_device(file, &on, f);
	if (found <= 0)
		return found ? -1 : fault_set(f, BLX_TARGET, "%s: lies on no block device", file);
	int bad = store_map(&s, file, &on, f) || store_spell(&s, text, sizeof(text), f);
	store_close(&s);
	if (!bad)
		puts(text);
	return bad;
}

// What is written to a file of the very device would not be in what is saved: then it goes to the
// places that the file has.
static int find_store(struct store *s, const struct options *o, const struct blkdev *d,
		      struct fault *f)
{
	char usual[STORE_NAME];
	struct blkdev on;

	saved_place(d, usual, sizeof(usual));
	const char *name = o->output ? o->output : usual;
	if (store_find(s, name, f))
		return -1;
	int found = 1;
	if (s->raw)
		on = s->dev;
	else if ((found = fsmap_device(name, &on, f)) < 0)
		return -1;
	enum below below = found ? fsmap_below(&on, d) : BELOW_NOT;
	if (below == BELOW_THROUGH)
		return fault_set(f, BLX_TARGET,
				 "%s: lies on %s, which is to be saved, through %s: use a "
				 "partition, or another disk",
				 name, d->name, on.name);
	if (s->raw || below == BELOW_NOT)
		return 0;
	if (access(name, F_OK))
		return fault_set(f, BLX_TARGET,
				 "%s: lies on %s, which is to be saved: allocate it before "
				 "(fallocate), or use a partition or another disk",
				 name, d->name);
	store_close(s);
	return store_map(s, name, &on, f);
}

// ---- what

struct saving {
	struct tracked *t;
	struct store to;
	bool on_it; // the store lies on the device
	bool was_read_only;
	int claim;
	struct extents pending;
};

// The epoch that every consumer has acked: what is older may have been dropped.
static int all_acked(const struct tracked *t, uint64_t *epoch, struct fault *f)
{
	struct consumer *c;
	size_t n;

	if (consumer_all(t, &c, &n, f))
		return -1;
	*epoch = t->epoch;
	for (size_t i = 0; i < n; i++)
		*epoch = c[i].epoch < *epoch ? c[i].epoch : *epoch;
	free(c);
	return 0;
}

static int write_meta(const struct saving *v, struct fault *f)
{
	char id[BLKDEV_ID], machine[MACHINE_TEXT], boot[BOOT_TEXT];
	const struct blkdev *d = &v->t->dev;
	struct delta *all = NULL;
	uint64_t acked;
	struct kv_out o;
	size_t n = 0;

	if (saved_boot(boot, f) || all_acked(v->t, &acked, f) || kv_begin(&o, f))
		return -1;
	blkdev_id(d, id);
	saved_machine(machine);
	fprintf(o.to,
		"device: %s\nsize: %" PRIu64 "\nstart: %" PRIu64
		"\nlogical: %u\nmachine: %s\nboot: %s\ntime: %" PRId64 "\n",
		id, d->size, d->start, d->logical_block, machine, boot, (int64_t)time(NULL));
	for (size_t i = 0; i < v->pending.n; i++)
		fprintf(o.to, "pending: %" PRIu64 " %" PRIu64 "\n", v->pending.e[i].offset,
			v->pending.e[i].length);
	int bad = 0;
	if (!v->t->lost[0]) // else nothing is compared
		bad = delta_all(v->t, acked, &all, &n, f) ||
		      prints_take(v->t, all, n, &v->pending, o.to, f);
	delta_all_free(all, n);
	if (!bad)
		return kv_end(&o, v->t->dirfd, META, f);
	fclose(o.to);
	free(o.text);
	return -1;
}

// Is anything marked since the flip, but for what is pending?
static int written_since(const struct kernel *k, const struct saving *v, struct fault *f)
{
	struct bitmap b;
	int any = 0;

	for (uint32_t parity = 0; parity < 2 && !any; parity++) {
		if (kernel_bitmap_map(k, v->t->slot, parity, &b, f))
			return -1;
		for (uint64_t i = 0; i < b.nwords * 64 && !any; i++) {
			if (!b.words[i / 64]) {
				i |= 63;
				continue;
			}
			any = b.words[i / 64] >> i % 64 & 1;
			for (size_t p = 0; p < v->pending.n && any; p++) {
				const struct extent *e = &v->pending.e[p];
				any = i < e->offset / v->t->block ||
				      i > (e->offset + e->length - 1) / v->t->block;
			}
		}
		kernel_bitmap_unmap(&b);
	}
	return any;
}

// What was written is on the disk afterwards.
static int nobody_writes(struct saving *v, struct fault *f)
{
	const struct blkdev *d = &v->t->dev;

	if (v->claim >= 0)
		close(v->claim);
	v->claim = fsmap_claim(d, f);
	if (v->claim < 0 || writers_check(d, f))
		return -1;
	return fsync(v->claim) ? fault_errno(f, "%s: fsync", d->name) : 0;
}

// A mapping, or a mount, that was made between the check and this would write on.
static int make_read_only(struct saving *v, struct fault *f)
{
	bool on = true;

	return saved_read_only(&v->t->dev, &on, NULL, f) || nobody_writes(v, f) ? -1 : 0;
}

static int prepare(struct saving *v, const struct options *o, struct fault *f)
{
	const struct blkdev *d = &v->t->dev;

	if (find_store(&v->to, o, d, f) || store_check(&v->to, d, f))
		return -1;
	v->on_it = v->to.raw && fsmap_below(&v->to.dev, d) == BELOW_DIRECT;
	if (pending_find(d, o->pending, o->npending, v->on_it ? &v->to : NULL, &v->pending, f) ||
	    nobody_writes(v, f))
		return -1;
	// whoever finds it read-only after a kill finds out how to take it back
	if (saved_read_only(d, NULL, &v->was_read_only, f) ||
	    saved_remember(v->t, &v->to, false, v->was_read_only, f))
		return -1;
	// what lies on it can be written only while it can be
	return v->on_it ? 0 : make_read_only(v, f);
}

static int finish(const struct kernel *k, struct saving *v, struct fault *f)
{
	if (write_meta(v, f) || archive_write(&v->to, v->t->dirfd, f) ||
	    saved_remember(v->t, &v->to, true, v->was_read_only, f) ||
	    (v->on_it && make_read_only(v, f)))
		return -1;
	unlinkat(v->t->dirfd, META, 0);
	if (v->t->lost[0] || kernel_grace(k, f))
		return v->t->lost[0] ? 0 : -1;
	int since = written_since(k, v, f);
	return since > 0 ? fault_set(f, BLX_BUSY, "%s: was written to while it was saved",
				     v->t->dev.name)
			 : since;
}

// What was begun must not be found by the next boot.
static void give_up(struct saving *v)
{
	struct fault f;

	unlinkat(v->t->dirfd, META, 0);
	// what lies on the device, which is read-only, is used up in taking it back
	if (v->to.fd >= 0 && !v->on_it && archive_use_up(&v->to, &f))
		warn("%s", f.text);
	if (saved_take_back(v->t, &f) < 0)
		warn("%s", f.text);
}

static void close_saving(struct saving *v)
{
	if (v->claim >= 0)
		close(v->claim);
	store_close(&v->to);
	extents_free(&v->pending);
}

// What seems to be in flight is carried over a flip. Where nobody can write any more it has landed
// by the next, or is left over (flip.c) and is carried no further.
static int flip_still(struct session *s, const struct saving *v, struct fault *f)
{
	int any = 1;

	for (int tries = 0; tries < 2 && any; tries++) {
		if (tries)
			nanosleep(&(struct timespec){SETTLE_S + 1, 0}, NULL);
		if (flip(&s->k, s->all, s->n, s->wanted, s->stamps, f))
			return -1;
		any = 0;
		for (size_t i = 0; i < s->nwant && !any; i++)
			if (!v[i].t->lost[0] && (any = written_since(&s->k, &v[i], f)) < 0)
				return -1;
	}
	return 0;
}

// Cut an epoch of those that are whole, and prove each: what one has lost must not hide what
// another has. LOST: the first that is not whole; its consumers are known in the next boot.
static int cut_all(struct session *s, const struct saving *v, struct fault *lost, struct fault *f)
{
	for (size_t i = 0; i < s->nwant; i++) {
		struct tracked *t = s->want[i];
		uint64_t size;
		if (t->starting)
			tracked_lose(t, f, "'blxtrack start' was interrupted");
		else if (identify_again(t, &size, f) && !t->lost[0])
			return -1;
		s->wanted[t - s->all] = !t->lost[0];
	}
	if (flip_still(s, v, f))
		return -1;
	for (size_t i = 0; i < s->nwant; i++) {
		struct fault why;
		if (!prove(&s->k, s->want[i], &why))
			continue;
		if (!s->want[i]->lost[0]) {
			*f = why;
			return -1;
		}
		if (!lost->code)
			*lost = why;
	}
	return 0;
}

static int save_all(struct session *s, struct saving *v, const struct options *o, struct fault *f)
{
	struct fault lost = {0};
	size_t ready = 0, done = 0;
	int bad = 0;

	for (size_t i = 0; i < s->nwant; i++)
		if (saved_refuse(s->want[i], f))
			return -1;
	for (; ready < s->nwant && !bad; ready++) {
		v[ready] = (struct saving){.t = s->want[ready], .claim = -1, .to.fd = -1};
		bad = prepare(&v[ready], o, f);
	}
	bad = bad || cut_all(s, v, &lost, f);
	for (; done < s->nwant && !bad; done++)
		bad = finish(&s->k, &v[done], f);
	for (size_t i = 0; i < ready; i++) {
		if (bad)
			give_up(&v[i]);
		close_saving(&v[i]);
	}
	if (!bad && lost.code) {
		*f = lost;
		return -1;
	}
	return bad;
}

int cmd_save(int argc, char **argv)
{
	const struct options o = parse_options(argc, argv);
	struct session s;
	struct fault f;

	if (o.map) {
		if (print_map(argv[optind], &f))
			die_fault(&f);
		return BLX_OK;
	}
	if (session_open_any(&s, argv + optind, (size_t)(argc - optind), &f) ||
	    (o.all && session_want_all(&s, &f)))
		die_fault(&f);
	struct saving *v = calloc(s.nwant + 1, sizeof(*v));
	if (!v)
		die_errno("save");
	if (save_all(&s, v, &o, &f))
		die_fault(&f);
	free(v);
	session_close(&s);
	return BLX_OK;
}
