// SPDX-License-Identifier: BSD-2-Clause
// What every way of taking an epoch shares: order of frames, state, acks.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "apply.h"
#include "io.h"

int64_t now_seconds(void)
{
	return (int64_t)time(NULL);
}

int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void job_init(struct job *j, const struct options *o)
{
	*j = (struct job){.o = o, .spool_fd = -1, .clone_fd = -1, .digests.fd = -1};
	j->t.fd = j->t.dirfd = j->t.lockfd = -1;
}

void job_free(struct job *j)
{
	if (j->clone_fd >= 0)
		close(j->clone_fd);
	extents_free(&j->unread.all);
	digests_close(j);
	target_close(&j->t);
	job_init(j, j->o);
}

int job_ascend(struct job *j, uint64_t offset, enum blx_exit code, struct fault *f)
{
	uint64_t from = j->next > j->cover_from ? j->next : j->cover_from;

	if (offset <= from)
		return 0;
	return fault_set(f, code, "the stream lacks bytes %llu to %llu, all of which it must hold",
			 (unsigned long long)from, (unsigned long long)offset);
}

int job_fits(const struct job *j, struct fault *f)
{
	if (!j->t.block || j->t.dev.size >= j->h->size)
		return 0;
	return fault_set(
		f, BLX_TARGET, "%s: wrong size: the device has %llu bytes, the stream's has %llu",
		j->t.path, (unsigned long long)j->t.dev.size, (unsigned long long)j->h->size);
}

static int named(const struct job *j, struct fault *f)
{
	struct fault why = *f;

	return fault_set(f, why.code, "%s: %s", j->t.path, why.text);
}

int job_read(const struct job *j, const char *name, struct replica *r, struct fault *f)
{
	int got = replica_load(j->t.dirfd, name, r, f);

	return got < 0 ? named(j, f) : got;
}

int job_record(const struct job *j, const char *name, struct fault *f)
{
	return replica_save(j->t.dirfd, name, &j->r, f) ? named(j, f) : 0;
}

int job_save(struct job *j, struct fault *f)
{
	return target_stamp(&j->t, &j->r.image, f) || job_record(j, REPLICA_STATE, f) ? -1 : 0;
}

int job_take_over(struct job *j, struct fault *f)
{
	int dirfd = j->t.dirfd;

	if (renameat(dirfd, REPLICA_PENDING, dirfd, REPLICA_STATE) || fsync(dirfd))
		return fault_errno(f, "%s: take over the pending state", j->t.dir);
	return 0;
}

int job_ack(const struct job *j, const struct ack *a, struct fault *f)
{
	char text[ACK_TEXT_MAX];

	if (!j->o->ack)
		return 0;
	size_t n = ack_format(a, text);
	return io_write_full(STDOUT_FILENO, text, n) ? fault_errno(f, "write to standard output")
						     : 0;
}

int job_use_up(struct job *j, struct fault *f)
{
	return j->r.intent.uses ? target_use_up(&j->t, f) : 0;
}

int job_intend(struct job *j, enum replica_how how, struct fault *f)
{
	if (unread_save(j, &j->h->token, f))
		return -1;
	replica_intend(&j->r, j->h, how);
	j->r.intent.unread = j->unread.all.n;
	return 0;
}

int job_finish(struct job *j, struct fault *f)
{
	struct ack a;

	replica_finish(&j->r, now_seconds());
	j->r.consistent = j->certifiable && !j->frames;
	if (job_save(j, f))
		return -1;
	unread_tidy(j);
	ack_of_floor(&a, &j->r);
	return unread_ack(j, &a, f);
}

static void ack_of(struct ack *a, const struct replica *r)
{
	memset(a, 0, sizeof(*a));
	a->bound = true;
	a->lineage = r->lineage;
	a->major = r->major;
	a->minor = r->minor;
	strcpy(a->consumer, r->consumer);
}

void ack_of_floor(struct ack *a, const struct replica *r)
{
	ack_of(a, r);
	a->kind = ACK_DONE;
	a->epoch = r->epoch;
	a->token = r->floor;
}

void ack_of_partial(struct ack *a, const struct replica *r)
{
	ack_of(a, r);
	a->kind = ACK_UPTO;
	a->epoch = r->partial_epoch;
	a->token = r->partial;
	a->offset = r->partial_upto;
}

// ---- an epoch that is there already

static int nothing_frame(struct job *j, const struct frame *fr, struct fault *f)
{
	(void)j;
	(void)fr;
	(void)f;
	return 0;
}

static int nothing_commit(struct job *j, struct fault *f)
{
	struct ack a;

	// The run that wrote the state may have died, or failed, before it was durable.
	if (job_record(j, REPLICA_STATE, f))
		return -1;
	ack_for(&a, ACK_DONE, j->h);
	if (j->use_up && target_use_up(&j->t, f))
		return -1;
	return unread_ack_again(j, &a, j->r.unread, f);
}

static void nothing_abandon(struct job *j, bool input)
{
	(void)j;
	(void)input;
}

const struct way way_nothing = {nothing_frame, nothing_commit, nothing_abandon};
