// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "die.h"
#include "spawn.h"

void exec_sibling(char *const argv[])
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	signal(SIGPIPE, SIG_DFL);
	if (n > 0) {
		path[n] = 0;
		char *slash = strrchr(path, '/');
		size_t room = sizeof(path) - (size_t)(slash + 1 - path);
		if ((size_t)snprintf(slash + 1, room, "%s", argv[0]) < room)
			execv(path, argv);
	}
	execvp(argv[0], argv);
	warn("%s: %s", argv[0], strerror(errno));
	_exit(BLX_SYSTEM);
}

pid_t spawn_self(int out)
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
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) || getppid() != parent ||
	    (out >= 0 && dup2(out, STDOUT_FILENO) < 0))
		_exit(BLX_SYSTEM);
	return 0;
}

int spawn_reader(char *const argv[], int *pid)
{
	int to[2];

	if (pipe2(to, O_CLOEXEC))
		die_errno("pipe");
	*pid = spawn_self(to[1]);
	if (!*pid) {
		int null = open("/dev/null", O_RDONLY);
		if (null < 0 || dup2(null, STDIN_FILENO) < 0)
			_exit(BLX_SYSTEM);
		exec_sibling(argv);
	}
	close(to[1]);
	return to[0];
}
