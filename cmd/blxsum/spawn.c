// SPDX-License-Identifier: BSD-2-Clause
// Another program of the toolkit, whose output is read.
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "blxsum.h"
#include "die.h"

// Beside this program, where it was built or installed; else wherever PATH says.
static void exec_sibling(char *const argv[])
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

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

int spawn_reader(char *const argv[], int *pid)
{
	pid_t parent = getpid();
	int to[2];

	if (pipe2(to, O_CLOEXEC))
		die_errno("pipe");
	*pid = fork();
	if (*pid < 0)
		die_errno("fork");
	if (!*pid) {
		signal(SIGPIPE, SIG_DFL);
		int null = open("/dev/null", O_RDONLY);
		if (prctl(PR_SET_PDEATHSIG, SIGTERM) || getppid() != parent || null < 0 ||
		    dup2(null, STDIN_FILENO) < 0 || dup2(to[1], STDOUT_FILENO) < 0)
			_exit(BLX_SYSTEM);
		exec_sibling(argv);
	}
	close(to[1]);
	return to[0];
}
