// SPDX-License-Identifier: BSD-2-Clause
// A device or image, and what is known of it: of which tracked device, or which replica at which
// token.
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "blxsum.h"
#include "tracked.h"

// For people: what cannot stand in a header is left out.
static void put_name(struct subject *s)
{
	const char *slash = strrchr(s->source.name, '/');
	const char *name = s->source.is_device ? s->source.dev.name
			   : slash             ? slash + 1
					       : s->source.name;
	size_t n = 0;

	for (; *name && n < HEAD_NAME_MAX; name++)
		if (isgraph((unsigned char)*name))
			s->head.name[n++] = *name;
}

// Before the first byte is read: what is written from now on is of a later epoch.
static int look_at_tracking(struct subject *s, struct fault *f)
{
	struct sums_head *h = &s->head;
	bool whole = false;
	int yes = !s->source.is_device ? 0
				       : tracked_look(s->source.dev.major, s->source.dev.minor,
						      &h->since, &h->since_epoch, &whole, f);

	h->has_since = yes > 0 && whole;
	return yes < 0 ? -1 : 0;
}

static void put_replica(struct subject *s, const struct replica *r)
{
	struct sums_head *h = &s->head;

	h->has_replica = true;
	h->replica = r->id;
	h->lineage = r->lineage;
	memcpy(h->consumer, r->consumer, sizeof(h->consumer));
	if (r->size && r->size < h->size) // a device that is longer than its source
		h->size = r->size;
	if (s->wrong[0])
		return;
	h->has_token = true;
	h->token = r->floor;
	h->epoch = r->epoch;
}

// What the state says. 1; 0: there is none; -1.
static int load_replica(const struct subject *s, struct replica *r, struct fault *f)
{
	return s->target.dirfd < 0 ? 0 : replica_load(s->target.dirfd, REPLICA_STATE, r, f);
}

// An epoch may have put a new file in the image's place after ours was opened.
static bool is_other_file(const struct subject *s, const struct replica *r)
{
	struct stat st;

	return !s->source.is_device && (fstat(s->source.fd, &st) || st.st_ino != r->image.inode);
}

// 0; 1: open it again; -1.
static int look_at_replica(struct subject *s, const char *path, struct fault *f)
{
	static struct replica r; // large
	int got;

	if (target_find(&s->target, path, f))
		return -1;
	if (target_open_dir(&s->target, false, f)) {
		if (errno != EACCES)
			return -1;
		snprintf(s->wrong, sizeof(s->wrong), "%.200s: its state cannot be read", path);
		return 0;
	}
	got = load_replica(s, &r, f);
	if (got <= 0 || r.promoted) // then it is an image like any other
		return got < 0 ? -1 : 0;
	if (target_compare(&s->target, &r, s->wrong, sizeof(s->wrong), f))
		return -1;
	if (!s->wrong[0] && is_other_file(s, &r))
		return 1;
	if (!s->wrong[0] && !replica_complete(&r))
		snprintf(s->wrong, sizeof(s->wrong), "the replica is incomplete");
	put_replica(s, &r);
	return 0;
}

static int open_once(struct subject *s, const struct options *o, bool state, struct fault *f)
{
	*s = (struct subject){.source = {.fd = -1, .direct = true, .grain = o->block},
			      .target = {.fd = -1, .dirfd = -1, .lockfd = -1}};
	if (source_open(&s->source, o->path, o->threads, f) || look_at_tracking(s, f))
		return -1;
	s->head.size = s->source.size;
	s->head.block = o->block;
	s->head.algorithm = o->algorithm;
	s->head.device = s->source.is_device;
	s->head.time = time(NULL);
	put_name(s);
	return state ? look_at_replica(s, o->path, f) : 0;
}

int subject_open(struct subject *s, const struct options *o, bool state, struct fault *f)
{
	enum { TRIES = 100 };
	int got = 0;

	for (int i = 0; i < TRIES && (got = open_once(s, o, state, f)) > 0; i++)
		subject_close(s);
	return got > 0 ? fault_set(f, BLX_TARGET, "%s: is replaced again and again", o->path) : got;
}

int subject_unchanged(const struct subject *s, struct fault *f)
{
	static struct replica r;
	char why[sizeof(s->wrong)] = "";

	if (!s->head.has_token)
		return 0;
	int got = load_replica(s, &r, f);
	if (got < 0 || (got && target_compare(&s->target, &r, why, sizeof(why), f)))
		return -1;
	if (!got || r.promoted || !token_equal(&r.id, &s->head.replica) || !replica_complete(&r) ||
	    !token_equal(&r.floor, &s->head.token) || why[0])
		return fault_set(f, BLX_TARGET,
				 "%s: the replica was written to while it was read: try again",
				 s->source.name);
	return 0;
}

void subject_close(struct subject *s)
{
	source_close(&s->source);
	target_close(&s->target);
}
