// SPDX-License-Identifier: BSD-2-Clause
// --restore: a whole stream, anonymous or not, onto a file or device; no state is kept. Epochs that
// follow in the same stream are applied if they rest on the one before.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apply.h"
#include "file.h"

static int refuse_replica(const struct target *t, struct fault *f)
{
	char state[PATH_MAX + 8];
	struct stat st;

	snprintf(state, sizeof(state), "%s/state", t->dir);
	if (lstat(state, &st))
		return 0;
	return fault_set(f, BLX_TARGET, "%s: is a replica (%s); restore elsewhere", t->path,
			 t->dir);
}

static int open_target(struct job *j, struct fault *f)
{
	struct target *t = &j->t;

	if (refuse_replica(t, f) || target_not_source(t, j->h, f) || target_writable(t, false, f) ||
	    target_open(t, f))
		return -1;
	if (!t->exists) {
		t->fd = open(t->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (t->fd < 0)
			return fault_errno(f, "%s: create", t->path);
		t->exists = true;
	}
	j->to = (struct sink){t->fd, t->block, t->path, NULL};
	return 0;
}

static int first_head(struct job *j, struct fault *f)
{
	if (!j->h->anonymous && !accept_whole(j->h))
		return fault_set(f, BLX_TARGET,
				 "the stream holds only changes; a restore needs a whole one");
	if (open_target(j, f))
		return -1;
	j->cover_from = 0;
	return replica_new(&j->r, j->h) ? fault_errno(f, "a name for the replica") : 0;
}

static int next_head(struct job *j, struct fault *f)
{
	const struct found w = {.name = j->t.path, .state = &j->r, .exists = true};

	j->verdict = accept_judge(&w, j->h, f);
	if (j->verdict == ACCEPT_REFUSED)
		return -1;
	j->cover_from = accept_cover_from(&j->r, j->h);
	return 0;
}

static int take_head(struct job *j, struct fault *f)
{
	j->next = 0;
	if (j->h->limit != j->h->size)
		return fault_set(
			f, BLX_TARGET,
			"the stream ends at byte %llu of %llu; a restore needs a whole one",
			(unsigned long long)j->h->limit, (unsigned long long)j->h->size);
	if (j->t.fd < 0 ? first_head(j, f) : next_head(j, f))
		return -1;
	if (job_fits(j, f))
		return -1;
	return j->t.block ? 0 : sink_extend(&j->to, j->h->size, f);
}

static int take(struct job *j, const struct frame *fr, struct fault *f)
{
	switch (fr->type) {
	case FRAME_HEAD:
		j->h = stream_reader_head(j->in);
		return take_head(j, f);
	case FRAME_DATA:
	case FRAME_ZERO:
		if (job_ascend(j, fr->offset, BLX_TARGET, f))
			return -1;
		j->next = fr->offset + fr->length;
		progress_add(&j->progress, fr->length);
		return sink_frame(&j->to, fr, f);
	case FRAME_BAD: // zeroes tell that nothing is known; what stood there does not
		if (job_ascend(j, fr->offset, BLX_TARGET, f) || unread_add(j, fr, f))
			return -1;
		j->next = fr->offset + fr->length;
		return sink_frame(&j->to,
				  &(struct frame){.type = FRAME_ZERO,
						  .offset = fr->offset,
						  .length = fr->length},
				  f);
	case FRAME_COMMIT:
		if (job_ascend(j, j->h->size, BLX_TARGET, f))
			return -1;
		replica_intend(&j->r, j->h, REPLICA_IDLE);
		replica_finish(&j->r, now_seconds());
		return 0;
	default:
		return 0;
	}
}

static int read_on(struct job *j, struct frame *fr, struct fault *f)
{
	int got = stream_read(j->in, fr, f);

	if (got > 0 && fr->type == FRAME_ABORT)
		got = stream_read(j->in, fr, f);
	if (got == 0)
		return fault_set(f, BLX_CORRUPT, "nothing follows");
	return got < 0 ? -1 : 0;
}

int restore(struct job *j, struct fault *f)
{
	struct frame fr;
	struct fault why;

	do {
		if (!read_on(j, &fr, &why) && !take(j, &fr, &why))
			continue;
		*f = why;
		if (j->t.fd >= 0 && j->next)
			fault_set(f, why.code, "%s; %s is restored only in part", why.text,
				  j->t.path);
		return -1;
	} while (fr.type != FRAME_END);
	if (sink_sync(&j->to, f))
		return -1;
	if (!j->t.block && file_sync_dir(j->t.parent))
		return fault_errno(f, "%s: fsync", j->t.parent);
	if (!stream_reader_at_eof(j->in))
		return fault_set(f, BLX_CORRUPT,
				 "bytes follow the end of the stream; %s is restored", j->t.path);
	if (j->unread.all.n)
		return fault_set(f, BLX_DIFFERS,
				 "%s: restored, but %llu bytes in %zu ranges could not be read at "
				 "the source: zeroes stand there",
				 j->t.path, (unsigned long long)extents_bytes(&j->unread.all),
				 j->unread.all.n);
	return 0;
}
