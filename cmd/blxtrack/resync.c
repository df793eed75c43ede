// SPDX-License-Identifier: BSD-2-Clause
// blxtrack resync: what a comparison found takes the place of the whole device; or, for a consumer
// whose position is known, what is wrong on the other side is listed again.
#include <string.h>
#include <unistd.h>

#include "blxtrack.h"
#include "die.h"
#include "extlist.h"
#include "options.h"

static void usage(FILE *to)
{
	fputs("usage: blxtrack resync [-c CONSUMER] DEV < EXTENTS\n"
	      "  -c, --consumer NAME  whose replica was compared (default: default)\n"
	      "  -h, --help           this text\n"
	      "EXTENTS are what a comparison found to differ, e.g.\n"
	      "  blxsum --tree /dev/sda -- ssh backup blxsum --serve /srv/sda.img |\n"
	      "    blxtrack resync /dev/sda\n"
	      "They take the place of the whole device for a consumer that lacks it or is lost; "
	      "for "
	      "one\n"
	      "whose replica is where its acks say, they are listed again.\n",
	      to);
}

// Must the replica's token become the consumer's base? Not if it is known: the base, or one that
// was issued since.
static int needs_base(const struct tracked *t, const struct consumer *c, const struct head *h,
		      struct fault *f)
{
	struct delta *d;
	size_t n;

	if (c->lost || !c->has_base)
		return 1;
	if (!h->resync || token_equal(&h->held, &c->base))
		return 0;
	if (delta_all(t, c->epoch, &d, &n, f))
		return -1;
	int yes = !delta_stamp(d, n, &h->held);
	delta_all_free(d, n);
	return yes;
}

// What was compared must have been compared after tracking began, and nothing that was written
// since may have been forgotten.
static int check_since(const struct tracked *t, const struct consumer *c, const struct head *h,
		       struct fault *f)
{
	if (!h->resync)
		return fault_set(f, BLX_TARGET,
				 "%s: the list does not say which replica it was compared with: "
				 "blxsum --tree, or digests of a replica",
				 t->dev.name);
	if (!h->has_since)
		return fault_set(f, BLX_TARGET,
				 "%s: the comparison began when the device was not tracked: "
				 "compare again",
				 t->dev.name);
	if (!token_equal(&h->since, &t->lineage))
		return fault_set(f, BLX_TARGET,
				 "%s: the comparison began under another lineage: compare again",
				 t->dev.name);
	if (h->since_epoch > t->epoch)
		return fault_set(f, BLX_CORRUPT, "%s: the list is of an epoch yet to come",
				 t->dev.name);
	if (c->epoch > h->since_epoch)
		return fault_set(f, BLX_TARGET,
				 "%s: consumer %s has moved on since the comparison began: compare "
				 "again",
				 t->dev.name, c->name);
	return 0;
}

static int check_tracking(const struct tracked *t, struct fault *f)
{
	return t->lost[0] ? fault_set(f, BLX_RESYNC,
				      "%s: tracking is incomplete: %s: run 'blxtrack start', then "
				      "compare",
				      t->dev.name, t->lost)
			  : 0;
}

static int check(const struct tracked *t, const struct consumer *c, const struct head *h,
		 int *rebase, struct fault *f)
{
	if (!h->anonymous)
		return fault_set(f, BLX_TARGET, "%s: the list is not one of a comparison",
				 t->dev.name);
	if (h->size > t->dev.size)
		return fault_set(f, BLX_TARGET,
				 "%s: wrong size: the list is of a device of %llu bytes, not %llu",
				 t->dev.name, (unsigned long long)h->size,
				 (unsigned long long)t->dev.size);
	*rebase = needs_base(t, c, h, f);
	if (*rebase == 0 && h->has_since && !token_equal(&h->since, &t->lineage))
		return fault_set(f, BLX_TARGET,
				 "%s: the list is of another device, or lineage: compare again",
				 t->dev.name);
	return *rebase < 0 || (*rebase && check_since(t, c, h, f)) ? -1 : 0;
}

// Under the lock.
static int look(struct session *s, char *dev, const char *consumer, struct consumer *c,
		const struct head *h, int *rebase, struct fault *f)
{
	if (session_open(s, (char *[]){dev}, 1, f))
		return -1;
	// The flip finds out what the device has grown by; and a list that is out already does not
	// have what is to be listed again: those of later epochs do.
	if (!consumer_load(s->want[0], consumer, c, f) && !check_tracking(s->want[0], f) &&
	    !session_flip(s, f) && !check(s->want[0], c, h, rebase, f))
		return 0;
	session_close(s);
	return -1;
}

// The extents that follow, into a file that belongs to nobody yet.
static int take(struct extlist_reader *in, struct extra_writer *w, struct fault *f)
{
	const struct head *more;
	struct extent e;
	int got;

	while ((got = extlist_next(in, &e, f)) == 1)
		if (extra_add(w, e, f))
			return -1;
	if (!got && (got = extlist_head(in, &more, f)) > 0)
		got = fault_set(f, BLX_CORRUPT, "a second list follows: one comparison at a time");
	return got;
}

// All of the replica was compared: what was to come again differs, or does not.
static void set_base(struct consumer *c, const struct head *h, uint64_t epoch)
{
	c->has_base = c->resync = true;
	c->base = h->held;
	c->replica = h->replica;
	c->cursor = h->size;
	c->has_partial = c->lost = false;
	c->resync_epoch = epoch;
	c->extra[EXTRA_AGAIN] = 0;
}

// What the consumer was to get again stays, if its replica does.
static int add_again(struct extra_writer *w, const struct tracked *t, const struct consumer *c,
		     struct fault *f)
{
	struct bitfile old;
	int had = extra_open(&old, t, c, EXTRA_AGAIN, f);

	if (had <= 0)
		return had;
	int bad = extra_join(w, &old, f);
	bitfile_close(&old);
	return bad;
}

static int finish(struct session *s, struct consumer *c, const struct head *h, int rebase,
		  struct extra_writer *w, struct fault *f)
{
	struct tracked *t = s->want[0];

	if (!rebase && add_again(w, t, c, f)) {
		extra_drop(w);
		return -1;
	}
	if (extra_end(w, c, rebase ? EXTRA_RESYNC : EXTRA_AGAIN, f))
		return -1;
	if (rebase)
		set_base(c, h, t->epoch);
	else
		c->again_epoch = t->epoch;
	return consumer_save(t, c, f) || extra_tidy(t, c, f) ? -1 : 0;
}

static int resync(struct extlist_reader *in, char *dev, const char *consumer, struct fault *f)
{
	const struct head *h;
	struct extra_writer w;
	struct session s;
	struct consumer c;
	struct tracked t;
	int rebase;

	if (extlist_head(in, &h, f) < 0 || look(&s, dev, consumer, &c, h, &rebase, f))
		return -1;
	t = *s.want[0];
	t.dirfd = dup(t.dirfd);
	session_close(&s); // a comparison may take hours
	if (t.dirfd < 0)
		return fault_errno(f, "%s", t.dev.name);
	int bad = extra_begin(&w, &t, f);
	if (!bad && (take(in, &w, f) || look(&s, dev, consumer, &c, h, &rebase, f))) {
		extra_drop(&w);
		bad = -1;
	} else if (!bad) {
		bad = finish(&s, &c, h, rebase, &w, f);
		session_close(&s);
	}
	close(t.dirfd);
	return bad;
}

int cmd_resync(int argc, char **argv)
{
	const struct options o = parse_options(argc, argv, "c", usage);
	struct fault f;

	if (argc - optind != 1)
		usage_error("resync: %s", optind == argc ? "which device?" : "one device only");
	if (isatty(STDIN_FILENO))
		usage_error("resync: a list of what differs is wanted on standard input, not a "
			    "terminal");
	struct extlist_reader *in = extlist_reader_new(STDIN_FILENO);
	if (!in)
		die_errno("extent list");
	if (resync(in, argv[optind], o.consumer, &f))
		die_fault(&f);
	extlist_reader_free(in);
	return BLX_OK;
}
