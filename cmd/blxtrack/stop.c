// SPDX-License-Identifier: BSD-2-Clause
// blxtrack stop: forget devices; with the last one the programs leave the kernel.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blxtrack.h"
#include "die.h"
#include "saved.h"

struct options {
	bool all, force;
};

static void usage(FILE *to)
{
	fputs("usage: blxtrack stop [--force] DEV... | --all\n"
	      "      --all    every tracked device\n"
	      "      --force  also with changes that a consumer has not acked: they are forgotten\n"
	      "  -h, --help   this text\n",
	      to);
}

static struct options parse_options(int argc, char **argv)
{
	static const struct option longs[] = {{"all", no_argument, NULL, 'a'},
					      {"force", no_argument, NULL, 'f'},
					      {"help", no_argument, NULL, 'h'},
					      {0}};
	struct options o = {0};
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 'a':
			o.all = true;
			break;
		case 'f':
			o.force = true;
			break;
		case 'h':
			usage(stdout);
			close_stdout();
			exit(BLX_OK);
		default:
			usage_error(NULL);
		}
	}
	if (o.all == (optind < argc))
		usage_error("stop: name devices, or --all");
	return o;
}

// Does any consumer lack anything? Looks at the live bitmaps too, moves nothing.
static int check_acked(const struct session *s, struct tracked *t, struct fault *f)
{
	struct consumer *c;
	struct changes ch;
	size_t n;
	uint64_t bytes;

	if (t->starting)
		return 0;
	if (saved_refuse(t, f))
		return -1;
	if (t->lost[0])
		return fault_set(f, BLX_BUSY,
				 "%s: tracking is incomplete (%s): what its consumers lack is not "
				 "known; --force forgets it",
				 t->dev.name, t->lost);
	if (consumer_all(t, &c, &n, f))
		return -1;
	int bad = 0;
	for (size_t i = 0; i < n && !bad; i++) {
		bad = changes_preview(&ch, &s->k, t, &c[i], f);
		if (bad)
			break;
		bad = changes_bytes(&ch, &bytes, f);
		changes_close(&ch);
		if (!bad && (bytes || c[i].lost))
			bad = fault_set(f, BLX_BUSY,
					"%s: consumer %s has not acked %llu bytes; --force forgets "
					"them",
					t->dev.name, c[i].name, (unsigned long long)bytes);
	}
	free(c);
	if (bad && t->lost[0])
		return fault_set(f, BLX_BUSY, "%s: %s; --force forgets it", t->dev.name, t->lost);
	return bad;
}

// A later boot would take up what ends here; by force it ends even so, and that is told.
static int end_saved(const struct tracked *t, bool force, struct fault *f)
{
	if (saved_take_back(t, f) >= 0)
		return 0;
	if (!force)
		return -1;
	warn("%s", f->text);
	if (saved_abandon(t, f))
		warn("%s", f->text);
	warn("%s: its history is forgotten; what was saved of it must never be restored",
	     t->dev.name);
	return 0;
}

static int stop_one(const struct session *s, struct tracked *t, bool force, struct fault *f)
{
	uint32_t disk = kernel_dev(t->dev.disk_major, t->dev.disk_minor);

	if (end_saved(t, force, f))
		return -1;
	// killed from here on it has no bitmaps, and no flip of the others must look for them
	t->starting = true;
	if (tracked_save(t, f) ||
	    (t->slot != SLOT_NONE && kernel_slot_unlink(&s->k, disk, t->slot, f)))
		return -1;
	return tracked_remove(t, f);
}

// What was saved of devices is used up, as far as can be found out.
static void take_back_all(void)
{
	struct tracked *all;
	struct fault f;
	size_t n;

	if (tracked_all(&all, &n, &f)) {
		warn("%s; what was saved of a device is not used up: remove it", f.text);
		return;
	}
	for (size_t i = 0; i < n; i++)
		end_saved(&all[i], true, &f);
	tracked_all_free(all, n);
}

static int leave(struct fault *f)
{
	if (kernel_present() && kernel_unload(f))
		return -1;
	return state_unmount(f);
}

static int stop_named(const struct options *o, int n, char **paths, struct fault *f)
{
	struct session s;
	size_t stopped = 0;
	int bad = 0;

	if (session_open_any(&s, paths, (size_t)n, f))
		return -1;
	for (size_t i = 0; i < s.n && !bad; i++) {
		s.wanted[i] |= o->all;
		if (s.wanted[i] && !o->force)
			bad = check_acked(&s, &s.all[i], f);
	}
	for (size_t i = 0; i < s.n && !bad; i++) {
		if (s.wanted[i])
			bad = stop_one(&s, &s.all[i], o->force, f);
		stopped += s.wanted[i];
	}
	if (!bad && stopped == s.n)
		bad = leave(f);
	session_close(&s);
	return bad;
}

int cmd_stop(int argc, char **argv)
{
	const struct options o = parse_options(argc, argv);
	struct fault f;

	// --all --force works whatever state things are in
	if (o.all && o.force) {
		int lock = state_lock_any(LOCK_WAIT_S, &f);
		if (lock < 0)
			die_fault(&f);
		take_back_all();
		if (leave(&f))
			die_fault(&f);
		close(lock);
		return BLX_OK;
	}
	if (stop_named(&o, argc - optind, argv + optind, &f))
		die_fault(&f);
	return BLX_OK;
}
