// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "used.h"

extern char **environ;

// Beside this program, or just its name, for PATH.
static void find(char path[PATH_MAX])
{
	static const char name[] = "blxused";
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - sizeof(name) - 1);
	char *slash = n > 0 ? memrchr(path, '/', (size_t)n) : NULL;

	if (slash)
		strcpy(slash + 1, name);
	if (!slash || access(path, X_OK))
		strcpy(path, name);
}

// The list on standard input is not for it.
static int spawn(struct used *u, int out, struct fault *f)
{
	char path[PATH_MAX];
	char *argv[] = {"blxused", "--", (char *)u->name, NULL};
	posix_spawn_file_actions_t to;

	find(path);
	posix_spawn_file_actions_init(&to);
	posix_spawn_file_actions_addopen(&to, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&to, out, STDOUT_FILENO);
	errno = posix_spawnp(&u->pid, path, &to, NULL, argv, environ);
	int bad = errno ? fault_errno(f, "%s", path) : 0;
	posix_spawn_file_actions_destroy(&to);
	return bad;
}

static int ended(struct used *u, struct fault *f)
{
	int status;

	while (waitpid(u->pid, &status, 0) < 0)
		if (errno != EINTR)
			return fault_errno(f, "blxused %s", u->name);
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return code ? fault_set(f, code <= BLX_BUSY ? (enum blx_exit)code : BLX_SYSTEM,
				"blxused %s: exit status %d", u->name, code)
		    : 0;
}

static void forget(struct used *u)
{
	extlist_reader_free(u->in);
	close(u->fd);
	u->in = NULL;
}

// Its list is not what it should be: the exit status says more than the place where it was cut.
static int failed(struct used *u, struct fault *f)
{
	struct fault why = *f;

	forget(u);
	return ended(u, f) ? -1 : fault_set(f, why.code, "blxused %s: %s", u->name, why.text);
}

static int next(struct used *u, struct fault *f)
{
	int got = extlist_next(u->in, &u->now, f);

	if (!got)
		u->now.length = 0;
	return got;
}

int used_open(struct used *u, const char *name, uint64_t size, struct fault *f)
{
	const struct head *h;
	int ends[2];

	*u = (struct used){.name = name};
	if (pipe2(ends, O_CLOEXEC))
		return fault_errno(f, "pipe");
	int bad = spawn(u, ends[1], f);
	close(ends[1]);
	u->fd = ends[0];
	u->in = bad ? NULL : extlist_reader_new(u->fd);
	if (!u->in) {
		close(u->fd);
		return bad ? -1 : fault_errno(f, "memory");
	}
	if (extlist_head(u->in, &h, f) < 0 || next(u, f) < 0)
		return failed(u, f);
	if (h->size == size)
		return 0;
	forget(u);
	ended(u, f); // whatever it says of the pipe that is closed
	return fault_set(f, BLX_TARGET, "blxused %s: its list is of another size", name);
}

int used_piece(struct used *u, struct extent e, uint64_t *n, struct fault *f)
{
	*n = e.length;
	while (u->now.length && u->now.offset + u->now.length <= e.offset)
		if (next(u, f) < 0)
			return failed(u, f);
	if (!u->now.length || u->now.offset >= e.offset + e.length)
		return 0;
	if (u->now.offset > e.offset) {
		*n = u->now.offset - e.offset;
		return 0;
	}
	if (u->now.offset + u->now.length < e.offset + e.length)
		*n = u->now.offset + u->now.length - e.offset;
	return 1;
}

int used_close(struct used *u, struct fault *f)
{
	while (u->now.length)
		if (next(u, f) < 0)
			return failed(u, f);
	forget(u);
	return ended(u, f);
}
