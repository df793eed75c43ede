// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "command.h"
#include "die.h"

enum { PIPE_BYTES = 1 << 20 };

static char *expand(const char *word, const char *name, struct fault *f)
{
	size_t room = strlen(word) + 1, n = 0;

	for (const char *p = word; name && (p = strstr(p, "%p")); p += 2)
		room += strlen(name);
	char *to = malloc(room);
	if (!to) {
		fault_errno(f, "command");
		return NULL;
	}
	for (const char *p = word; *p; p++) {
		if (*p != '%') {
			to[n++] = *p;
		} else if (*++p == '%') {
			to[n++] = '%';
		} else if (*p == 'p' && name) {
			n = (size_t)(stpcpy(to + n, name) - to);
		} else {
			free(to);
			fault_set(f, BLX_USAGE,
				  *p == 'p' ? "'%s': %%p is the peer's name: it needs --allow"
					    : "'%s': %%p or %%%% is expected, no other %%",
				  word);
			return NULL;
		}
	}
	to[n] = 0;
	return to;
}

char **command_words(char *const cmd[], const char *name, struct fault *f)
{
	size_t n = 0;

	while (cmd[n])
		n++;
	char **words = calloc(n + 1, sizeof(*words));
	if (!words) {
		fault_errno(f, "command");
		return NULL;
	}
	for (size_t i = 0; i < n; i++) {
		if ((words[i] = expand(cmd[i], name, f)))
			continue;
		command_free_words(words);
		return NULL;
	}
	return words;
}

void command_free_words(char **words)
{
	for (char **w = words; w && *w; w++)
		free(*w);
	free(words);
}

static _Noreturn void become(char *const words[], const char *peer, const char *address, int in,
			     int out, pid_t parent)
{
	sigset_t none;

	sigemptyset(&none);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) || getppid() != parent)
		_exit(BLX_SYSTEM);
	if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
	    setenv("BLX_PEER", peer, 1) || setenv("BLX_PEER_ADDRESS", address, 1)) {
		warn("%s: %s", words[0], strerror(errno));
		_exit(BLX_SYSTEM);
	}
	execvp(words[0], words);
	int code = errno == ENOENT ? 127 : 126;
	warn("%s: %s", words[0], strerror(errno));
	_exit(code);
}

int command_start(char *const words[], const char *peer, const char *address, int *in, int *out,
		  pid_t *pid, struct fault *f)
{
	int to[2], from[2];
	pid_t parent = getpid();

	if (pipe2(to, O_CLOEXEC))
		return fault_errno(f, "pipe");
	if (pipe2(from, O_CLOEXEC)) {
		fault_errno(f, "pipe");
		close(to[0]);
		close(to[1]);
		return -1;
	}
	// as far as the limit on pipes of this user goes
	fcntl(to[0], F_SETPIPE_SZ, PIPE_BYTES);
	fcntl(from[0], F_SETPIPE_SZ, PIPE_BYTES);
	fcntl(to[1], F_SETFL, O_WRONLY | O_NONBLOCK);
	fcntl(from[0], F_SETFL, O_RDONLY | O_NONBLOCK);
	if (!(*pid = fork()))
		become(words, peer, address, to[0], from[1], parent);
	int keep = errno;
	close(to[0]);
	close(from[1]);
	*in = from[0];
	*out = to[1];
	if (*pid > 0)
		return 0;
	close(to[1]);
	close(from[0]);
	*pid = 0;
	errno = keep;
	return fault_errno(f, "fork");
}
