// SPDX-License-Identifier: BSD-2-Clause
// Straight into the image: a first copy, a list with a limit, or by --in-place. The image is
// incomplete meanwhile, but every checkpoint is durable and acked, so that the next run goes on
// there.
#include <fcntl.h>

#include "apply.h"
#include "file.h"

static const uint64_t WRITE_BEHIND = 8 << 20;
static const uint64_t CHECKPOINT_BYTES = 64 << 20;
static const int64_t CHECKPOINT_NS = 5000000000;

static int create(struct job *j, struct fault *f)
{
	if (target_create(&j->t, j->h->size, f))
		return -1;
	j->to.fd = j->t.fd;
	if (job_save(j, f))
		return -1;
	digests_create(j);
	return target_publish(&j->t, f);
}

int in_place_begin(struct job *j, struct fault *f)
{
	bool fresh = j->verdict == ACCEPT_CREATE;

	if (fresh && replica_new(&j->r, j->h))
		return fault_errno(f, "a name for the replica");
	if (!fresh)
		digests_in_place(j);
	replica_begin(&j->r, j->h);
	j->r.writing = true;
	j->since = j->behind = 0;
	j->checkpoint_ns = now_ns();
	if (!j->t.exists)
		return create(j, f);
	// The run that gave it its name may have died before that was durable.
	if (!j->t.block && !j->r.has_floor && file_sync_dir(j->t.parent))
		return fault_errno(f, "%s: fsync", j->t.parent);
	if (job_save(j, f))
		return -1;
	if (fresh)
		digests_create(j);
	if (j->t.block)
		return 0;
	return fresh ? sink_resize(&j->to, j->h->size, f) : sink_extend(&j->to, j->h->size, f);
}

// OVER: nothing follows.
static int checkpoint(struct job *j, uint64_t upto, bool last, bool over, struct fault *f)
{
	struct ack a;

	if (sink_sync(&j->to, f))
		return -1;
	if (over)
		digests_cut(j);
	else
		digests_sync(j);
	bool further = replica_advance(&j->r, j->h, upto);
	if (further)
		j->r.partial_unread = j->unread.all.n;
	if ((further && unread_save(j, &j->h->token, f)) || job_save(j, f))
		return -1;
	j->since = 0;
	j->checkpoint_ns = now_ns();
	// A list that ended at its limit before it caught up: what the replica had is still what it
	// has.
	if (!j->r.has_partial || (!further && !last))
		return 0;
	ack_of_partial(&a, &j->r);
	a.last = last;
	return further ? unread_ack(j, &a, f) : unread_ack_again(j, &a, j->r.partial_unread, f);
}

// Have the kernel write what came so far, so that the checkpoint's fsync finds little to do. A
// hint: its errors show up in the fsync.
static void write_behind(struct job *j, const struct frame *fr)
{
	j->behind += fr->payload_len;
	if (j->behind < WRITE_BEHIND)
		return;
	sync_file_range(j->to.fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	j->behind = 0;
}

static int in_place_frame(struct job *j, const struct frame *fr, struct fault *f)
{
	if (sink_frame(&j->to, fr, f))
		return -1;
	j->since += fr->length;
	write_behind(j, fr);
	if (j->since < CHECKPOINT_BYTES && now_ns() - j->checkpoint_ns < CHECKPOINT_NS)
		return 0;
	return checkpoint(j, j->next, false, false, f);
}

static int in_place_commit(struct job *j, struct fault *f)
{
	if (j->h->limit < j->h->size) {
		j->r.writing = false;
		return checkpoint(j, j->h->limit, true, true, f);
	}
	if (sink_sync(&j->to, f))
		return -1;
	digests_done(j, &j->h->token);
	return job_intend(j, REPLICA_IDLE, f) || job_finish(j, f) ? -1 : 0;
}

static void in_place_abandon(struct job *j, bool input)
{
	struct fault f;

	// After a failed write or fsync nothing is known about what the image holds beyond the last
	// checkpoint.
	if (!input)
		return;
	j->r.writing = false;
	checkpoint(j, j->next, false, true, &f);
}

const struct way way_in_place = {in_place_frame, in_place_commit, in_place_abandon};
