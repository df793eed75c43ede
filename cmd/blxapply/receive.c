// SPDX-License-Identifier: BSD-2-Clause
// Take the stream on standard input, epoch by epoch: judge, apply, record, ack.
#include <errno.h>
#include <unistd.h>

#include "apply.h"

static int judge(struct job *j, struct fault *f)
{
	struct found w = {
		.name = j->t.path,
		.state = j->has_state ? &j->r : NULL,
		.exists = j->t.exists,
		.block = j->t.block,
		.wrong = j->wrong[0] ? j->wrong : NULL,
		.may_init = target_allowed(&j->t, "init"),
		.may_resync = target_allowed(&j->t, "resync"),
	};

	j->verdict = accept_judge(&w, j->h, f);
	if (j->verdict == ACCEPT_REFUSED || (j->verdict != ACCEPT_ALREADY && job_fits(j, f)))
		return -1;
	j->use_up = (w.may_init && accept_whole(j->h)) || (w.may_resync && j->h->resync);
	return 0;
}

static const struct way *choose(const struct job *j)
{
	if (j->verdict == ACCEPT_ALREADY)
		return &way_nothing;
	if (j->verdict == ACCEPT_CREATE || !j->r.has_floor || j->o->in_place ||
	    j->h->limit < j->h->size)
		return &way_in_place;
	return &way_atomic;
}

static int take_head(struct job *j, struct fault *f)
{
	j->h = stream_reader_head(j->in);
	if (j->group && into_head(j, f))
		return -1;
	if (target_not_source(&j->t, j->h, f) || (j->t.lockfd < 0 && job_load(j, f)))
		return -1;
	if (target_open(&j->t, f))
		return -1;
	if (!j->wrong[0] &&
	    target_compare(&j->t, j->has_state ? &j->r : NULL, j->wrong, sizeof(j->wrong), f))
		return -1;
	if (judge(j, f))
		return -1;
	const struct replica *was = j->verdict == ACCEPT_CREATE ? NULL : &j->r;
	if (!was && j->has_state && j->r.intent.how == REPLICA_SPOOL)
		unlink(j->r.intent.path);
	j->to = (struct sink){j->t.fd, j->t.block, j->t.path, NULL};
	digests_settle(j);
	j->cover_from = accept_cover_from(was, j->h);
	j->next = j->frames = 0;
	j->unread.all.n = j->unread.told = 0;
	j->certifiable = was && replica_certifies(was, j->h, 0, j->h->limit);
	const struct way *way = choose(j);
	if (way == &way_in_place && in_place_begin(j, f))
		return -1;
	// Only now: a crash before the state is there must not leave a replica that needs
	// permission again. In the atomic way once the epoch is whole and in place.
	if (way == &way_in_place && j->use_up && target_use_up(&j->t, f))
		return -1;
	j->has_state = true;
	j->wrong[0] = 0;
	j->way = way;
	return 0;
}

static int take_bytes(struct job *j, const struct frame *fr, struct fault *f)
{
	j->next = fr->offset + fr->length;
	j->frames++;
	progress_add(&j->progress, fr->length);
	return j->way->frame(j, fr, f);
}

// What could not be read stays as it is.
static int take_bad(struct job *j, const struct frame *fr, struct fault *f)
{
	j->next = fr->offset + fr->length;
	j->frames++;
	progress_add(&j->progress, fr->length);
	return j->way == &way_nothing ? 0 : unread_add(j, fr, f);
}

static int take_commit(struct job *j, struct fault *f)
{
	const struct way *way = j->way;

	if (way->commit(j, f))
		return -1;
	unread_warn(j);
	ack_for(&j->failed, ACK_FAILED, j->h);
	j->way = NULL;
	j->h = NULL;
	return 0;
}

static int next_frame(struct job *j, struct frame *fr, struct fault *f)
{
	int got = stream_read(j->in, fr, f);

	if (got > 0 && fr->type == FRAME_ABORT)
		got = stream_read(j->in, fr, f); // fails with the sender's words
	if (got == 0)
		return fault_set(f, BLX_CORRUPT, "nothing follows");
	if (got > 0 && j->way && j->way != &way_nothing && fr->type != FRAME_END &&
	    job_ascend(j, fr->type == FRAME_COMMIT ? j->h->limit : fr->offset, BLX_CORRUPT, f))
		return -1;
	return got < 0 ? -1 : 0;
}

static void abandon(struct job *j, bool input)
{
	if (j->way)
		j->way->abandon(j, input);
	j->way = NULL;
}

static int take(struct job *j, const struct frame *fr, struct fault *f)
{
	if (fr->type == FRAME_HEAD)
		return take_head(j, f);
	if (fr->type != FRAME_END && !j->way) // the reader keeps the order; nothing rests on it
		return fault_set(f, BLX_CORRUPT, "a frame outside of an epoch");
	switch (fr->type) {
	case FRAME_DATA:
	case FRAME_ZERO:
		return take_bytes(j, fr, f);
	case FRAME_BAD:
		return take_bad(j, fr, f);
	case FRAME_COMMIT:
		return take_commit(j, f);
	default:
		return 0;
	}
}

int receive(struct job *j, struct fault *f)
{
	struct frame fr;

	do {
		if (next_frame(j, &fr, f)) {
			abandon(j, true);
			return -1;
		}
		if (take(j, &fr, f)) {
			abandon(j, false);
			return -1;
		}
	} while (fr.type != FRAME_END);
	if (!j->group && !stream_reader_at_eof(j->in))
		return fault_set(f, BLX_CORRUPT,
				 "bytes follow the end of the stream; its epochs are applied "
				 "(several streams: --into DIR)");
	return 0;
}
