// SPDX-License-Identifier: BSD-2-Clause
// A pair whose source is being written. What differs is damage only if nobody wrote it: neither
// since what the replica has acked, nor while it was read, which a consumer of our own records.
// What else differs is in flux, and looked at again once the replica is known to hold it.
//
// A write that no program saw submitted is recorded when it completes, which may be after the
// comparison: what seems damaged is looked at twice.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "blxsum.h"
#include "child.h"
#include "die.h"
#include "num.h"
#include "sets.h"

#define OURS "blxsum-live"

enum { MS = 1000000, SETTLE_MS = 1000, POLL_MS = 500 };

struct live {
	const struct options *o;
	struct head head;   // of all sets
	struct set only;    // what is looked at; no file: all
	struct set damage;  // found so far
	struct set flux;    // of this round
	struct set unacked; // of the replica's consumer
	struct set written; // of ours
};

// ---- the end, whatever brings it

static char *watched; // the device that has a consumer of ours
static volatile sig_atomic_t stopped;

static int run(char *const argv[], int out, bool quiet);

static void unwatch(void)
{
	char *const argv[] = {"blxtrack", "consumer", "remove", OURS, watched, NULL};

	if (watched)
		run(argv, -1, false);
	watched = NULL;
}

static void on_signal(int sig)
{
	stopped = sig;
}

static void catch_signals(void)
{
	static const int signals[] = {SIGHUP, SIGINT, SIGTERM};
	struct sigaction act = {.sa_handler = on_signal}, old;

	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		if (!sigaction(signals[i], NULL, &old) && old.sa_handler != SIG_IGN)
			sigaction(signals[i], &act, NULL);
}

static void end_if_stopped(void)
{
	int sig = stopped;

	if (!sig)
		return;
	stopped = 0;
	unwatch();
	signal(sig, SIG_DFL);
	raise(sig);
}

static void pause_ms(long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * MS};

	nanosleep(&t, NULL);
	end_if_stopped();
}

// ---- other processes

// If we are to stop, so is the child.
static int wait_for(pid_t pid)
{
	int code;

	while ((code = child_wait(pid)) < 0) {
		if (errno != EINTR)
			die_errno("wait");
		if (stopped)
			kill(pid, SIGTERM);
	}
	return code;
}

static int run(char *const argv[], int out, bool quiet)
{
	struct fault f;
	pid_t pid;

	if (!child_start(argv, out, quiet, &pid, &f))
		return wait_for(pid);
	warn("%s", f.text);
	return BLX_SYSTEM;
}

static void run_or_die(char *const argv[], int out)
{
	int code = run(argv, out, false);

	end_if_stopped();
	if (code)
		die(code > BLX_BUSY ? BLX_SYSTEM : (enum blx_exit)code, "%s %s failed", argv[0],
		    argv[1]);
}

// From now on our consumer records what is written.
static void watch(const struct live *l)
{
	char *path = (char *)l->o->path;
	char *const out[] = {"blxtrack", "consumer", "remove", OURS, path, NULL};
	char *const in[] = {"blxtrack", "consumer", "add", "--now", OURS, path, NULL};

	run(out, -1, true); // of the round before, or of one that was killed
	end_if_stopped();
	watched = path;
	run_or_die(in, -1);
}

// What CONSUMER lacks.
static void drain(const struct live *l, const char *consumer, struct set *s)
{
	char *const argv[] = {"blxtrack",         "drain", "-c", (char *)consumer,
			      (char *)l->o->path, NULL};

	set_free(s);
	set_new(s);
	run_or_die(argv, set_fd(s));
	set_read(s, "blxtrack drain");
}

// A child that is ended when this process ends, and by the signals that this one catches. 0 in it.
static pid_t fork_compare(int out)
{
	static const int signals[] = {SIGHUP, SIGINT, SIGTERM};
	pid_t parent = getpid(), pid = fork();
	struct sigaction old;

	if (pid < 0)
		die_errno("fork");
	if (pid)
		return pid;
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		if (!sigaction(signals[i], NULL, &old) && old.sa_handler != SIG_IGN)
			signal(signals[i], SIG_DFL);
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) || getppid() != parent || dup2(out, STDOUT_FILENO) < 0)
		_exit(BLX_SYSTEM);
	return 0;
}

// What differs of ONLY.
static void compare(const struct live *l, const struct set *only, struct set *differs)
{
	struct options o = *l->o;
	char path[64];

	set_new(differs);
	o.live = true;
	if (only->file) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", set_fd(only));
		o.only = path;
		o.used = false;
	}
	pid_t pid = fork_compare(set_fd(differs));
	if (!pid) {
		watched = NULL;
		int code = tree_compare(&o);
		close_stdout();
		exit(code);
	}
	int code = wait_for(pid);
	end_if_stopped();
	if (code > BLX_BUSY)
		die(BLX_SYSTEM, "%s: the comparison was killed", l->o->path);
	if (code)
		exit(code); // it has said why
	set_read(differs, "comparison");
}

// The epoch that the replica has acked.
static uint64_t acked(const struct live *l)
{
	char *const argv[] = {"blxtrack", "consumer", "list", (char *)l->o->path, NULL};
	size_t n = strlen(l->o->consumer), room = 0;
	uint64_t epoch = 0;
	char *line = NULL;
	struct fault f;
	pid_t pid;
	int fd;

	if (child_pipe(argv, &fd, &pid, &f))
		die_fault(&f);
	FILE *in = fdopen(fd, "r");
	if (!in)
		die_errno("blxtrack");
	while (getline(&line, &room, in) > 0)
		if (!strncmp(line, l->o->consumer, n) && line[n] == ' ') {
			line[n + 1 + strcspn(line + n + 1, " ")] = 0;
			if (num_u64(line + n + 1, &epoch))
				epoch = 0;
		}
	free(line);
	fclose(in);
	int code = wait_for(pid);
	end_if_stopped();
	if (code)
		die(code > BLX_BUSY ? BLX_SYSTEM : (enum blx_exit)code,
		    "blxtrack consumer list failed");
	return epoch;
}

// Until the replica has all that was written so far. False: not within --timeout.
static bool await_ack(const struct live *l)
{
	enum { PATIENCE_MS = 60000 };

	for (int64_t waited = 0; acked(l) < l->written.epoch; waited += POLL_MS) {
		if (l->o->timeout_ms >= 0 && waited >= l->o->timeout_ms)
			return false;
		if (waited == PATIENCE_MS)
			warn("%s: waiting for consumer %s to be replicated (--timeout)", l->o->path,
			     l->o->consumer);
		pause_ms(POLL_MS);
	}
	return true;
}

// ---- rounds

// SEEM differ, and were not written as far as was known.
static void look_again(struct live *l, const struct set *seem)
{
	struct set differs, part = {0};

	pause_ms(SETTLE_MS);
	compare(l, seem, &differs);
	drain(l, OURS, &l->written);
	set_combine(&part, &differs, SET_MINUS, &l->written, &l->head);
	set_combine(&l->damage, &l->damage, SET_OR, &part, &l->head);
	set_combine(&part, &differs, SET_AND, &l->written, &l->head);
	set_combine(&l->flux, &l->flux, SET_OR, &part, &l->head);
	set_free(&part);
	set_free(&differs);
}

static void look(struct live *l)
{
	struct set differs, seem = {0};

	watch(l);
	drain(l, l->o->consumer, &l->unacked);
	compare(l, &l->only, &differs);
	drain(l, OURS, &l->written);
	set_combine(&l->unacked, &l->unacked, SET_OR, &l->written, &l->head);
	set_combine(&seem, &differs, SET_MINUS, &l->unacked, &l->head);
	set_combine(&l->flux, &differs, SET_AND, &l->unacked, &l->head);
	if (seem.bytes)
		look_again(l, &seem);
	set_free(&seem);
	set_free(&differs);
}

// False: the replica got nothing more.
static bool rounds(struct live *l)
{
	for (uint64_t i = 1;; i++) {
		look(l);
		if (!l->flux.bytes || i == l->o->rounds)
			return true;
		if (!await_ack(l))
			return false;
		set_free(&l->only);
		l->only = l->flux;
		l->flux = (struct set){0};
	}
}

// ---- before and after

static void make_head(struct live *l)
{
	static struct subject s;
	struct fault f;

	if (subject_open(&s, l->o, false, &f))
		die_fault(&f);
	if (!s.head.has_since)
		die(BLX_TARGET, "%s: --live: is not tracked, or its history is lost", l->o->path);
	head_init(&l->head);
	l->head.anonymous = l->head.has_since = true;
	l->head.size = l->head.limit = s.source.size;
	l->head.time = s.head.time;
	l->head.since = s.head.since;
	l->head.since_epoch = s.head.since_epoch;
	memcpy(l->head.name, s.head.name, sizeof(l->head.name));
	subject_close(&s);
}

// One at a time for each device; blxtrack run for our consumer would take the same lock.
static void lock(const struct live *l)
{
	char path[64];
	struct stat st;

	if (stat(l->o->path, &st))
		die_errno("%s", l->o->path);
	snprintf(path, sizeof(path), "/run/blx/%u:%u/run." OURS, major(st.st_rdev),
		 minor(st.st_rdev));
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		die_errno("%s", path);
	if (flock(fd, LOCK_EX | LOCK_NB))
		die(BLX_BUSY, "%s: another blxsum --live is at work on it", l->o->path);
}

int live(const struct options *o)
{
	static struct live l;

	l.o = o;
	make_head(&l);
	lock(&l);
	catch_signals();
	if (atexit(unwatch))
		die_errno("atexit");
	set_empty(&l.damage, &l.head);
	bool quiet = rounds(&l);
	unwatch();
	end_if_stopped();
	if (l.flux.bytes)
		warn("%s: %llu bytes were never quiet: they are not verified", o->path,
		     (unsigned long long)l.flux.bytes);
	set_print(&l.damage);
	if (!quiet)
		warn("%s: consumer %s acked nothing for %d s", o->path, o->consumer,
		     o->timeout_ms / 1000);
	return l.damage.bytes ? BLX_DIFFERS : quiet ? BLX_OK : BLX_SYSTEM;
}
