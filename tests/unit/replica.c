// SPDX-License-Identifier: BSD-2-Clause
// The replica's record: round trip, damage, steps; and the accept rule against the model's, offset
// by offset.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "accept.h"
#include "replica.h"
#include "tap.h"

static struct fault f;

static struct token tok(int n)
{
	struct token t = {{0}};

	t.b[15] = (uint8_t)n;
	return t;
}

static struct replica full(void)
{
	struct replica r;

	memset(&r, 0, sizeof(r));
	r.id = tok(1);
	r.lineage = tok(2);
	r.major = 259;
	r.minor = 1048575;
	strcpy(r.consumer, "default");
	strcpy(r.label, "disk");
	strcpy(r.serial, "ABC 1 2");
	r.size = 5ull << 40;
	r.has_floor = r.has_partial = r.writing = r.consistent = true;
	r.epoch = 12;
	r.floor = tok(3);
	r.touched = tok(5);
	r.time = 1767323045;
	r.applied = -1;
	r.partial_epoch = 13;
	r.partial = tok(4);
	r.partial_upto = UINT64_MAX;
	r.unread = 3;
	r.partial_unread = 4;
	r.adopted = true;
	r.promoted = 1767323046;
	r.intent = (struct replica_intent){REPLICA_SPOOL,        14, tok(5), 6, 7, 8, 10, true,
					   "/a path/with blanks"};
	r.image = (struct replica_image){1, 2, 3, 4, -5, 6, tok(9)};
	return r;
}

static void test_record(void)
{
	struct replica r = full(), again, none;
	size_t n;
	char *text = replica_format(&r, &n);
	int accepted = 0;

	ok(!replica_parse(text, n, &again, &f) && !memcmp(&r, &again, sizeof(r)),
	   "a full record survives");
	for (size_t i = 0; i < n; i++)
		accepted += !replica_parse(text, i, &again, &f);
	ok(!accepted && f.code == BLX_TARGET, "a record cut anywhere is damaged");
	for (size_t i = 0; i < n * 8; i++) {
		text[i / 8] ^= (char)(1 << i % 8);
		accepted += !replica_parse(text, n, &again, &f);
		text[i / 8] ^= (char)(1 << i % 8);
	}
	ok(!accepted, "a record with any bit flipped is damaged");
	free(text);
	memset(&none, 0, sizeof(none));
	text = replica_format(&none, &n);
	ok(!replica_parse(text, n, &again, &f) && !memcmp(&none, &again, sizeof(none)),
	   "a record without floor, names, partial, intent survives");
	free(text);
}

static void test_files(void)
{
	char dir[] = "/tmp/blx-replica-XXXXXX";
	struct replica r = full(), again;

	if (!ok(mkdtemp(dir), "a directory"))
		return;
	int fd = open(dir, O_RDONLY | O_DIRECTORY);
	ok(replica_load(fd, REPLICA_STATE, &again, &f) == 0, "no state in an empty directory");
	ok(!replica_save(fd, REPLICA_STATE, &r, &f) &&
		   replica_load(fd, REPLICA_STATE, &again, &f) == 1 &&
		   !memcmp(&r, &again, sizeof(r)),
	   "saved and loaded");
	unlinkat(fd, "state", 0);
	close(fd);
	rmdir(dir);
}

// ---- the rule

enum { B = 4, TOKENS = 4 };

static struct head head_of(int base, int cursor, int partial, int upto, int last)
{
	struct head h;
	struct token t;

	head_init(&h);
	h.size = h.limit = B;
	h.lineage = tok(99);
	h.has_base = base >= 0;
	if (h.has_base)
		h.base = tok(base);
	h.cursor = (uint64_t)cursor;
	h.has_partial = upto > 0;
	if (h.has_partial)
		h.partial = tok(partial);
	h.partial_upto = (uint64_t)upto;
	for (int i = h.has_base ? base : 0; i <= last; i++) {
		t = tok(i);
		head_chain_add(&h, &t);
	}
	h.token = tok(last);
	return h;
}

static struct replica replica_of(int floor, int touched, int partial, int upto)
{
	struct replica r;

	memset(&r, 0, sizeof(r));
	r.lineage = tok(99);
	r.size = B;
	r.has_floor = floor >= 0;
	if (r.has_floor)
		r.floor = tok(floor);
	r.touched = tok(touched);
	r.has_partial = upto > 0;
	if (r.has_partial)
		r.partial = tok(partial);
	r.partial_upto = (uint64_t)upto;
	return r;
}

static int at(int token, int first, int last)
{
	return token >= first && token <= last ? token - first : -1;
}

// model/protocol.py: P.accept() with every fix
static enum verdict model(int floor, int touched, int rpt, int rx, int base, int cur, int pt, int x,
			  int last)
{
	int first = base >= 0 ? base : 0;

	if (rx == 0 && floor == touched && floor == last)
		return ACCEPT_ALREADY;
	if (at(touched, first, last) < 0)
		return ACCEPT_REFUSED;
	for (int b = 0; b < B && b < cur; b++) {
		int have = b < rx ? rpt : floor, need = b < x ? pt : first;
		if (at(have, first, last) < at(need, first, last))
			return ACCEPT_REFUSED;
	}
	return ACCEPT_APPLY;
}

static int try(const struct head *h, const struct replica *r, enum verdict want)
{
	const struct found w = {.name = "x", .state = r, .exists = true};

	return accept_judge(&w, h, &f) != want;
}

static int against_all_replicas(int base, int cur, int pt, int x, int last, int *tried)
{
	struct head h = head_of(base, cur, pt, x, last);
	int wrong = 0;

	for (int floor = -1; floor < TOKENS; floor++)
		for (int touched = floor < 0 ? 0 : floor; touched < TOKENS; touched++)
			for (int rx = 0; rx <= B; rx++)
				for (int rpt = 0; rpt <= (rx ? touched : 0); rpt++, ++*tried) {
					struct replica r = replica_of(floor, touched, rpt, rx);
					wrong += try(&h, &r,
						     model(floor, touched, rpt, rx, base, cur, pt,
							   x, last));
				}
	head_free(&h);
	return wrong;
}

static void test_rule(void)
{
	int wrong = 0, tried = 0;

	for (int base = -1; base < TOKENS; base++)
		for (int last = base < 0 ? 0 : base; last < TOKENS; last++)
			for (int cur = 0; cur <= B; cur++)
				for (int x = 0; x <= cur; x++)
					for (int pt = base < 0 ? 0 : base;
					     pt <= (x          ? last
						    : base < 0 ? 0
							       : base);
					     pt++)
						wrong += against_all_replicas(base, cur, pt, x,
									      last, &tried);
	ok(!wrong && tried > 10000, "the rule is the model's in %d cases (%d differ)", tried,
	   wrong);
}

// ---- resync

// The stream's base is what the replica held when it was compared; MAY: permission is given. OURS:
// the replica is of its lineage already.
static int try_resync(struct head *h, struct replica *r, bool may, bool ours, enum verdict plain)
{
	const struct found w = {.name = "x", .state = r, .exists = true, .may_resync = may};
	enum verdict want = plain;

	r->lineage = tok(ours ? 99 : 98);
	// Held complete at its token, but not of this lineage: not there already.
	if (plain == ACCEPT_ALREADY && !ours)
		want = may ? ACCEPT_APPLY : ACCEPT_REFUSED;
	if (plain == ACCEPT_APPLY && !may && (!ours || head_chain_find(h, &r->touched) == 0))
		want = ACCEPT_REFUSED;
	int wrong = accept_judge(&w, h, &f) != want;
	h->replica = tok(51); // of another one: never
	wrong += accept_judge(&w, h, &f) != ACCEPT_REFUSED;
	h->replica = r->id;
	r->promoted = 1; // nor of one that is none any more
	wrong += accept_judge(&w, h, &f) != ACCEPT_REFUSED;
	r->promoted = 0;
	return wrong;
}

static int resyncs_of(int base, int last, int x, int pt, int *tried)
{
	struct head h = head_of(base, B, pt, x, last);
	int wrong = 0;

	h.resync = true;
	h.held = h.base;
	h.replica = tok(50);
	for (int floor = -1; floor < TOKENS; floor++)
		for (int touched = floor < 0 ? 0 : floor; touched < TOKENS; touched++)
			for (int rx = 0; rx <= B; rx++)
				for (int rpt = 0; rpt <= (rx ? touched : 0); rpt++)
					for (int how = 0; how < 4; how++, ++*tried) {
						struct replica r =
							replica_of(floor, touched, rpt, rx);
						r.id = tok(50);
						wrong += try_resync(&h, &r, how & 1, how & 2,
								    model(floor, touched, rpt, rx,
									  base, B, pt, x, last));
					}
	head_free(&h);
	return wrong;
}

static void test_resync(void)
{
	int wrong = 0, tried = 0;

	for (int base = 0; base < TOKENS; base++)
		for (int last = base; last < TOKENS; last++)
			for (int x = 0; x <= B; x++)
				for (int pt = base; pt <= (x ? last : base); pt++)
					wrong += resyncs_of(base, last, x, pt, &tried);
	ok(!wrong && tried > 5000, "a resync is taken as the model says in %d cases (%d differ)",
	   tried, wrong);
}

static void test_adopted(void)
{
	struct head h = head_of(0, B, 0, 0, 1);
	struct replica r, was = full();
	struct found w = {.name = "x", .state = &r, .exists = true, .may_resync = true};

	ok(!replica_register(&r, false, B + 1, 7) && replica_complete(&r) && r.adopted &&
		   !token_equal(&r.floor, &(struct token){{0}}),
	   "what was no replica is complete at a token of its own");
	w.block = true;
	ok(accept_judge(&w, &h, &f) == ACCEPT_REFUSED && strstr(f.text, "only a resync"),
	   "no stream but a resync fits it");
	h.resync = true;
	h.replica = r.id;
	h.base = h.held = h.chain[0] = r.floor;
	ok(accept_judge(&w, &h, &f) == ACCEPT_APPLY, "a device may be larger than its source");
	w.block = false;
	ok(accept_judge(&w, &h, &f) == ACCEPT_REFUSED, "an image may not");
	w.block = true;
	w.may_resync = false;
	ok(accept_judge(&w, &h, &f) == ACCEPT_REFUSED, "not without permission");
	replica_intend(&r, &h, REPLICA_SPOOL);
	replica_finish(&r, 8);
	ok(!r.adopted && r.size == B && token_equal(&r.lineage, &h.lineage),
	   "after it the replica is one of the source");
	r = was;
	ok(!replica_register(&r, true, B, 7) && token_equal(&r.id, &was.id) &&
		   token_equal(&r.lineage, &was.lineage) && !token_equal(&r.floor, &was.floor) &&
		   replica_complete(&r) && !r.promoted && !r.writing,
	   "what was one keeps its name, but not its token");
	head_free(&h);
}

static void test_growth(void)
{
	struct head h = head_of(0, B, 0, 0, 1);
	struct replica r = replica_of(0, 0, 0, 0);

	ok(accept_cover_from(&r, &h) == B, "nothing to cover without growth");
	r.size = 2;
	ok(!try(&h, &r, ACCEPT_APPLY) && accept_cover_from(&r, &h) == 2,
	   "growth must be covered by the stream");
	r = replica_of(0, 1, 1, 3);
	r.size = 2;
	ok(!try(&h, &r, ACCEPT_APPLY) && accept_cover_from(&r, &h) == 3,
	   "but for what a partial has of it");
	h.size = 3;
	r.size = 4;
	ok(!try(&h, &r, ACCEPT_REFUSED), "shrinking is refused");
	head_free(&h);
}

static void test_partial(void)
{
	struct head h = head_of(0, B, 0, 0, 2);
	struct replica r = replica_of(0, 1, 1, 3);

	ok(!replica_advance(&r, &h, 2) && r.partial_upto == 3 &&
		   token_equal(&r.partial, h.chain + 1),
	   "a stream that has not passed the old partial leaves it");
	ok(replica_advance(&r, &h, 3) && token_equal(&r.partial, &h.token),
	   "one that has takes it over");
	replica_intend(&r, &h, REPLICA_CLONE);
	ok(!token_equal(&r.touched, &h.token), "a clone does not touch the image");
	replica_intend(&r, &h, REPLICA_SPOOL);
	ok(token_equal(&r.touched, &h.token) && !replica_complete(&r), "a spool does");
	replica_finish(&r, 1);
	ok(replica_complete(&r) && !r.has_partial, "finished is complete");
	head_free(&h);
}

static void test_certify(void)
{
	struct head h = head_of(0, B, 0, 0, 1);
	struct replica r = replica_of(0, 0, 0, 0);

	ok(replica_certifies(&r, &h, 0, B), "an empty list on the replica's own token certifies");
	ok(!replica_certifies(&r, &h, 1, B), "one with a frame does not");
	ok(!replica_certifies(&r, &h, 0, B - 1), "nor a limited one");
	r.touched = tok(1);
	ok(!replica_certifies(&r, &h, 0, B), "nor on an incomplete replica");
	r = replica_of(1, 1, 0, 0);
	ok(!replica_certifies(&r, &h, 0, B), "nor on another token than its base");
	head_free(&h);
}

int main(void)
{
	test_record();
	test_files();
	test_rule();
	test_resync();
	test_adopted();
	test_growth();
	test_partial();
	test_certify();
	return done();
}
