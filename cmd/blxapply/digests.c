// SPDX-License-Identifier: BSD-2-Clause
// The digests beside the image, kept current in every way of applying: right, or dropped. They
// never stop an epoch: what cannot be written is said and begins anew.
//
// They are current for one token. In place it is changed before the state says that writing began,
// and keeps the older one too until then. By the spool it is changed once all is written, and a
// crash before that writes all of it again. A clone's are a clone, and are renamed with it.
//
// An entry goes before its bytes. Where a run that dies leaves one without the other, and the next
// need not write the same, the header says so: of a block that is written in part nobody can tell
// then whether it has rotted. What was received in order and cut, or is a spool that is written
// again while the machine runs on, agrees.
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "apply.h"
#include "die.h"

static void say_lost(const struct job *j, const char *why)
{
	warn("%s: what its digests knew is lost: %s", j->t.path, why);
}

static void drop(struct job *j, const char *why)
{
	say_lost(j, why);
	digests_close(j);
	unlinkat(j->t.dirfd, DIGESTFILE_NAME, 0);
	unlinkat(j->t.dirfd, DIGESTFILE_NEXT, 0);
}

static bool current(const struct digestfile *d, const struct replica *r)
{
	return (r->has_floor && digestfile_is_at(d, &r->floor)) || digestfile_is_at(d, &r->touched);
}

static void begin_anew(struct job *j, const struct token *token, uint64_t size)
{
	struct fault f;

	digests_close(j);
	if (digestfile_reset(&j->digests, j->t.dirfd, DIGESTFILE_NAME, size, token, &f))
		drop(j, f.text);
	else
		j->to.digests = &j->digests;
}

// 1: open; 0: none are kept.
static int use(struct job *j)
{
	struct fault f;

	digests_close(j);
	int got = digestfile_open(&j->digests, j->t.dirfd, DIGESTFILE_NAME, &f);
	if (got > 0 && !digestfile_hold(&j->digests, &f)) {
		j->digests.again |= j->mixed;
		j->to.digests = &j->digests;
		return 1;
	}
	if (got)
		drop(j, f.text);
	return 0;
}

void digests_close(struct job *j)
{
	digestfile_close(&j->digests);
	j->to.digests = NULL;
}

void digests_settle(struct job *j)
{
	const struct replica *r = &j->r;
	struct fault f;

	digests_close(j);
	if (j->o->no_digests) {
		unlinkat(j->t.dirfd, DIGESTFILE_NAME, 0);
		return;
	}
	if (j->verdict == ACCEPT_CREATE)
		return;
	int got = digestfile_open(&j->digests, j->t.dirfd, DIGESTFILE_NAME, &f);
	bool good = got > 0 && current(&j->digests, r);
	if (got && !good)
		say_lost(j, got < 0 ? f.text : "they are not of the state");
	if (!good && (got || j->o->digests))
		begin_anew(j, &r->touched, r->size);
	digests_close(j);
}

static void mark(struct job *j, bool unsettled, const struct token *token, const struct token *also)
{
	j->digests.unsettled = unsettled;
	if (digestfile_mark(&j->digests, token, also))
		j->digests.lost = errno;
	digests_sync(j);
}

void digests_in_place(struct job *j)
{
	if (!use(j))
		return;
	mark(j, true, &j->h->token, &j->r.touched);
	if (j->to.digests)
		digestfile_resize(&j->digests, j->h->size);
}

void digests_create(struct job *j)
{
	if (j->o->digests || !faccessat(j->t.dirfd, DIGESTFILE_NAME, F_OK, AT_SYMLINK_NOFOLLOW))
		begin_anew(j, &j->h->token, j->h->size);
	if (j->to.digests)
		mark(j, true, &j->h->token, NULL);
}

void digests_spool(struct job *j)
{
	if (!use(j))
		return;
	if (!current(&j->digests, &j->r)) {
		digests_close(j);
		return;
	}
	digestfile_resize(&j->digests, j->r.intent.size);
}

void digests_clone(struct job *j)
{
	int dirfd = j->t.dirfd;

	unlinkat(dirfd, DIGESTFILE_NEXT, 0);
	if (!use(j))
		return;
	int fd = openat(dirfd, DIGESTFILE_NEXT, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || ioctl(fd, FICLONE, j->digests.fd)) {
		drop(j, strerror(errno));
		if (fd >= 0)
			close(fd);
		return;
	}
	close(j->digests.fd);
	j->digests.fd = fd;
	digestfile_resize(&j->digests, j->h->size);
}

void digests_sync(struct job *j)
{
	struct digestfile *d = &j->digests;

	if (!j->to.digests)
		return;
	if (d->lost)
		say_lost(j, strerror(d->lost));
	if ((d->lost && digestfile_mark(d, &d->token, &d->also)) || digestfile_sync(d))
		drop(j, strerror(errno));
	d->lost = 0;
}

void digests_done(struct job *j, const struct token *token)
{
	if (!j->to.digests)
		return;
	mark(j, false, token, NULL);
	digests_close(j);
}

void digests_same(struct job *j)
{
	if (use(j))
		mark(j, j->digests.again, &j->h->token, &j->r.floor);
	digests_close(j);
}

void digests_cut(struct job *j)
{
	struct digestfile *d = &j->digests;

	if (j->to.digests)
		mark(j, d->again, &d->token, &d->also);
}

void digests_half(struct job *j)
{
	struct digestfile *d = &j->digests;

	if (use(j))
		mark(j, true, &d->token, &d->also);
	digests_close(j);
}

int digests_publish(struct job *j, struct fault *f)
{
	int dirfd = j->t.dirfd;

	// Durable with the next state.
	if (renameat(dirfd, DIGESTFILE_NEXT, dirfd, DIGESTFILE_NAME) && errno != ENOENT)
		return fault_errno(f, "%s/" DIGESTFILE_NEXT ": rename", j->t.dir);
	return 0;
}

void digests_unknown(struct job *j)
{
	if (use(j))
		begin_anew(j, &j->r.floor, j->r.size);
	digests_close(j);
}
