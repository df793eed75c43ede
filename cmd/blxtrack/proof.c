// SPDX-License-Identifier: BSD-2-Clause
// Did the programs see every write?
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "flip.h"
#include "num.h"

enum { STILL_TRIES = 50, STILL_NS = 20000000, BEGIN_NS = 300000000 };

// ---- sums

// Sectors written and discarded as the kernel accounts them (Documentation/block/stat.rst).
struct accounted {
	uint64_t written, discarded;
};

static int read_stat(const struct blkdev *d, struct accounted *a, struct fault *f)
{
	enum { WRITTEN = 6, DISCARDED = 13, FIELDS }; // from 0; sectors; discards since 4.18
	char text[512], *rest = text, *word;
	uint64_t v[FIELDS] = {0};
	int n = 0;

	if (blkdev_attr(d, "stat", text, sizeof(text)))
		return fault_errno(f, "%s: stat", d->disk_name);
	while (n < FIELDS && (word = strtok_r(rest, " \n", &rest)))
		if (num_u64(word, &v[n++]))
			break;
	if (n < FIELDS)
		return fault_set(f, BLX_SYSTEM, "%s: stat: %d numbers, not %d", d->disk_name, n,
				 FIELDS);
	*a = (struct accounted){v[WRITTEN], v[DISCARDED]};
	return 0;
}

// One sample: what was accounted before the look at the programs' sums had been seen by then; what
// was seen will be accounted, most of it after the grace already.
struct sample {
	struct accounted before, seen, submitted, after;
	enum proof proof;
};

static int read_seen(const struct kernel *k, const struct tracked *t, struct sample *to,
		     struct fault *f)
{
	struct sums s[SUMS];
	uint64_t misses[PROGRAMS];
	enum program program, end;
	uint32_t first;

	if (kernel_slot_first(k, kernel_dev(t->dev.disk_major, t->dev.disk_minor), &first, f) ||
	    kernel_sums(k, first, s, f) || kernel_misses(k, misses, f))
		return -1;
	to->seen = (struct accounted){0, 0};
	to->submitted = (struct accounted){s[SUBMIT].written, s[SUBMIT].discarded};
	to->proof = PROOF_DEPTH;
	kernel_programs(t->way, &program, &end);
	for (int i = 0; i < INSTANCES; i++, program++) {
		if (!misses[program])
			to->proof = PROOF_SUMS;
		if (s[i].written > to->seen.written)
			to->seen.written = s[i].written;
		if (s[i].discarded > to->seen.discarded)
			to->seen.discarded = s[i].discarded;
	}
	return 0;
}

static int take_sample(const struct kernel *k, const struct tracked *t, struct sample *s,
		       struct fault *f)
{
	return read_stat(&t->dev, &s->before, f) || read_seen(k, t, s, f) || kernel_grace(k, f) ||
			       read_stat(&t->dev, &s->after, f)
		       ? -1
		       : 0;
}

enum verdict { FITS, MISSED, STOOD_STILL, BACKWARDS };

static enum verdict weigh(const struct balance *b, uint64_t before, uint64_t seen, uint64_t after)
{
	if (before < b->accounted)
		return BACKWARDS;
	if ((int64_t)(before - seen) > b->hi)
		return MISSED;
	if ((int64_t)(after - seen) < b->lo)
		return STOOD_STILL;
	return FITS;
}

static void narrow(struct balance *b, uint64_t before, uint64_t seen, bool settled)
{
	int64_t lo = (int64_t)(before - seen), hi = (int64_t)(before - b->waiting);

	b->lo = lo > b->lo ? lo : b->lo;
	b->accounted = before;
	if (settled) {
		b->hi = hi < b->hi ? hi : b->hi;
		b->waiting = seen;
	}
}

int64_t boot_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return t.tv_sec;
}

static bool iostats_on(const struct blkdev *d)
{
	char v[16];

	return blkdev_attr(d, "queue/iostats", v, sizeof(v)) || strcmp(v, "0");
}

// Too low an upper bound, by what is accounted late, only makes submissions be asked.
static void rebase(struct tracked *t, const struct sample *s)
{
	t->written = (struct balance){(int64_t)(s->before.written - s->seen.written),
				      (int64_t)(s->after.written - s->seen.written),
				      s->before.written, s->seen.written};
	t->discarded = (struct balance){(int64_t)(s->before.discarded - s->seen.discarded),
					(int64_t)(s->after.discarded - s->seen.discarded),
					s->before.discarded, s->seen.discarded};
	t->waiting_since = boot_seconds();
}

static void narrow_both(struct tracked *t, const struct sample *s)
{
	int64_t now = boot_seconds();
	bool settled = now - t->waiting_since > SETTLE_S;

	narrow(&t->written, s->before.written, s->seen.written, settled);
	narrow(&t->discarded, s->before.discarded, s->seen.discarded, settled);
	if (settled)
		t->waiting_since = now;
}

static uint64_t excess(const struct balance *b, uint64_t before, uint64_t seen)
{
	int64_t now = (int64_t)(before - seen);

	return now > b->hi ? (uint64_t)(now - b->hi) : 0;
}

// Completions were missed by every instance. Each such write was marked when it was submitted, and
// again by every flip while it seemed to be in flight; unless submissions are short as well.
static int take_unseen(struct tracked *t, const struct sample *s, struct fault *f)
{
	uint64_t written = excess(&t->sub_written, s->before.written, s->submitted.written);
	uint64_t discarded = excess(&t->sub_discarded, s->before.discarded, s->submitted.discarded);

	if (written || discarded)
		return tracked_lose(t, f,
				    "the kernel accounted more writes than the programs saw "
				    "(%" PRIu64 " sectors written, %" PRIu64 " discarded too many)",
				    written, discarded);
	t->unseen += excess(&t->written, s->before.written, s->seen.written) +
		     excess(&t->discarded, s->before.discarded, s->seen.discarded);
	t->proof = iostats_on(&t->dev) ? s->proof : PROOF_NONE;
	rebase(t, s);
	return tracked_save(t, f);
}

static int prove_sums(const struct kernel *k, struct tracked *t, struct fault *f)
{
	struct sample s;

	for (int tries = 0;; tries++) {
		if (take_sample(k, t, &s, f))
			return -1;
		enum verdict w =
			weigh(&t->written, s.before.written, s.seen.written, s.after.written);
		enum verdict d = weigh(&t->discarded, s.before.discarded, s.seen.discarded,
				       s.after.discarded);
		if (w == BACKWARDS || d == BACKWARDS)
			return tracked_lose(t, f, "the kernel's statistics ran backwards");
		if ((w == MISSED || d == MISSED) && s.proof != PROOF_DEPTH)
			return take_unseen(t, &s, f);
		if (w == FITS && d == FITS) {
			t->proof = iostats_on(&t->dev) ? s.proof : PROOF_NONE;
			narrow_both(t, &s);
			return tracked_save(t, f);
		}
		if (tries == STILL_TRIES || !iostats_on(&t->dev) || s.proof == PROOF_DEPTH)
			break;
		nanosleep(&(struct timespec){0, STILL_NS}, NULL);
	}
	t->proof = s.proof == PROOF_DEPTH ? PROOF_DEPTH : PROOF_NONE;
	rebase(t, &s);
	return tracked_save(t, f);
}

static int read_troubles(const struct kernel *k, const struct tracked *t, struct troubles *now,
			 struct fault *f)
{
	uint32_t first;

	if (kernel_slot_first(k, kernel_dev(t->dev.disk_major, t->dev.disk_minor), &first, f))
		return -1;
	*now = (struct troubles){k->slots[t->slot].beyond,  k->slots[t->slot].unplaced,
				 k->slots[first].unplaced,  k->slots[first].passed,
				 k->slots[first].crowded,   k->slots[first].swaps,
				 k->images ? *k->images : 0};
	return 0;
}

int prove_begin(const struct kernel *k, struct tracked *t, struct fault *f)
{
	struct accounted later;
	struct sample s;

	if (take_sample(k, t, &s, f) || read_troubles(k, t, &t->known, f))
		return -1;
	// what was seen, or was on its way, has been accounted by now
	nanosleep(&(struct timespec){0, BEGIN_NS}, NULL);
	if (read_stat(&t->dev, &later, f))
		return -1;
	rebase(t, &s);
	t->proof = t->way != WAY_REQUEST ? s.proof == PROOF_DEPTH ? PROOF_DEPTH : PROOF_RUNS
		   : iostats_on(&t->dev) ? s.proof
					 : PROOF_NONE;
	t->written.hi = (int64_t)(later.written - s.seen.written);
	t->discarded.hi = (int64_t)(later.discarded - s.seen.discarded);
	t->sub_written.hi = (int64_t)(later.written - s.submitted.written);
	t->sub_discarded.hi = (int64_t)(later.discarded - s.submitted.discarded);
	return 0;
}

// ---- runs

// The tracepoints of a way that have several instances, by their first program.
static int groups_of(enum way way, enum program first[2])
{
	switch (way) {
	case WAY_REQUEST:
		first[0] = COMPLETE_0;
		return 1;
	case WAY_HEAD:
		first[0] = HEAD_COMPLETE_0;
		return 1;
	case WAY_BIO:
		first[0] = QUEUE_0;
		first[1] = REMAP_0;
		return 2;
	default:
		return 0;
	}
}

static int count_events(const struct kernel *k, uint64_t events[PROGRAMS], struct fault *f)
{
	uint64_t misses[PROGRAMS];

	if (kernel_misses(k, misses, f) || kernel_runs(k, events, f))
		return -1;
	for (int p = 0; p < PROGRAMS; p++)
		events[p] += misses[p];
	return 0;
}

// Bounds on how far the first instance's events are ahead of the others': what one look counts, all
// have counted by the look after the grace.
static int sample_events(const struct kernel *k, enum way way, int64_t lo[PROGRAMS],
			 int64_t hi[PROGRAMS], struct fault *f)
{
	uint64_t a[PROGRAMS], b[PROGRAMS];
	enum program first[2];

	if (count_events(k, a, f) || kernel_grace(k, f) || count_events(k, b, f))
		return -1;
	for (int g = groups_of(way, first) - 1; g >= 0; g--) {
		for (enum program p = first[g]; p < first[g] + INSTANCES; p++) {
			lo[p] = (int64_t)(a[first[g]] - b[p]);
			hi[p] = (int64_t)(b[first[g]] - a[p]);
		}
	}
	return 0;
}

int prove_host_begin(const struct kernel *k, enum way way, struct host *h, struct fault *f)
{
	struct kernel_ids now;
	enum program p, end;

	if (kernel_ids(k->layout, &now, f))
		return -1;
	for (kernel_programs(way, &p, &end); p < end; p++) {
		h->ids.link[p] = now.link[p];
		h->ids.prog[p] = now.prog[p];
	}
	return sample_events(k, way, h->apart_lo, h->apart_hi, f);
}

// Was the program P attached by start, and is it still?
static int prove_program(struct tracked *t, enum program p, const struct kernel_ids *then,
			 const struct kernel_ids *now, struct fault *f)
{
	if (!now->link[p])
		return tracked_lose(t, f, "a tracking program was detached");
	if (now->link[p] != then->link[p] || now->prog[p] != then->prog[p])
		return tracked_lose(t, f, "the tracking programs were replaced");
	return 0;
}

static int prove_host(const struct kernel *k, struct tracked *t, struct fault *f)
{
	int64_t lo[PROGRAMS], hi[PROGRAMS];
	struct kernel_ids now;
	enum program p, end, first[2];
	struct host h;

	if (host_load_layout(&h, k->layout, f))
		return f->code == BLX_RESYNC
			       ? tracked_lose(t, f, "the record of its programs is damaged or gone")
			       : -1;
	if (kernel_ids(k->layout, &now, f))
		return -1;
	for (kernel_programs(t->way, &p, &end); p < end; p++)
		if (prove_program(t, p, &h.ids, &now, f))
			return -1;
	if (t->way == WAY_BIO && h.ids.link[SWAP_TABLE] && !strncmp(t->backing, "table ", 6) &&
	    prove_program(t, SWAP_TABLE, &h.ids, &now, f))
		return -1;
	if (h.ids.link[HIBERNATE] && prove_program(t, HIBERNATE, &h.ids, &now, f))
		return -1;
	if (sample_events(k, t->way, lo, hi, f))
		return -1;
	for (int g = groups_of(t->way, first) - 1; g >= 0; g--)
		for (p = first[g]; p < first[g] + INSTANCES; p++)
			if (lo[p] > h.apart_hi[p] || hi[p] < h.apart_lo[p])
				return tracked_lose(t, f,
						    "the instances of the tracking program counted "
						    "different numbers of events");
	return 0;
}

// Once to a table that identify_again() takes for the same content is a volume that was extended,
// or got a snapshot; more often may hide another table in between. (Of multipath, the only
// request-based target, any table leads to the same disk.)
static int prove_table(struct tracked *t, uint64_t swaps, struct fault *f)
{
	uint64_t n = swaps - t->known.disk_swaps;

	t->known.disk_swaps = swaps;
	if (n > 1 && t->way != WAY_REQUEST)
		return tracked_lose(t, f,
				    "its device-mapper table was exchanged %" PRIu64
				    " times since the last look",
				    n);
	return 0;
}

// Bio-based devices account in ways of their own, so that sums prove nothing there; but what is
// accounted never runs backwards, and zram, which accounts each write, starts from zero when it is
// reset (its diskseq stays).
static int prove_accounts(const struct kernel *k, struct tracked *t, struct fault *f)
{
	struct sample s;
	bool zram = !strncmp(t->dev.disk_name, "zram", 4);

	for (int tries = 0;; tries++) {
		if (take_sample(k, t, &s, f))
			return -1;
		enum verdict w =
			weigh(&t->written, s.before.written, s.seen.written, s.after.written);
		if (w == BACKWARDS || (w == STOOD_STILL && zram && tries == STILL_TRIES))
			return tracked_lose(t, f, "it was reset: its statistics began anew");
		if (w != STOOD_STILL || !zram)
			break;
		nanosleep(&(struct timespec){0, STILL_NS}, NULL);
	}
	t->written.accounted = s.before.written;
	t->proof = s.proof == PROOF_DEPTH ? PROOF_DEPTH : PROOF_RUNS;
	return tracked_save(t, f);
}

int prove(const struct kernel *k, struct tracked *t, struct fault *f)
{
	const volatile struct slot *s = &k->slots[t->slot];
	struct troubles before, now;
	uint64_t size = 0;

	if (identify_again(t, &size, f) || prove_host(k, t, f))
		return -1;
	if (!s->active || s->start != t->dev.start >> SECTOR_SHIFT || s->way != t->way)
		return tracked_lose(t, f, "the kernel side was changed");
	// exchanges of a table are counted before a look at it: a later one counts next time
	if (read_troubles(k, t, &before, f) || identify_again(t, &size, f) ||
	    prove_table(t, before.disk_swaps, f))
		return -1;
	if (read_troubles(k, t, &now, f))
		return -1;
	if (now.images != t->known.images)
		return tracked_lose(t, f, "the machine was hibernated");
	if (now.unplaced != t->known.unplaced || now.disk_unplaced != t->known.disk_unplaced)
		return tracked_lose(t, f, "some writes could not be placed");
	if (now.disk_crowded != t->known.disk_crowded)
		return tracked_lose(t, f, "more than %d writes were in flight at once", BIOS);
	if (now.beyond != t->known.beyond && size == t->dev.size)
		return tracked_lose(t, f, "writes beyond its end of %" PRIu64 " bytes",
				    t->dev.size);
	if (now.disk_passed != t->known.disk_passed && !t->ignore_passthrough)
		return tracked_lose(t, f,
				    "passthrough commands (SG_IO or the like) that may "
				    "have written");
	return t->way == WAY_REQUEST ? prove_sums(k, t, f) : prove_accounts(k, t, f);
}
