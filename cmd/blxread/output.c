// SPDX-License-Identifier: BSD-2-Clause
// The files that are being written are named in static variables, because exit handlers and signal
// handlers take no argument.
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "die.h"
#include "file.h"
#include "output.h"

static struct {
	char target[PATH_MAX];       // links followed
	char fresh[PATH_MAX + 4];    // target.new
	volatile sig_atomic_t owned; // fresh is ours to remove
} files[OUTPUT_KINDS];

static void remove_fresh(void)
{
	for (int i = 0; i < OUTPUT_KINDS; i++) {
		if (files[i].owned)
			unlink(files[i].fresh);
		files[i].owned = 0;
	}
}

// The handler is reset by then: the signal ends us as it would have.
static void remove_and_go(int signal)
{
	remove_fresh();
	raise(signal);
}

static void remove_at_the_end(void)
{
	static const int signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};
	struct sigaction act = {.sa_handler = remove_and_go, .sa_flags = (int)SA_RESETHAND}, old;
	static bool done;

	if (done)
		return;
	done = true;
	atexit(remove_fresh);
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		if (!sigaction(signals[i], NULL, &old) && old.sa_handler != SIG_IGN)
			sigaction(signals[i], &act, NULL);
}

// One that nobody else writes, in *to: what a run of cron's left that was killed is emptied. 1: it
// has got its name, or is gone, meanwhile.
static int try_fresh(const char *fresh, int *to, struct fault *f)
{
	struct stat ours, named;
	int fd = open(fresh, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);

	if (fd < 0)
		return fault_errno(f, "%s: open", fresh);
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno == EWOULDBLOCK)
			fault_set(f, BLX_BUSY, "%s: another blxread writes it", fresh);
		else
			fault_errno(f, "%s: lock", fresh);
		close(fd);
		return -1;
	}
	bool same = !fstat(fd, &ours) && !stat(fresh, &named) && ours.st_ino == named.st_ino &&
		    ours.st_dev == named.st_dev;
	if (same && (!S_ISREG(ours.st_mode) || ours.st_uid != geteuid() || ours.st_nlink != 1)) {
		close(fd);
		return fault_set(f, BLX_TARGET, "%s: another's file is in the way", fresh);
	}
	int bad = same && ftruncate(fd, 0) ? fault_errno(f, "%s: truncate", fresh) : 0;
	if (same && !bad) {
		*to = fd;
		return 0;
	}
	close(fd);
	return bad ? -1 : 1;
}

static int open_fresh(struct output *o, struct fault *f)
{
	char *target = files[o->kind].target, *fresh = files[o->kind].fresh;

	// What the name links to is replaced, not the link.
	if (!realpath(o->name, target) &&
	    (size_t)snprintf(target, PATH_MAX, "%s", o->name) >= PATH_MAX) {
		errno = ENAMETOOLONG;
		return fault_errno(f, "%s: open", o->name);
	}
	strcpy(stpcpy(fresh, target), ".new");
	remove_at_the_end();
	if (o->kind == OUTPUT_LIST) {
		int again;
		while ((again = try_fresh(fresh, &o->fd, f)) > 0)
			;
		if (again)
			return -1;
	} else {
		o->fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	}
	if (o->fd < 0 && errno == EEXIST)
		return fault_set(
			f, BLX_BUSY,
			"%s: exists: another blxread writes it, or was killed (then remove it)",
			fresh);
	if (o->fd < 0)
		return fault_errno(f, "%s: open", fresh);
	files[o->kind].owned = 1;
	o->fresh = true;
	return 0;
}

int output_open(struct output *o, enum output_kind kind, const char *name, struct fault *f)
{
	static const char *const options[] = {"--output", "--skip-bad"};

	*o = (struct output){.kind = kind, .fd = STDOUT_FILENO, .name = name};
	if (!name) {
		if (fstat(o->fd, &o->old))
			die_stdout();
	} else if (stat(name, &o->old) ? errno == ENOENT : S_ISREG(o->old.st_mode)) {
		if (open_fresh(o, f))
			return -1;
	} else if (S_ISBLK(o->old.st_mode)) {
		die_usage("%s '%s': a block device would be overwritten", options[kind], name);
	} else {
		o->fd = open(name, O_WRONLY | O_CLOEXEC);
		if (o->fd < 0)
			return fault_errno(f, "%s: open", name);
	}
	if (kind == OUTPUT_STREAM && isatty(o->fd))
		die_usage("%s is a terminal: a stream is binary", name ? name : "standard output");
	return 0;
}

// A stream in a file may be acked from there: it must survive a power cut first.
void output_finish(struct output *o)
{
	const char *target = files[o->kind].target, *fresh = files[o->kind].fresh;
	char dir[PATH_MAX];

	if (o->name && fsync(o->fd) && errno != EINVAL && errno != EROFS)
		die_errno("%s: fsync", o->name);
	if (close(o->fd))
		output_die(o);
	if (!o->fresh)
		return;
	if (rename(fresh, target))
		die_errno("%s: rename", fresh);
	files[o->kind].owned = 0;
	snprintf(dir, sizeof(dir), "%s", target);
	if (file_sync_dir(dirname(dir)))
		die_errno("%s: fsync of its directory", o->name);
}

void output_die(const struct output *o)
{
	if (o->name)
		die_errno("%s: write", o->name);
	die_stdout();
}
