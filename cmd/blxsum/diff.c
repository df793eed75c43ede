// SPDX-License-Identifier: BSD-2-Clause
// What differs, as an anonymous extent list that says between which device and which replica.
#include <errno.h>
#include <string.h>

#include "blxsum.h"
#include "die.h"

static void make_head(const struct options *o, const struct subject *s,
		      const struct sums_head *theirs, struct head *h)
{
	const struct sums_head *mine = &s->head;

	head_init(h);
	h->anonymous = true;
	h->size = h->limit = s->source.size;
	h->time = mine->time;
	memcpy(h->name, mine->name, sizeof(h->name));
	// One that moves on is not at that token then; and a part is no whole replica.
	h->resync = theirs->has_token && !o->live && !o->only;
	h->replica = theirs->replica;
	h->held = theirs->token;
	h->has_since = mine->has_since;
	h->since = mine->since;
	h->since_epoch = mine->since_epoch;
}

void diff_begin(struct diff *d, const struct options *o, const struct subject *s,
		const struct sums_head *theirs)
{
	struct head h;

	*d = (struct diff){.quiet = o->quiet};
	if (d->quiet)
		return;
	make_head(o, s, theirs, &h);
	if (extlist_begin(&d->list, stdout, &h))
		die_stdout();
}

void diff_put(struct diff *d, uint64_t offset, uint64_t length)
{
	d->bytes += length;
	if (!d->quiet && extlist_put(&d->list, (struct extent){offset, length}))
		die_stdout();
}

void diff_rest(struct diff *d, const struct options *o, struct ranges *r, uint64_t limit,
	       uint64_t size)
{
	struct extent e;

	while (ranges_next(r, UINT64_MAX, &e))
		if (o->only)
			diff_put(d, e.offset, e.length);
	ranges_close(r);
	if (!o->only && limit < size)
		diff_put(d, limit, size - limit);
}

int diff_end(struct diff *d)
{
	if (d->quiet)
		return d->bytes ? BLX_DIFFERS : BLX_OK;
	if (extlist_end(&d->list))
		die_stdout();
	return BLX_OK;
}

int diff_limit(const struct subject *s, const struct sums_head *theirs, uint64_t *limit,
	       struct fault *f)
{
	uint64_t mine = s->source.size;

	*limit = theirs->size < mine ? theirs->size : mine;
	if (theirs->size <= mine || theirs->device)
		return 0;
	return fault_set(
		f, BLX_TARGET, "%s: is shorter (%llu) than what it is compared with (%llu)",
		s->source.name, (unsigned long long)mine, (unsigned long long)theirs->size);
}
