// SPDX-License-Identifier: BSD-2-Clause
// All of an epoch or nothing: into a clone of the image where the file system makes clones, else
// into a spool that is written into the image once it is whole and durable.
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apply.h"
#include "file.h"

// ---- either, once it is whole and durable

// Put what the intent names into the image.
static int land(struct job *j, struct fault *f)
{
	char path[REPLICA_PATH_MAX];

	if (j->r.intent.how == REPLICA_CLONE)
		return clone_publish(j, f) || job_use_up(j, f) ? -1 : job_finish(j, f);
	strcpy(path, j->r.intent.path);
	int bad = spool_apply(j, f);
	if (bad > 0)
		return fault_set(f, BLX_SYSTEM, "%s: damaged behind our back", path);
	if (bad || job_use_up(j, f) || job_finish(j, f))
		return -1;
	unlink(path);
	return 0;
}

// Record it: from here on a crash no longer undoes it. A member of a group waits for the others.
static int intend(struct job *j, struct fault *f)
{
	j->r.intent.uses = j->use_up;
	j->prepared = j->grouped;
	if (job_record(j, j->grouped ? REPLICA_PENDING : REPLICA_STATE, f))
		return -1;
	return j->grouped ? 0 : land(j, f);
}

int atomic_decided(struct job *j, struct fault *f)
{
	if (job_take_over(j, f))
		return -1;
	j->prepared = false;
	return land(j, f);
}

void atomic_undo(struct job *j)
{
	unlinkat(j->t.dirfd, REPLICA_PENDING, 0);
	if (j->r.intent.how == REPLICA_SPOOL)
		unlink(j->r.intent.path);
	else
		unlinkat(j->t.dirfd, "clone", 0);
	unlinkat(j->t.dirfd, DIGESTFILE_NEXT, 0);
	j->prepared = false;
}

// ---- clone

// 1: cloned; 0: this file system does not clone.
static int clone_begin(struct job *j, struct fault *f)
{
	struct stat st;

	unlinkat(j->t.dirfd, "clone", 0);
	int fd = openat(j->t.dirfd, "clone", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return fault_errno(f, "%s/clone: create", j->t.dir);
	if (ioctl(fd, FICLONE, j->t.fd)) {
		close(fd);
		unlinkat(j->t.dirfd, "clone", 0);
		return 0;
	}
	j->clone_fd = fd;
	j->to.fd = fd;
	if (fstat(j->t.fd, &st) || fchown(fd, st.st_uid, st.st_gid) ||
	    fchmod(fd, st.st_mode & 07777))
		return fault_errno(f, "%s/clone: set the owner", j->t.dir);
	digests_clone(j);
	return sink_extend(&j->to, j->h->size, f) ? -1 : 1;
}

int clone_settle(struct job *j, struct fault *f)
{
	if (digests_publish(j, f))
		return -1;
	if (fsync(j->t.dirfd) || file_sync_dir(j->t.parent))
		return fault_errno(f, "%s: fsync", j->t.parent);
	return target_open(&j->t, f);
}

int clone_publish(struct job *j, struct fault *f)
{
	if (renameat(j->t.dirfd, "clone", AT_FDCWD, j->t.path))
		return fault_errno(f, "%s: replace by its clone", j->t.path);
	return clone_settle(j, f);
}

static int clone_commit(struct job *j, struct fault *f)
{
	struct stat st;

	if (sink_sync(&j->to, f))
		return -1;
	if (fstat(j->clone_fd, &st))
		return fault_errno(f, "%s/clone: stat", j->t.dir);
	digests_done(j, &j->h->token);
	close(j->clone_fd);
	j->clone_fd = -1;
	if (job_intend(j, REPLICA_CLONE, f))
		return -1;
	j->r.intent.inode = st.st_ino;
	return intend(j, f);
}

// ---- spool

static int spool_path(const struct job *j, char path[REPLICA_PATH_MAX], struct fault *f)
{
	char id[UUID_TEXT];
	int n;

	uuid_format(&j->r.id, id);
	if (j->o->spool)
		n = snprintf(path, REPLICA_PATH_MAX, "%s/blx-%s.spool", j->o->spool, id);
	else
		n = snprintf(path, REPLICA_PATH_MAX, "%s/spool", j->t.dir);
	if (n >= 0 && n < REPLICA_PATH_MAX)
		return 0;
	errno = ENAMETOOLONG;
	return fault_errno(f, "spool");
}

static int spool_failed(const struct job *j, struct fault *f)
{
	char path[REPLICA_PATH_MAX];

	return spool_path(j, path, f) ? -1 : fault_errno(f, "%s: write", path);
}

static int spool_begin(struct job *j, struct fault *f)
{
	char path[REPLICA_PATH_MAX];

	if (spool_path(j, path, f))
		return -1;
	unlink(path);
	j->spool_fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (j->spool_fd < 0)
		return fault_errno(f, "%s: create", path);
	j->fills = false;
	j->dense = 0;
	j->spool = stream_writer_new(j->spool_fd);
	if (!j->spool || stream_write_head(j->spool, j->h))
		return spool_failed(j, f);
	return 0;
}

static void spool_close(struct job *j)
{
	stream_writer_free(j->spool);
	close(j->spool_fd);
	j->spool = NULL;
	j->spool_fd = -1;
}

static int reserve_frames(const struct job *j, const char *path, struct fault *f)
{
	struct frame fr;
	uint64_t dense = 0;
	int fd = spool_open(j, path, f);
	struct stream_reader *in = fd < 0 ? NULL : stream_reader_new(fd);
	int got = in ? 1 : fd < 0 ? -1 : fault_errno(f, "%s", path);

	while (got > 0 && (got = stream_read(in, &fr, f)) > 0)
		if (sink_lacks(&j->to, &fr, &dense) && sink_reserve(&j->to, &fr, f))
			got = -1;
	stream_reader_free(in);
	if (fd >= 0)
		close(fd);
	return got < 0 ? -1 : sink_sync(&j->to, f);
}

// Room in the image for what the spool has for its holes, before the intent: a full file system
// must not leave a mixture. That changes the times of the image, but not its content, so the record
// says first not to look at them.
static int reserve(struct job *j, const char *path, struct fault *f)
{
	struct fault ignored;
	int error;

	j->r.writing = true;
	if (!job_record(j, REPLICA_STATE, f) && !reserve_frames(j, path, f))
		return 0;
	error = errno;
	j->r.writing = false;
	// First, for the record needs a block. If it fails too, it still says not to look.
	unlink(path);
	if (!sink_sync(&j->to, &ignored))
		job_save(j, &ignored);
	struct fault why = *f;
	return fault_set(f, why.code, "%s; the image is as it was%s", why.text,
			 !j->o->spool && (error == ENOSPC || error == EDQUOT)
				 ? " (the spool takes room beside it: --spool elsewhere, "
				   "or --in-place)"
				 : "");
}

static int spool_commit(struct job *j, struct fault *f)
{
	char path[REPLICA_PATH_MAX], dir[REPLICA_PATH_MAX];

	if (spool_path(j, path, f))
		return -1;
	if (stream_write_commit(j->spool) || stream_write_end(j->spool) || fsync(j->spool_fd))
		return spool_failed(j, f);
	strcpy(dir, path);
	if (file_sync_dir(dirname(dir)))
		return spool_failed(j, f);
	spool_close(j);
	if (j->fills && reserve(j, path, f))
		return -1;
	if (job_intend(j, REPLICA_SPOOL, f))
		return -1;
	strcpy(j->r.intent.path, path);
	return intend(j, f);
}

// ---- either, while it comes

static int atomic_begin(struct job *j, struct fault *f)
{
	int cloned = j->t.block ? 0 : clone_begin(j, f);

	if (cloned)
		return cloned < 0 ? -1 : 0;
	return spool_begin(j, f);
}

static int atomic_frame(struct job *j, const struct frame *fr, struct fault *f)
{
	if (j->clone_fd < 0 && !j->spool && atomic_begin(j, f))
		return -1;
	if (j->clone_fd >= 0)
		return sink_frame(&j->to, fr, f);
	j->fills = j->fills || (!j->t.block && sink_lacks(&j->to, fr, &j->dense));
	return stream_write_frame(j->spool, fr, NULL) ? spool_failed(j, f) : 0;
}

static int atomic_commit(struct job *j, struct fault *f)
{
	// A member of a group has something to wait with, and a permission something that it is
	// used up with, be it empty.
	if ((j->grouped || j->use_up) && j->clone_fd < 0 && !j->spool && spool_begin(j, f))
		return -1;
	if (j->clone_fd >= 0)
		return clone_commit(j, f);
	if (j->spool)
		return spool_commit(j, f);
	// Nothing changed: only the state does.
	digests_same(j);
	return job_intend(j, REPLICA_IDLE, f) || job_finish(j, f) ? -1 : 0;
}

// Once the intent is recorded, or may be, the next run needs what it names.
static void atomic_abandon(struct job *j, bool input)
{
	bool keep = j->r.intent.how != REPLICA_IDLE;
	char path[REPLICA_PATH_MAX];
	struct fault f;

	(void)input;
	if (j->clone_fd >= 0) {
		close(j->clone_fd);
		j->clone_fd = -1;
		if (!keep)
			unlinkat(j->t.dirfd, "clone", 0);
		if (!keep)
			unlinkat(j->t.dirfd, DIGESTFILE_NEXT, 0);
	}
	if (j->spool) {
		spool_close(j);
		if (!keep && !spool_path(j, path, &f))
			unlink(path);
	}
}

const struct way way_atomic = {atomic_frame, atomic_commit, atomic_abandon};
