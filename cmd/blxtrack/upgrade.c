// SPDX-License-Identifier: BSD-2-Clause
// blxtrack upgrade: take over, without a hole, what an older version tracks.
//
// Until HOST_NEXT is there the older programs are the ones that count: they go on marking, nothing
// of theirs is zeroed, and whoever was killed begins again with them. From then on ours do: they
// have marked since before the older bitmaps were copied, and what is left is to rename records and
// to remove pins, which whoever comes next finishes.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blxtrack.h"
#include "die.h"
#include "older.h"

static void usage(FILE *to)
{
	fputs("usage: blxtrack upgrade\n"
	      "Take over what an older version of blxtrack tracks: no history is lost.\n"
	      "  -h, --help  this text\n",
	      to);
}

static void parse_options(int argc, char **argv)
{
	static const struct option longs[] = {{"help", no_argument, NULL, 'h'}, {0}};
	int c = getopt_long(argc, argv, "h", longs, NULL);

	if (c == 'h') {
		usage(stdout);
		close_stdout();
		exit(BLX_OK);
	}
	if (c != -1)
		usage_error(NULL);
	if (optind < argc)
		usage_error("upgrade: it is for all devices: name none");
}

struct handover {
	struct kernel from, to;
	struct tracked *all;  // as the older programs track them
	struct tracked *next; // parallel to all: as ours do
	size_t n;
	struct host host; // ours
};

// Has it a history to be taken over?
static bool whole(const struct tracked *t)
{
	return !t->starting && !t->lost[0];
}

// The programs that are there, in ours, too. What is optional is so here.
static int load_sides(int from, struct fault *f)
{
	struct fault ignored;
	bool any = false;

	for (enum way way = 0; way < WAYS; way++) {
		if (!kernel_layout_has(from, way))
			continue;
		if (kernel_load(way, f))
			return -1;
		any = true;
	}
	if (any && kernel_layout_has(from, SIDE_TABLES))
		kernel_load(SIDE_TABLES, &ignored);
	if (any)
		kernel_load(SIDE_HIBERNATE, &ignored);
	return 0;
}

// A history that is not whole stays so, and keeps nobody else's from being taken over.
static int prove_all(struct handover *h, struct fault *f)
{
	for (size_t i = 0; i < h->n; i++)
		if (whole(&h->all[i]) && prove(&h->from, &h->all[i], f) && f->code != BLX_RESYNC)
			return -1;
	return 0;
}

static int open_from(struct handover *h, int layout, struct fault *f)
{
	if (!kernel_open_layout(&h->from, layout, f))
		return 0;
	h->from.layout = layout;
	char why[sizeof(f->text)];
	memcpy(why, f->text, sizeof(why));
	for (size_t i = 0; i < h->n; i++)
		if (whole(&h->all[i]))
			tracked_lose(&h->all[i], f, "the kernel side is gone (%s)", why);
	return 0;
}

// From here on both sides mark.
static int join(struct handover *h, struct tracked *t, struct fault *f)
{
	uint32_t disk = kernel_dev(t->dev.disk_major, t->dev.disk_minor);

	if (!whole(t)) { // `start` begins it anew, with a slot of its own
		t->starting = true;
		t->slot = SLOT_NONE;
		return 0;
	}
	return kernel_slot_alloc(&h->to, disk, &t->slot, f) || activate(&h->to, t, f) ? -1 : 0;
}

static int join_all(struct handover *h, struct fault *f)
{
	bool any = false;

	for (size_t i = 0; i < h->n; i++) {
		h->next[i] = h->all[i];
		any = any || whole(&h->all[i]);
	}
	if (any ? kernel_open(&h->to, f) : kernel_unload_others(h->from.layout, f))
		return -1;
	for (size_t i = 0; i < h->n; i++)
		if (join(h, &h->next[i], f))
			return -1;
	for (enum way way = 0; any && way < SIDES; way++)
		if (kernel_has(way) && prove_host_begin(&h->to, way, &h->host, f))
			return -1;
	for (size_t i = 0; i < h->n; i++)
		if (whole(&h->next[i]) && prove_begin(&h->to, &h->next[i], f))
			return -1;
	return 0;
}

// The older side has seen everything up to now, which is after our baselines.
static int harvest_all(struct handover *h, struct fault *f)
{
	for (size_t i = 0; i < h->n; i++)
		if (whole(&h->all[i]) && flip_copy(&h->from, &h->all[i], f))
			return -1;
	if (prove_all(h, f))
		return -1;
	for (size_t i = 0; i < h->n; i++) {
		struct tracked *t = &h->next[i];
		memcpy(t->lost, h->all[i].lost, sizeof(t->lost));
		t->epoch = h->all[i].epoch;
		t->newest = h->all[i].newest;
		t->unseen = h->all[i].unseen;
		if (tracked_save_next(t, f))
			return -1;
	}
	return host_save_next(&h->host, f);
}

// HOST_NEXT is there, of the layout V: what is not renamed is, and the others leave the kernel.
static int finish(int v, struct fault *f)
{
	if (state_each(tracked_take_next, f) || kernel_unload_others(v, f))
		return -1;
	if (rename(STATE_DIR "/" HOST_NEXT, STATE_DIR "/" HOST_RECORD))
		return fault_errno(f, STATE_DIR "/" HOST_RECORD ": replace");
	return 0;
}

static int hand_over(struct handover *h, int from, struct fault *f)
{
	if (load_sides(from, f) || older_convert(f) || tracked_all(&h->all, &h->n, f))
		return -1;
	h->next = calloc(h->n + 1, sizeof(*h->next));
	if (!h->next)
		return fault_errno(f, "upgrade");
	return open_from(h, from, f) || prove_all(h, f) || join_all(h, f) || harvest_all(h, f)
		       ? -1
		       : finish(TRACK_LAYOUT, f);
}

static int take_over(int from, struct fault *f)
{
	const struct kernel none = {.devices = -1, .bitmaps = -1, .sums = -1, .runs = -1};
	struct handover h = {.from = none, .to = none};
	struct fault ignored;

	// left by one that was killed
	if (kernel_unload_others(from, f))
		return -1;
	int bad = hand_over(&h, from, f);
	kernel_close(&h.from);
	kernel_close(&h.to);
	tracked_all_free(h.all, h.n);
	free(h.next); // shares the directories of all
	if (bad && !state_layout(HOST_NEXT))
		kernel_unload_others(from, &ignored);
	return bad;
}

static int upgrade(struct fault *f)
{
	int layout = state_layout(HOST_RECORD), next = state_layout(HOST_NEXT);

	if (state_newer(f) || state_gone(f))
		return -1;
	if (next && finish(next, f))
		return -1;
	if (next)
		layout = next;
	if (!layout || layout == TRACK_LAYOUT)
		return 0;
	if (layout < OLDEST_LAYOUT)
		return fault_set(
			f, BLX_SYSTEM,
			"tracking was started by a version of blxtrack that is too old to be "
			"taken over (its layout is %d): run 'blxtrack stop --all --force', "
			"then start again",
			layout);
	return take_over(layout, f);
}

int cmd_upgrade(int argc, char **argv)
{
	struct fault f;

	parse_options(argc, argv);
	int lock = state_lock_any(LOCK_WAIT_S, &f);
	if (lock < 0 || upgrade(&f))
		die_fault(&f);
	close(lock);
	return BLX_OK;
}
