// SPDX-License-Identifier: BSD-2-Clause
// Finish what was pending: write the spool into the image, or put the clone in its place. Also
// after a crash, by the next run or by --recover.
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apply.h"
#include "die.h"

// The frames of the one epoch in the spool. 1: the spool is damaged.
static int apply_frames(struct job *j, struct stream_reader *in, const struct sink *to,
			struct fault *f)
{
	struct frame fr;

	for (;;) {
		if (stream_read(in, &fr, f) < 0)
			return f->code == BLX_CORRUPT ? 1 : -1;
		if (fr.type == FRAME_END)
			return 0;
		const struct head *h = stream_reader_head(in);
		if (!h || !token_equal(&h->token, &j->r.intent.token))
			return 1;
		if ((fr.type == FRAME_DATA || fr.type == FRAME_ZERO) && sink_frame(to, &fr, f))
			return -1;
	}
}

// Over a network whoever makes a file may become another user, most often the directory's owner,
// who could put anything there anyway.
static bool is_owners(const char *path, const struct stat *st)
{
	char copy[REPLICA_PATH_MAX];
	struct stat dir;

	return (size_t)snprintf(copy, sizeof(copy), "%s", path) < sizeof(copy) &&
	       !stat(dirname(copy), &dir) && dir.st_uid == st->st_uid;
}

int spool_open(const struct job *j, const char *path, struct fault *f)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st, dir;

	if (fd < 0 || fstat(fd, &st) || fstat(j->t.dirfd, &dir)) {
		fault_errno(f, "%s", path);
	} else if (!S_ISREG(st.st_mode) ||
		   (st.st_uid != dir.st_uid && st.st_uid != geteuid() && !is_owners(path, &st))) {
		errno = EPERM;
		fault_set(f, BLX_TARGET, "%s: not the spool of this replica: another user's", path);
	} else {
		return fd;
	}
	int keep = errno;
	if (fd >= 0)
		close(fd);
	errno = keep;
	return -1;
}

static int put_spool(struct job *j, struct fault *f)
{
	struct sink to = {j->t.fd, j->t.block, j->t.path, NULL};
	const char *path = j->r.intent.path;

	int fd = spool_open(j, path, f);
	if (fd < 0)
		return errno == ENOENT ? 1 : -1;
	struct stream_reader *in = stream_reader_new(fd);
	int bad = in ? 0 : fault_errno(f, "%s", path);
	if (!bad && !j->t.block)
		bad = sink_extend(&to, j->r.intent.size, f);
	digests_spool(j);
	to.digests = j->to.digests;
	if (!bad)
		bad = apply_frames(j, in, &to, f);
	if (!bad)
		bad = sink_sync(&to, f);
	if (!bad)
		digests_done(j, &j->r.intent.token);
	int keep = errno;
	stream_reader_free(in);
	close(fd);
	errno = keep;
	return bad;
}

static int half_applied(const struct job *j, int why, struct fault *f)
{
	struct fault was = *f;

	return fault_set(f, was.code,
			 "%s; the image is half applied: %s, then blxapply --recover %s", was.text,
			 why == ENOSPC || why == EDQUOT ? "make room" : "mend that", j->t.path);
}

int spool_apply(struct job *j, struct fault *f)
{
	int bad = put_spool(j, f);

	return bad < 0 ? half_applied(j, errno, f) : bad;
}

static int finish(struct job *j, struct fault *f)
{
	char path[REPLICA_PATH_MAX];

	strcpy(path, j->r.intent.path);
	if (job_use_up(j, f))
		return -1;
	replica_finish(&j->r, now_seconds());
	if (job_save(j, f))
		return -1;
	if (*path)
		unlink(path);
	return 0;
}

// 1: lost.
static int recover_spool(struct job *j, struct fault *f)
{
	int lost = spool_apply(j, f);

	if (lost < 0)
		return -1;
	if (!lost)
		return finish(j, f);
	digests_half(j);
	// The image may hold parts of that epoch; the record says so: its newest epoch is not its
	// floor.
	replica_forget(&j->r);
	j->r.writing = false;
	return job_save(j, f) ? -1 : 1;
}

static bool is_inode(const struct job *j, int dirfd, const char *name)
{
	struct stat st;

	return !fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) && st.st_ino == j->r.intent.inode;
}

static int recover_clone(struct job *j, struct fault *f)
{
	int bad;

	// It took its place, but nobody knows that this is durable.
	if (is_inode(j, AT_FDCWD, j->t.path)) {
		bad = clone_settle(j, f);
	} else if (is_inode(j, j->t.dirfd, "clone")) {
		bad = clone_publish(j, f);
	} else {
		// It did not survive, and the image was never touched.
		replica_forget(&j->r);
		return job_record(j, REPLICA_STATE, f);
	}
	return bad ? -1 : finish(j, f);
}

int recover(struct job *j, struct fault *f)
{
	if (target_open(&j->t, f) || target_compare(&j->t, &j->r, j->wrong, sizeof(j->wrong), f))
		return -1;
	if (j->wrong[0])
		return 0;
	return j->r.intent.how == REPLICA_CLONE ? recover_clone(j, f) : recover_spool(j, f);
}

// Died while it reserved room: only the times of the image changed.
static int settle(struct job *j, struct fault *f)
{
	if (!j->r.writing || !replica_complete(&j->r))
		return 0;
	if (target_open(&j->t, f) || target_compare(&j->t, &j->r, j->wrong, sizeof(j->wrong), f))
		return -1;
	if (j->wrong[0])
		return 0;
	j->r.writing = false;
	return job_save(j, f);
}

// What waited for its group goes where the group went: it becomes the state, or nothing was.
static int settle_pending(struct job *j, struct fault *f)
{
	struct replica p;
	int dirfd = j->t.dirfd, got = job_read(j, REPLICA_PENDING, &p, f), decided = 0;

	if (got == 0 || (got < 0 && f->code != BLX_TARGET))
		return got;
	if (got > 0)
		decided = group_decided(j->t.parent, j->t.path, &p.intent.token, f);
	if (decided < 0)
		return -1;
	if (decided)
		return job_take_over(j, f);
	unlinkat(dirfd, REPLICA_PENDING, 0);
	if (got > 0 && p.intent.how == REPLICA_SPOOL)
		unlink(p.intent.path);
	return 0;
}

static void drop_leftovers(const struct job *j)
{
	unlinkat(j->t.dirfd, "clone", 0);
	unlinkat(j->t.dirfd, "spool", 0);
	unlinkat(j->t.dirfd, "new", 0);
	unlinkat(j->t.dirfd, DIGESTFILE_NEXT, 0);
}

int job_load(struct job *j, struct fault *f)
{
	struct fault why;

	if (target_writable(&j->t, true, f) || target_lock(&j->t, f) || settle_pending(j, f))
		return -1;
	int got = replica_load(j->t.dirfd, REPLICA_STATE, &j->r, &why);
	if (got < 0 && why.code != BLX_TARGET)
		return fault_set(f, why.code, "%s: %s", j->t.path, why.text);
	if (got < 0)
		strcpy(j->wrong, why.text);
	j->has_state = got > 0;
	const struct replica *r = &j->r;
	// A first copy that died before its image had a name.
	if (j->has_state && !j->t.exists && !r->has_floor && !r->has_partial)
		j->has_state = false;
	if (!j->has_state)
		return 0;
	if (r->intent.how == REPLICA_IDLE) {
		drop_leftovers(j);
		return settle(j, f);
	}
	j->mixed = target_rebooted(r);
	int lost = recover(j, f);
	j->mixed = false;
	if (lost > 0)
		warn("%s: the spool of an epoch that was being applied is lost: the replica is "
		     "incomplete until the next epoch",
		     j->t.path);
	return lost < 0 ? -1 : 0;
}

static int say_incomplete(const struct job *j, struct fault *f)
{
	const char *what = j->r.has_floor ? "an epoch was begun and not finished"
					  : "the first copy was not finished";

	if (j->r.adopted && replica_complete(&j->r))
		return fault_set(f, BLX_DIFFERS, "%s: adopted: it waits for a resync", j->t.path);

	return fault_set(f, BLX_DIFFERS, "%s: incomplete: %s; the source's next stream goes on",
			 j->t.path, what);
}

int recover_check(struct job *j, struct fault *f)
{
	if (!j->wrong[0] && j->has_state &&
	    target_compare(&j->t, &j->r, j->wrong, sizeof(j->wrong), f))
		return -1;
	if (j->r.promoted)
		return fault_set(f, BLX_TARGET, "%s: was promoted: it is no replica any more",
				 j->t.path);
	if (j->wrong[0])
		return fault_set(f, BLX_TARGET, "%s: %s", j->t.path, j->wrong);
	return replica_complete(&j->r) && !j->r.adopted ? 0 : say_incomplete(j, f);
}
