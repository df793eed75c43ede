// SPDX-License-Identifier: BSD-2-Clause
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "num.h"
#include "offspring.h"

enum { PATIENCE_MS = 3000, DESPAIR_MS = 5000, STEP_MS = 5, STEP_MAX_MS = 80, STOP_ROUNDS = 100 };

struct process {
	pid_t pid, parent;
	bool ours, still; // it does nothing: stopped, or (D) waiting in the kernel
};

int offspring_adopt(void)
{
	return prctl(PR_SET_CHILD_SUBREAPER, 1);
}

// From /proc/PID/stat, `pid (name) state parent ...`; the name may hold anything.
static bool read_process(const char *pid, struct process *p)
{
	char path[64], text[512];
	uint64_t id, parent;

	snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	text[n] = 0;
	char *state = strrchr(text, ')');
	if (!state || strlen(state) < 5 || state[2] == 'Z')
		return false;
	state[4 + strcspn(state + 4, " ")] = 0;
	if (num_u64(state + 4, &parent) || num_u64(pid, &id))
		return false;
	*p = (struct process){.pid = (pid_t)id,
			      .parent = (pid_t)parent,
			      .still = state[2] != 'R' && state[2] != 'S'};
	return true;
}

static size_t read_processes(struct process **all)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	size_t n = 0;

	*all = NULL;
	while (d && (e = readdir(d))) {
		if (*e->d_name < '1' || *e->d_name > '9')
			continue;
		struct process *more = realloc(*all, (n + 1) * sizeof(**all));
		if (!more)
			break;
		*all = more;
		n += read_process(e->d_name, &more[n]);
	}
	if (d)
		closedir(d);
	return n;
}

static bool is_ours(const struct process *all, size_t n, pid_t pid)
{
	if (pid == getpid())
		return true;
	for (size_t i = 0; i < n; i++)
		if (all[i].pid == pid)
			return all[i].ours;
	return false;
}

// Mark what descends from us. How many that is.
static size_t mark_ours(struct process *all, size_t n)
{
	size_t found = 0;

	for (size_t before = n + 1; before != found;) {
		before = found;
		for (size_t i = 0; i < n; i++)
			if (!all[i].ours && is_ours(all, n, all[i].parent)) {
				all[i].ours = true;
				found++;
			}
	}
	return found;
}

// Send a signal (0: none) to all. How many there are; ACTIVE: but those that do nothing.
static size_t signal_all(int sig, size_t *active)
{
	struct process *all;
	size_t n = read_processes(&all), found = mark_ours(all, n);

	*active = found;
	for (size_t i = 0; i < n; i++) {
		if (!all[i].ours)
			continue;
		*active -= all[i].still;
		if (sig)
			kill(all[i].pid, sig);
	}
	free(all);
	return found;
}

// A process that forks while signals are sent would leave a child that gets none. One with a
// signal pending does not fork (copy_process(), kernel/fork.c), and what the last of them made
// before is seen a round after they are all still.
static void stop_all(void)
{
	size_t active;

	for (int round = 0, quiet = 0; round < STOP_ROUNDS && quiet < 2; round++) {
		signal_all(SIGSTOP, &active);
		quiet = active ? 0 : quiet + 1;
	}
}

static void reap(pid_t pid, int *status)
{
	int st;

	for (pid_t got; (got = waitpid(-1, &st, WNOHANG)) > 0;)
		if (got == pid)
			*status = st;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void offspring_end(pid_t pid, int *status)
{
	int64_t begun = now_ms(), past;
	size_t active;
	int step = STEP_MS;

	stop_all();
	signal_all(SIGTERM, &active);
	signal_all(SIGCONT, &active);
	while ((past = now_ms() - begun) < DESPAIR_MS) {
		size_t left = signal_all(past < PATIENCE_MS ? 0 : SIGKILL, &active);
		reap(pid, status);
		if (!left)
			return;
		nanosleep(&(struct timespec){.tv_nsec = step * 1000000L}, NULL);
		step = step < STEP_MAX_MS ? 2 * step : step;
	}
}
