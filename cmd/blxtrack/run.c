// SPDX-License-Identifier: BSD-2-Clause
// blxtrack run: the whole pipeline under one lock with one exit code.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "die.h"
#include "lists.h"
#include "offspring.h"
#include "scratch.h"

struct run {
	struct options o;
	char **devs, **cmd;
	size_t n;
	struct awaited *awaited;
	struct lists lists;
	struct scratch scratch; // where CMD finds them
	pid_t child, writer;    // 0: none
	int status;             // of the child
	bool unwritten;         // the list, as far as it goes
};

static void usage(FILE *to)
{
	fputs("usage: blxtrack run [-c CONSUMER] [--max SIZE] [--timeout SECONDS] DEV... -- "
	      "CMD...\n"
	      "  -c, --consumer NAME     whose changes (default: default)\n"
	      "      --max SIZE          as for drain\n"
	      "      --timeout SECONDS   give up when no ack came for so long\n"
	      "  -h, --help              this text\n"
	      "CMD finds the lists in the directory $BLX_LISTS, that of a single device on "
	      "standard "
	      "input, too,\nand prints acks on its standard output, e.g.\n"
	      "  blxtrack run /dev/sda -- sh -c 'blxread | blxpack | ssh backup blxapply --ack "
	      "/srv/sda.img'\n"
	      "  blxtrack run /dev/sda /dev/sdb -- \\\n"
	      "    sh -c 'blxread \"$BLX_LISTS\"/* | blxpack | ssh backup blxapply --ack --into "
	      "/srv'\n",
	      to);
}

// ---- being stopped: the handler closes the end that nobody reads from, which whoever waits sees

static volatile sig_atomic_t stopped; // by this signal
static int stop_pipe[2];

static void on_signal(int sig)
{
	if (stopped)
		return;
	stopped = sig;
	close(stop_pipe[0]);
}

// HANDLER for the signals that stop us, but for those that our parent has us ignore.
static void handle_signals(void (*handler)(int))
{
	static const int signals[] = {SIGHUP, SIGINT, SIGTERM};
	struct sigaction act = {.sa_handler = handler, .sa_flags = SA_RESTART}, old;

	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		if (!sigaction(signals[i], NULL, &old) && old.sa_handler != SIG_IGN)
			sigaction(signals[i], &act, NULL);
}

// ---- before

// One run per device and consumer; the lock dies with the process.
static void lock_run(const struct tracked *t, const char *dev, const char *consumer)
{
	char name[128];

	snprintf(name, sizeof(name), "run.%s", consumer);
	int fd = openat(t->dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		die_errno("%s: %s", dev, name);
	if (!flock(fd, LOCK_EX | LOCK_NB))
		return;
	if (errno != EWOULDBLOCK)
		die_errno("%s: lock %s", dev, name);
	die(BLX_BUSY, "%s: another run for consumer %s is not done yet", dev, consumer);
}

static void prepare(struct run *r)
{
	struct consumer c;
	struct session s;
	struct fault f;

	if (session_open(&s, r->devs, r->n, &f))
		die_fault(&f);
	for (size_t i = 0; i < s.nwant; i++) {
		if (consumer_load(s.want[i], r->o.consumer, &c, &f))
			die_fault(&f);
		lock_run(s.want[i], s.names[i], r->o.consumer);
	}
	r->n = s.nwant;
	r->awaited = awaited_new(&s);
	if (!r->awaited)
		die_errno("run");
	if (lists_prepare(&r->lists, &s, &r->o, &f) || scratch_make(&r->scratch, &f))
		die_fault(&f);
	for (size_t i = 0; i < r->n; i++)
		r->awaited[i].epoch = r->lists.each[i].head.epoch;
	session_close(&s);
}

// ---- the command

static pid_t spawn(const struct run *r, int in, int out)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		die_errno("fork");
	if (pid)
		return pid;
	handle_signals(SIG_DFL);
	// a run that is killed takes its command along; what that started sees its pipes end
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) || getppid() != parent)
		_exit(BLX_SYSTEM);
	if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
	    setenv("BLX_LISTS", r->scratch.path, 1)) {
		warn("%s: redirect: %s", r->cmd[0], strerror(errno));
		_exit(BLX_SYSTEM);
	}
	signal(SIGPIPE, SIG_DFL);
	execvp(r->cmd[0], r->cmd);
	int code = errno == ENOENT ? 127 : 126;
	warn("%s: %s", r->cmd[0], strerror(errno));
	_exit(code);
}

// Print the list from a process of its own, so that acks are read meanwhile.
static pid_t print_list(struct changes *ch, int to, int acks)
{
	struct fault f;
	pid_t pid = fork();

	if (pid < 0)
		die_errno("fork");
	if (pid)
		return pid;
	close(acks);
	close(stop_pipe[0]);
	handle_signals(SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	FILE *out = fdopen(to, "w");
	if (!out)
		_exit(BLX_SYSTEM);
	// the receiver's own words say why it stopped reading
	if (changes_print(ch, out, &f) || fclose(out))
		_exit(errno == EPIPE ? BLX_OK : BLX_SYSTEM);
	_exit(BLX_OK);
}

// A single list goes through a pipe, of any length in constant memory; several are files.
static void start(struct run *r, int *acks)
{
	int list[2], back[2];
	struct fault f;
	bool single = r->n == 1;

	if (pipe2(back, O_CLOEXEC) || (single && pipe2(list, O_CLOEXEC)))
		die_errno("pipe");
	if (!single)
		list[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (single ? scratch_link_stdin(&r->scratch, r->lists.each[0].head.label, &f)
		   : lists_write_at(&r->lists, r->scratch.fd, r->scratch.path, &f)) {
		scratch_remove(&r->scratch);
		die_fault(&f);
	}
	if (stopped)
		return;
	if (offspring_adopt())
		die_errno("PR_SET_CHILD_SUBREAPER");
	r->child = spawn(r, list[0], back[1]);
	close(list[0]);
	close(back[1]);
	if (single) {
		r->writer = print_list(&r->lists.each[0], list[1], back[0]);
		close(list[1]);
	}
	*acks = back[0];
}

// Wait for a child. False: a signal said stop before.
static bool wait_for(pid_t pid, int *status)
{
	struct pollfd p[2] = {{.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN},
			      {.fd = stop_pipe[1]}};

	while (p[0].fd >= 0 && !stopped && poll(p, 2, -1) < 0 && errno == EINTR)
		;
	if (p[0].fd >= 0)
		close(p[0].fd);
	return !stopped && waitpid(pid, status, 0) == pid;
}

// After it nothing of ours is left but the verdict.
static void finish(struct run *r, bool end)
{
	int written = 0;

	if (end || (r->child && !wait_for(r->child, &r->status)) ||
	    (r->writer && !wait_for(r->writer, &written)))
		offspring_end(r->child, &r->status);
	else if (written)
		r->unwritten = true;
	scratch_remove(&r->scratch);
	lists_close(&r->lists);
	if (stopped) {
		signal(stopped, SIG_DFL);
		raise(stopped);
	}
}

static int judge(const struct run *r, const struct verdict *v)
{
	const char *dev = r->n == 1 ? r->awaited[0].dev : "", *colon = r->n == 1 ? ": " : "";

	if (r->unwritten && !v->code)
		die(BLX_SYSTEM, "%s%sthe list could not be written whole", dev, colon);
	if (WIFSIGNALED(r->status) && !v->told)
		warn("%s%s%s was killed by signal %d", dev, colon, r->cmd[0], WTERMSIG(r->status));
	else if (r->status && !v->told)
		warn("%s%s%s exited with status %d", dev, colon, r->cmd[0], WEXITSTATUS(r->status));
	int code = verdict_report(v, r->awaited, r->n, r->o.consumer);
	return code ? code : r->status ? BLX_SYSTEM : BLX_OK;
}

// DEV... -- CMD...
static void split(struct run *r, int argc, char **argv)
{
	int i = optind;

	while (i < argc && strcmp(argv[i], "--"))
		i++;
	if (i == optind || i + 1 >= argc)
		usage_error("run: DEV... -- CMD...");
	r->devs = argv + optind;
	r->n = (size_t)(i - optind);
	r->cmd = argv + i + 1;
}

int cmd_run(int argc, char **argv)
{
	struct run r = {.o = parse_options(argc, argv, "+cmt", usage)};
	struct verdict v = {0};
	int acks = -1;

	split(&r, argc, argv);
	if (pipe2(stop_pipe, O_CLOEXEC))
		die_errno("pipe");
	handle_signals(on_signal);
	prepare(&r);
	start(&r, &acks);
	if (r.child)
		commit_acks(r.awaited, r.n, r.o.consumer, acks, stop_pipe[1], r.o.timeout, &v);
	close(acks);
	finish(&r, v.gave_up);
	int code = judge(&r, &v);
	awaited_free(r.awaited, r.n);
	return code;
}
