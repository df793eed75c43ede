// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "used.h"

// It inherits the device, which it is told to open as /proc/self/fd/N.
static _Noreturn void become(const char *const argv[], int out)
{
	const char *path = getenv("PATH");
	char more[4096];
	int null = open("/dev/null", O_RDWR);

	snprintf(more, sizeof(more), "%s:/usr/sbin:/sbin", path ? path : "/usr/bin:/bin");
	signal(SIGPIPE, SIG_DFL);
	if (setenv("PATH", more, 1) || setenv("LC_ALL", "C", 1) || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(null, STDERR_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
		_exit(126);
	execvp(argv[0], (char *const *)argv);
	_exit(127);
}

int tool_start(struct tool *t, const char *const argv[], struct fault *f)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return fault_errno(f, "pipe");
	t->pid = fork();
	if (!t->pid)
		become(argv, ends[1]);
	close(ends[1]);
	t->out = t->pid < 0 ? NULL : fdopen(ends[0], "r");
	return t->out ? 0 : fault_errno(f, "%s", argv[0]);
}

int tool_end(struct tool *t)
{
	int status;

	fclose(t->out);
	while (waitpid(t->pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
