// SPDX-License-Identifier: BSD-2-Clause
#include <stdio.h>
#include <string.h>

#include "accept.h"
#include "num.h"

static uint64_t partial_upto(const struct head *h)
{
	return h->has_partial ? h->partial_upto : 0;
}

static uint64_t held_upto(const struct replica *r)
{
	return r->has_partial ? r->partial_upto : 0;
}

bool accept_whole(const struct head *h)
{
	return !h->anonymous && !h->has_base && !h->cursor && !partial_upto(h);
}

uint64_t accept_cover_from(const struct replica *r, const struct head *h)
{
	if (!r || !r->has_floor)
		return h->cursor;
	uint64_t known = held_upto(r) > r->size ? held_upto(r) : r->size;
	return h->cursor < known ? h->cursor : known;
}

static int differs(struct fault *f, const char *name, const char *what, const char *have,
		   const char *want)
{
	return fault_set(f, BLX_TARGET, "%s: wrong %s: the replica is of %s, the stream of %s",
			 name, what, have, want);
}

static int same_lineage(const struct found *w, const struct head *h, struct fault *f)
{
	const struct replica *r = w->state;
	char have[UUID_TEXT], want[UUID_TEXT];

	if (token_equal(&r->lineage, &h->lineage))
		return 0;
	uuid_format(&r->lineage, have);
	uuid_format(&h->lineage, want);
	return differs(f, w->name, "lineage", have, want);
}

// The lineage is of one device, whose number may be another after a reboot.
static int same_device(const struct found *w, const struct head *h, struct fault *f)
{
	const struct replica *r = w->state;

	if (r->serial[0] && h->serial[0] && strcmp(r->serial, h->serial))
		return differs(f, w->name, "device serial", r->serial, h->serial);
	return 0;
}

static int same_size(const struct found *w, const struct head *h, struct fault *f)
{
	// Of a device that was adopted nobody knows how much is its source's.
	if (h->size >= w->state->size || (w->block && w->state->adopted))
		return 0;
	return fault_set(
		f, BLX_TARGET,
		"%s: wrong size: the replica has %llu bytes, the stream's device only %llu",
		w->name, (unsigned long long)w->state->size, (unsigned long long)h->size);
}

// What the replica holds from A up to the next breakpoint must be at or after what the stream
// assumes there.
static int holds_at(const struct found *w, const struct head *h, uint64_t a, struct fault *f)
{
	const struct replica *r = w->state;
	bool resumes = a < partial_upto(h);
	const struct token *need = resumes ? &h->partial : h->has_base ? &h->base : &h->chain[0];
	const struct token *have = a < held_upto(r) ? &r->partial : r->has_floor ? &r->floor : NULL;
	char needed[TOKEN_TEXT], held[TOKEN_TEXT] = "no epoch";

	// The source has grown since the floor: the stream itself must hold that part
	// (accept_cover_from).
	if (r->has_floor && a >= r->size && a >= held_upto(r) && !resumes)
		return 0;
	if (have && head_chain_find(h, have) >= head_chain_find(h, need))
		return 0;
	token_format(need, needed);
	if (have)
		token_format(have, held);
	return fault_set(
		f, BLX_TARGET,
		"%s: wrong base: from byte %llu on the stream needs %s, the replica holds %s",
		w->name, (unsigned long long)a, needed, held);
}

static int holds(const struct found *w, const struct head *h, struct fault *f)
{
	const struct replica *r = w->state;
	const uint64_t breaks[] = {0, partial_upto(h), held_upto(r), r->size};
	char touched[TOKEN_TEXT];

	if (head_chain_find(h, &r->touched) < 0) {
		token_format(&r->touched, touched);
		return fault_set(f, BLX_TARGET,
				 "%s: wrong base: the replica's newest epoch %s is not in the "
				 "stream's chain "
				 "(it is late, or the replica was exchanged)",
				 w->name, touched);
	}
	for (size_t i = 0; i < sizeof(breaks) / sizeof(*breaks); i++)
		if (breaks[i] < h->cursor && holds_at(w, h, breaks[i], f))
			return -1;
	return 0;
}

static bool at_token(const struct found *w, const struct head *h)
{
	const struct replica *r = w->state;

	return replica_complete(r) && token_equal(&r->floor, &h->token);
}

static enum verdict ordinary(const struct found *w, const struct head *h, struct fault *f)
{
	// Nothing is overwritten where nothing is.
	if (!w->exists && accept_whole(h))
		return ACCEPT_CREATE;
	if (w->wrong)
		return fault_set(f, BLX_TARGET, "%s: %s", w->name, w->wrong);
	if (!w->state && w->exists)
		return fault_set(f, BLX_TARGET, "%s: exists and is no replica", w->name);
	if (!w->state && !accept_whole(h))
		return fault_set(f, BLX_TARGET,
				 "%s: no replica here, and the stream holds only changes", w->name);
	if (!w->state)
		return ACCEPT_CREATE;
	if (w->state->adopted)
		return fault_set(f, BLX_TARGET, "%s: adopted: only a resync of it fits", w->name);
	if (same_lineage(w, h, f) || same_device(w, h, f) || same_size(w, h, f))
		return ACCEPT_REFUSED;
	if (at_token(w, h))
		return ACCEPT_ALREADY;
	return holds(w, h, f) ? ACCEPT_REFUSED : ACCEPT_APPLY;
}

static int same_replica(const struct found *w, const struct head *h, struct fault *f)
{
	char have[UUID_TEXT], want[UUID_TEXT];

	if (token_equal(&w->state->id, &h->replica))
		return 0;
	uuid_format(&w->state->id, have);
	uuid_format(&h->replica, want);
	return fault_set(f, BLX_TARGET, "%s: wrong replica: this is %s, the resync is of %s",
			 w->name, have, want);
}

static int allow_resync(const struct found *w, const char *why, struct fault *f)
{
	return fault_set(f, BLX_TARGET, "%s: %s: blxapply --allow resync %s", w->name, why,
			 w->name);
}

// A resync list rests on the token that the replica held when it was digested. Its lineage may be a
// new one: the replica's id and the token take the place of the names.
static enum verdict resync(const struct found *w, const struct head *h, struct fault *f)
{
	const struct replica *r = w->state;

	if (w->wrong || !r) {
		struct fault why;
		enum verdict v = ordinary(w, h, &why);
		if (v != ACCEPT_REFUSED)
			return v;
		return fault_set(f, why.code,
				 "%s; to compare it anew, first: blxapply --allow resync %s",
				 why.text, w->name);
	}
	if (same_replica(w, h, f) || same_size(w, h, f))
		return ACCEPT_REFUSED;
	bool ours = token_equal(&r->lineage, &h->lineage);
	if (ours && same_device(w, h, f))
		return ACCEPT_REFUSED;
	if (ours && at_token(w, h))
		return ACCEPT_ALREADY;
	if (holds(w, h, f))
		return ACCEPT_REFUSED;
	// This resync was begun before, with permission.
	bool begun = ours && head_chain_find(h, &r->touched) > 0;
	if (begun || w->may_resync)
		return ACCEPT_APPLY;
	return allow_resync(w, "a resync needs permission once; to give it", f);
}

static int promoted(const struct found *w, struct fault *f)
{
	char text[NUM_TIME_TEXT + 80];
	char when[NUM_TIME_TEXT];

	num_time_text(w->state->promoted, when);
	snprintf(text, sizeof(text),
		 "was promoted on %s: it is no replica any more; to make it one again", when);
	return allow_resync(w, text, f);
}

// What lifts a refusal: a resync, an overwriting, or a full copy.
static void say_remedy(const struct found *w, const struct head *h, struct fault *f)
{
	struct fault why = *f;
	char reset[2 * HEAD_NAME_MAX + 64];
	int n = snprintf(reset, sizeof(reset), "'blxtrack consumer reset %s %s%s' on the source",
			 h->consumer, h->name[0] ? "/dev/" : "DEVICE", h->name);
	// A remedy that is cut is none: rather without the name.
	bool fits = strlen(why.text) + strlen(w->name) + (size_t)n + 96 < sizeof(why.text);
	const char *name = fits ? w->name : "TARGET";

	if (accept_whole(h))
		fault_set(f, why.code,
			  "%s; for what differs: 'blxtrack resync'; to overwrite it: "
			  "blxapply --allow init %s",
			  why.text, name);
	else if (w->may_init)
		fault_set(f, why.code, "%s; the permission to init waits for a full copy: %s",
			  why.text, reset);
	else if (w->exists || w->state)
		fault_set(f, why.code,
			  "%s; for what differs: 'blxtrack resync'; for a full copy: %s and "
			  "'blxapply --allow init %s' here",
			  why.text, reset, name);
	else
		fault_set(f, why.code, "%s; for a full copy: %s", why.text, reset);
}

enum verdict accept_judge(const struct found *w, const struct head *h, struct fault *f)
{
	struct fault why;

	if (h->anonymous)
		return fault_set(f, BLX_TARGET,
				 "%s: an anonymous stream makes no replica (--restore takes it)",
				 w->name);
	bool ended = w->state && w->state->promoted;
	enum verdict v = ended       ? promoted(w, &why)
			 : h->resync ? resync(w, h, &why)
				     : ordinary(w, h, &why);
	if (v != ACCEPT_REFUSED)
		return v;
	if (accept_whole(h) && w->may_init)
		return ACCEPT_CREATE;
	*f = why;
	if (!h->resync && !ended)
		say_remedy(w, h, f);
	return ACCEPT_REFUSED;
}
