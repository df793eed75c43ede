// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "view.h"

enum { PAUSE_MS = 20, PATIENCE = 50 }; // pauses before it is asked whether anybody is at work

void view_init(struct view *v)
{
	memset(v, 0, sizeof(*v));
	v->target.fd = v->target.dirfd = v->target.lockfd = v->digests.fd = v->image = -1;
}

void view_close(struct view *v)
{
	if (v->image >= 0)
		close(v->image);
	digestfile_close(&v->digests);
	target_close(&v->target);
	view_init(v);
}

bool view_same(const struct view *v)
{
	struct replica again;
	struct fault ignored;

	return replica_load(v->target.dirfd, REPLICA_STATE, &again, &ignored) > 0 &&
	       !memcmp(&again, &v->state, sizeof(again));
}

static int refuse(const struct view *v, const char *why, struct fault *f)
{
	return fault_set(f, BLX_TARGET, "%s: %s", v->target.path, why);
}

static int load(struct view *v, const char *path, struct fault *f)
{
	if (target_find(&v->target, path, f) || target_open_dir(&v->target, false, f))
		return -1;
	int got = v->target.dirfd < 0 ? 0
				      : replica_load(v->target.dirfd, REPLICA_STATE, &v->state, f);
	if (!got)
		refuse(v, "no replica here", f);
	return got > 0 ? 0 : -1;
}

static int open_image(struct view *v, struct fault *f)
{
	struct stat st;

	v->image = open(v->target.path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (v->image < 0 && errno == EINVAL)
		v->image = open(v->target.path, O_RDONLY | O_CLOEXEC);
	if (v->image < 0)
		return errno == ENOENT ? 0 : fault_errno(f, "%s: open", v->target.path);
	return v->target.block || (!fstat(v->image, &st) && st.st_ino == v->state.image.inode);
}

// What F says is so only if nothing moved meanwhile: else 0.
static int unless_moved(const struct view *v)
{
	return view_same(v) ? -1 : 0;
}

// 1: seen together; 0: it moves, though not if LAST; -1: of no use.
static int look(struct view *v, bool last, struct fault *f)
{
	const struct replica *r = &v->state;
	char wrong[sizeof(f->text)];

	if (r->promoted)
		return refuse(v, "was promoted: it is no replica any more", f);
	if (r->intent.how != REPLICA_IDLE)
		return 0;
	if (!replica_complete(r))
		return refuse(v, "incomplete: there is nothing to check yet", f);
	if (target_compare(&v->target, r, wrong, sizeof(wrong), f))
		return -1;
	if (wrong[0]) {
		refuse(v, wrong, f);
		return unless_moved(v);
	}
	int got = digestfile_open(&v->digests, v->target.dirfd, DIGESTFILE_NAME, f);
	if (got < 0) // its header may be being written
		return last ? -1 : 0;
	if (!got)
		refuse(v, "no digests are kept beside it; to begin: blxapply --digests", f);
	else if (!digestfile_is_at(&v->digests, &r->floor))
		refuse(v, "its digests are not of this epoch; the next blxapply begins them anew",
		       f);
	if (!got || !digestfile_is_at(&v->digests, &r->floor))
		return unless_moved(v);
	got = open_image(v, f);
	return got > 0 ? view_same(v) : got;
}

// A pending epoch that nobody is putting in place was left by a crash.
static int at_work(const struct view *v, struct fault *f)
{
	int fd = openat(v->target.dirfd, "lock", O_RDWR | O_CLOEXEC);
	bool idle = fd >= 0 && !flock(fd, LOCK_SH | LOCK_NB) && view_same(v);

	if (fd >= 0)
		close(fd);
	return idle && v->state.intent.how != REPLICA_IDLE
		       ? refuse(v, "an epoch is pending; to finish it: blxapply --recover", f)
		       : 0;
}

int view_open(struct view *v, const char *path, struct fault *f)
{
	const struct timespec pause = {0, PAUSE_MS * 1000000};

	for (int n = 1;; n++) {
		view_close(v);
		if (load(v, path, f))
			return -1;
		int got = look(v, n % PATIENCE == 0, f);
		if (got)
			return got > 0 ? 0 : -1;
		if (n % PATIENCE == 0 && at_work(v, f))
			return -1;
		nanosleep(&pause, NULL);
	}
}
