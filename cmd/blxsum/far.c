// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "die.h"
#include "far.h"

enum { PATIENCE_MS = 1000 };

static _Noreturn void run(char **cmd, pid_t parent, int in, int out)
{
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) || getppid() != parent || dup2(in, STDIN_FILENO) < 0 ||
	    dup2(out, STDOUT_FILENO) < 0)
		_exit(BLX_SYSTEM);
	signal(SIGPIPE, SIG_DFL);
	execvp(cmd[0], cmd);
	int code = errno == ENOENT ? 127 : 126;
	warn("%s: %s", cmd[0], strerror(errno));
	_exit(code);
}

int far_start(struct far *a, char **cmd, struct fault *f)
{
	int to[2], from[2];
	pid_t parent = getpid();

	if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		return fault_errno(f, "pipe");
	*a = (struct far){.in = from[0], .out = to[1], .name = cmd[0]};
	a->pid = fork();
	if (a->pid < 0)
		return fault_errno(f, "fork");
	if (!a->pid)
		run(cmd, parent, to[0], from[1]);
	close(to[0]);
	close(from[1]);
	return 0;
}

static int judge(const struct far *a, int status, struct fault *f)
{
	if (WIFSIGNALED(status))
		return fault_set(f, BLX_SYSTEM, "%s was killed by signal %d", a->name,
				 WTERMSIG(status));
	if (WEXITSTATUS(status))
		return fault_set(f, BLX_SYSTEM, "%s exited with status %d", a->name,
				 WEXITSTATUS(status));
	return 0;
}

// Wait for it; MS: for so long at most, -1: for ever. 1; 0: it has not ended; -1: errno.
static int reap(const struct far *a, int ms, int *status)
{
	const struct timespec step = {.tv_nsec = 1000000};

	for (int i = 0;; i++) {
		pid_t got = waitpid(a->pid, status, ms < 0 ? 0 : WNOHANG);
		if (got < 0 && errno == EINTR)
			continue;
		if (got)
			return got < 0 ? -1 : 1;
		if (i >= ms)
			return 0;
		nanosleep(&step, NULL);
	}
}

int far_wait(struct far *a, int timeout_ms, struct fault *f)
{
	int status;

	close(a->in);
	close(a->out);
	int got = reap(a, timeout_ms, &status);
	if (got < 0)
		return fault_errno(f, "%s: wait", a->name);
	return got ? judge(a, status, f)
		   : fault_set(f, BLX_SYSTEM, "%s does not end, though all was said", a->name);
}

void far_ended(struct far *a)
{
	struct fault why;
	int status;

	if (reap(a, PATIENCE_MS, &status) > 0 && judge(a, status, &why))
		warn("%s", why.text);
}
