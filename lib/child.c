// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"

extern char **environ;

// Beside this program, or just its name, for PATH.
static void find(const char *name, char path[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
	char *slash = n > 0 ? memrchr(path, '/', (size_t)n) : NULL;
	size_t room = slash ? PATH_MAX - (size_t)(slash + 1 - path) : 0;

	if (!slash || strlen(name) >= room || (strcpy(slash + 1, name), access(path, X_OK)))
		snprintf(path, PATH_MAX, "%s", name);
}

// Signals that this program ignores or catches are the child's own affair.
static int signals_as_ever(posix_spawnattr_t *attr)
{
	sigset_t all, none;

	sigemptyset(&none);
	sigemptyset(&all);
	sigaddset(&all, SIGPIPE);
	return posix_spawnattr_init(attr) || posix_spawnattr_setsigdefault(attr, &all) ||
	       posix_spawnattr_setsigmask(attr, &none) ||
	       posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
}

int child_start(char *const argv[], int out, bool quiet, pid_t *pid, struct fault *f)
{
	posix_spawn_file_actions_t to;
	posix_spawnattr_t attr;
	char path[PATH_MAX];

	find(argv[0], path);
	if (posix_spawn_file_actions_init(&to) || signals_as_ever(&attr)) {
		errno = ENOMEM;
		return fault_errno(f, "%s", argv[0]);
	}
	int bad = posix_spawn_file_actions_addopen(&to, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (!bad && out >= 0)
		bad = posix_spawn_file_actions_adddup2(&to, out, STDOUT_FILENO);
	else if (!bad)
		bad = posix_spawn_file_actions_addopen(&to, STDOUT_FILENO, "/dev/null", O_WRONLY,
						       0);
	if (!bad && quiet)
		bad = posix_spawn_file_actions_addopen(&to, STDERR_FILENO, "/dev/null", O_WRONLY,
						       0);
	if (!bad)
		bad = posix_spawnp(pid, path, &to, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&to);
	posix_spawnattr_destroy(&attr);
	errno = bad;
	return bad ? fault_errno(f, "%s", argv[0]) : 0;
}

int child_pipe(char *const argv[], int *from, pid_t *pid, struct fault *f)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return fault_errno(f, "pipe");
	int bad = child_start(argv, ends[1], false, pid, f);
	close(ends[1]);
	*from = ends[0];
	if (bad)
		close(ends[0]);
	return bad;
}

int child_wait(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) < 0)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
