// SPDX-License-Identifier: BSD-2-Clause
// lib/confine: what was given up is refused, or is the process's last call; what was kept works.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "confine.h"
#include "tap.h"

static char inside[] = "/tmp/blx-confine.XXXXXX", outside[] = "/tmp/blx-confine.XXXXXX";

// ---- what a confined process tries: errno, or 0

static int try_open(const char *dir, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/file", dir);
	int fd = open(path, flags | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static int make_inside(void)
{
	return try_open(inside, O_RDWR);
}

static int make_outside(void)
{
	return try_open(outside, O_RDWR);
}

static int read_outside(void)
{
	return open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0 ? errno : 0;
}

static int look_at(void)
{
	int fd = open("/sys/devices", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? errno : 0;
}

static int change_what_is_looked_at(void)
{
	return open("/sys/power/state", O_WRONLY | O_CLOEXEC) < 0 ? errno : 0;
}

static int rename_inside(void)
{
	char dir[64], from[80], to[80];

	snprintf(dir, sizeof(dir), "%s/dir", inside);
	snprintf(from, sizeof(from), "%s/new", dir);
	snprintf(to, sizeof(to), "%s/renamed", inside);
	if (mkdir(dir, 0700))
		return errno;
	int fd = open(from, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, 4096) || pwrite(fd, "x", 1, 0) != 1 || fsync(fd))
		return errno;
	return rename(from, to) ? errno : 0;
}

static int rename_outside(void)
{
	char from[80], to[80];

	snprintf(from, sizeof(from), "%s/file", inside);
	snprintf(to, sizeof(to), "%s/renamed", outside);
	return rename(from, to) ? errno : 0;
}

static int start_a_program(void)
{
	execl("/bin/true", "true", (char *)NULL);
	return errno;
}

static int make_a_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0) < 0 ? errno : 0;
}

static int look_into_another(void)
{
	return ptrace(PTRACE_ATTACH, getppid(), 0, 0) ? errno : 0;
}

static int make_a_process(void)
{
	return (int)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) < 0 ? errno : 0;
}

static int execute_memory(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
			       MAP_FAILED
		       ? errno
		       : 0;
}

static int push_a_key(void) // into the terminal that it was started from
{
	return ioctl(STDIN_FILENO, TIOCSTI, "x") ? errno : 0;
}

static int use_memory(void)
{
	for (size_t n = 1; n < 64 << 20; n *= 3) {
		char *p = malloc(n);
		if (!p || !(p = realloc(p, 2 * n)))
			return ENOMEM;
		memset(p, 1, 2 * n);
		free(p);
	}
	return 0;
}

static int use_pipes(void)
{
	int fd[2];
	char b;

	// made before: see confined()
	fd[0] = STDIN_FILENO;
	fd[1] = STDOUT_FILENO;
	return write(fd[1], "x", 1) == 1 && read(fd[0], &b, 1) == 1 ? 0 : errno;
}

static int tell_the_time(void)
{
	const time_t t = 1767323045;
	struct tm tm;

	return gmtime_r(&t, &tm) && timegm(&tm) == t ? 0 : EINVAL;
}

// ---- the process

enum { KILLED = 1000 };

// What WHAT says in a confined process; KILLED: it was its last call.
static int confined(enum confine_calls calls, int (*what)(void))
{
	const struct confine_path paths[] = {{inside, CONFINE_CHANGE},
					     {"/sys", CONFINE_LOOK},
					     {"/nowhere/at/all", CONFINE_CHANGE}};
	size_t n = calls == CONFINE_FILES ? 3 : 0;
	int fd[2], status;
	struct fault f;

	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		if (pipe(fd) || dup2(fd[0], STDIN_FILENO) < 0 || dup2(fd[1], STDOUT_FILENO) < 0)
			_exit(254);
		_exit(confine(CONFINE_MUST, calls, paths, n, &f) ? 255 : what());
	}
	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS ? KILLED
	       : WIFEXITED(status)                               ? WEXITSTATUS(status)
								 : -1;
}

static void of_files(void)
{
	static const struct {
		const char *name;
		int (*what)(void);
		int want;
	} tries[] = {
		{"make a file inside", make_inside, 0},
		{"rename one there into another directory", rename_inside, 0},
		{"look at what may be looked at", look_at, 0},
		{"memory", use_memory, 0},
		{"what is open", use_pipes, 0},
		{"make a file outside", make_outside, EACCES},
		{"read one outside", read_outside, EACCES},
		{"write what may be looked at", change_what_is_looked_at, EACCES},
		{"rename to the outside", rename_outside, EACCES},
		{"memory to be executed", execute_memory, ENOSYS},
		{"a key into the terminal", push_a_key, ENOSYS},
		{"start a program", start_a_program, KILLED},
		{"a socket", make_a_socket, KILLED},
		{"ptrace", look_into_another, KILLED},
		{"fork", make_a_process, KILLED},
	};

	for (size_t i = 0; i < sizeof(tries) / sizeof(*tries); i++) {
		int got = confined(CONFINE_FILES, tries[i].what);
		ok(got == tries[i].want, "files: %s: %d, %d is right", tries[i].name, got,
		   tries[i].want);
	}
}

static void of_a_filter(void)
{
	ok(confined(CONFINE_FILTER, use_memory) == 0, "filter: memory");
	ok(confined(CONFINE_FILTER, use_pipes) == 0, "filter: what is open");
	ok(confined(CONFINE_FILTER, tell_the_time) == 0, "filter: times");
	ok(confined(CONFINE_FILTER, make_inside) == KILLED, "filter: to make a file kills");
	ok(confined(CONFINE_FILTER, read_outside) == KILLED, "filter: to open one kills");
	ok(confined(CONFINE_FILTER, start_a_program) == KILLED, "filter: a program kills");
	ok(confined(CONFINE_FILTER, make_a_socket) == KILLED, "filter: a socket kills");
	ok(confined(CONFINE_FILTER, execute_memory) == KILLED, "filter: memory to execute kills");
}

static void words(void)
{
	enum confine_when w;

	ok(!confine_when("try", &w) && w == CONFINE_TRY, "try");
	ok(!confine_when("no", &w) && w == CONFINE_NO, "no");
	ok(!confine_when("must", &w) && w == CONFINE_MUST, "must");
	ok(confine_when("maybe", &w) == -1, "maybe is no word");
}

int main(void)
{
	char command[128];

	if (!mkdtemp(inside) || !mkdtemp(outside))
		return 3;
	words();
	if (confined(CONFINE_FILES, use_pipes) == 255) {
		printf("# this kernel, or this build, cannot confine all\n");
	} else {
		of_files();
		of_a_filter();
	}
	snprintf(command, sizeof(command), "rm -r %s %s", inside, outside);
	return system(command) ? 3 : done();
}
