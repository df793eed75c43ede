// SPDX-License-Identifier: BSD-2-Clause
// blxtrack run: the whole pipeline under one lock with one exit code.
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blxtrack.h"
#include "die.h"
#include "num.h"

struct options {
	const char *consumer;
	uint64_t max, timeout;
};

static void usage(FILE *to)
{
	fputs("usage: blxtrack run [-c CONSUMER] [--max SIZE] [--timeout SECONDS] DEV -- CMD...\n"
	      "  -c, --consumer NAME     whose changes (default: default)\n"
	      "      --max SIZE          as for drain\n"
	      "      --timeout SECONDS   give up when no ack came for so long\n"
	      "  -h, --help              this text\n"
	      "CMD gets the list on its standard input and prints acks on its standard output, "
	      "e.g.\n"
	      "  blxtrack run /dev/sda -- sh -c 'blxread | blxpack | ssh backup blxapply --ack "
	      "/srv/sda.img'\n",
	      to);
}

static struct options parse_options(int argc, char **argv)
{
	static const struct option longs[] = {{"consumer", required_argument, NULL, 'c'},
					      {"max", required_argument, NULL, 'm'},
					      {"timeout", required_argument, NULL, 't'},
					      {"help", no_argument, NULL, 'h'},
					      {0}};
	struct options o = {.consumer = DEFAULT_CONSUMER};
	int c;

	while ((c = getopt_long(argc, argv, "+c:h", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			o.consumer = optarg;
			break;
		case 'm':
			if (num_size(optarg, &o.max) || !o.max)
				usage_error("--max %s: not a size", optarg);
			break;
		case 't':
			if (num_seconds(optarg, &o.timeout) || !o.timeout)
				usage_error("--timeout %s: not a number of seconds", optarg);
			break;
		case 'h':
			usage(stdout);
			close_stdout();
			exit(BLX_OK);
		default:
			usage_error(NULL);
		}
	}
	int rest = argc - optind;
	if (rest < 2 || (rest == 2 && !strcmp(argv[optind + 1], "--")))
		usage_error("run: DEV -- CMD...");
	return o;
}

// One run per device and consumer; the lock dies with the process.
static void lock_run(const char *dev, const char *consumer)
{
	struct session s;
	struct fault f;
	struct consumer c;
	char name[128];

	if (session_open(&s, (char *[]){(char *)dev}, 1, &f) ||
	    consumer_load(s.want[0], consumer, &c, &f))
		die_fault(&f);
	snprintf(name, sizeof(name), "run.%s", consumer);
	int fd = openat(s.want[0]->dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		die_errno("%s: %s", dev, name);
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK)
			die_errno("%s: lock %s", dev, name);
		die(BLX_BUSY, "%s: another run for consumer %s is not done yet", dev, consumer);
	}
	session_close(&s);
}

static pid_t spawn(char **argv, int in, int out)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		die_errno("fork");
	if (pid)
		return pid;
	// a run that is killed takes its command along; what that started sees its pipes end
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) || getppid() != parent)
		_exit(BLX_SYSTEM);
	if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
		die_errno("%s: redirect", argv[0]);
	signal(SIGPIPE, SIG_DFL);
	execvp(argv[0], argv);
	int code = errno == ENOENT ? 127 : 126;
	warn("%s: %s", argv[0], strerror(errno));
	_exit(code);
}

// Print the list from a process of its own, so that acks are read meanwhile.
static pid_t print_list(struct changes *ch, int to, int close_fd)
{
	struct fault f;
	pid_t pid = fork();

	if (pid < 0)
		die_errno("fork");
	if (pid)
		return pid;
	close(close_fd);
	signal(SIGPIPE, SIG_IGN);
	FILE *out = fdopen(to, "w");
	if (!out)
		die_errno("list");
	// the receiver's own words say why it stopped reading
	if (changes_print(ch, out, &f) || fclose(out))
		_exit(errno == EPIPE ? BLX_OK : BLX_SYSTEM);
	_exit(BLX_OK);
}

// Its exit status, or minus the signal that killed it.
static int status_of(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			die_errno("wait");
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int judge(const struct verdict *v, int status, const char *dev, const char *cmd)
{
	if (status && !v->told) {
		if (status < 0)
			warn("%s: %s was killed by signal %d", dev, cmd, -status);
		else
			warn("%s: %s exited with status %d", dev, cmd, status);
	}
	int code = verdict_report(v, dev);
	return code ? code : status ? BLX_SYSTEM : BLX_OK;
}

int cmd_run(int argc, char **argv)
{
	const struct options o = parse_options(argc, argv);
	const char *dev = argv[optind];
	char **cmd = argv + optind + 1;
	int list[2], acks[2];
	struct changes ch;
	struct verdict v;
	struct fault f;

	if (!strcmp(cmd[0], "--"))
		cmd++;
	lock_run(dev, o.consumer);
	if (drain_prepare(dev, o.consumer, o.max, &ch, &f))
		die_fault(&f);
	if (pipe2(list, O_CLOEXEC) || pipe2(acks, O_CLOEXEC))
		die_errno("pipe");
	pid_t child = spawn(cmd, list[0], acks[1]);
	close(list[0]);
	close(acks[1]);
	pid_t writer = print_list(&ch, list[1], acks[0]);
	close(list[1]);
	commit_acks(dev, o.consumer, acks[0], ch.head.epoch, o.timeout, &v);
	close(acks[0]);
	changes_close(&ch);
	if (v.code && o.timeout) {
		kill(child, SIGTERM);
		kill(writer, SIGTERM);
	}
	int status = status_of(child);
	if (status_of(writer) && !v.code)
		die(BLX_SYSTEM, "%s: the list could not be written whole", dev);
	return judge(&v, status, dev, cmd[0]);
}
