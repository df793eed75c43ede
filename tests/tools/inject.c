// SPDX-License-Identifier: BSD-2-Clause
// Run a command and let one of its system calls fail, or be the last: that of number N, counted
// over all threads of the process; what it forks is left alone.
//
// usage: inject [-a] [-e CALL,...] [-o REPORT] -n N -f FAULT -- COMMAND...
//   -n N      which call; 0: only count
//   -f FAULT  kill: SIGKILL instead of the call; after: SIGKILL when it is done; short: it gets
//   half
//             of the bytes (writes only, others are not counted); an error's name (ENOSPC): it
//             fails
//   -a        count every call (default: those that may change something outside of the process)
//   -e CALLS  count only these
//   -o FILE   write there one line: `struck N NAME`, or `passed TOTAL` if there are not so many
// Exits as the command does, 128 and the signal's number if it was killed; 125 if it could not be
// run.
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __x86_64__
#error "only the registers of x86-64 are known here"
#endif

enum { TRACER_FAILED = 125, THREADS_MAX = 64 };
enum fault { KILL, AFTER, SHORT, ERROR };

struct call {
	long nr;
	const char *name;
	bool write; // its third argument is a length
};

// Those that may change something outside of the process.
static const struct call calls[] = {
#define C(name)                                                                                    \
	{                                                                                          \
		SYS_##name, #name, false                                                           \
	}
	{SYS_write, "write", true},
	{SYS_pwrite64, "pwrite64", true},
	C(writev),
	C(pwritev),
	C(pwritev2),
	C(sendfile),
	C(splice),
	C(vmsplice),
	C(copy_file_range),
	C(fsync),
	C(fdatasync),
	C(syncfs),
	C(sync_file_range),
	C(open),
	C(openat),
	C(openat2),
	C(creat),
	C(rename),
	C(renameat),
	C(renameat2),
	C(link),
	C(linkat),
	C(symlinkat),
	C(unlink),
	C(unlinkat),
	C(mkdir),
	C(mkdirat),
	C(mknodat),
	C(rmdir),
	C(truncate),
	C(ftruncate),
	C(fallocate),
	C(fchmod),
	C(fchmodat),
	C(fchown),
	C(fchownat),
	C(utimensat),
	C(fsetxattr),
	C(ioctl),
	C(mount),
	C(umount2),
	C(move_mount),
	C(bpf),
	C(kill),
	C(io_uring_enter),
	C(exit_group),
#undef C
};
enum { NCALLS = sizeof(calls) / sizeof(*calls) };

static const struct {
	const char *name;
	int value;
} errors[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO},       {"EINTR", EINTR}, {"EDQUOT", EDQUOT},
	      {"EPERM", EPERM},   {"ENOMEM", ENOMEM}, {"EROFS", EROFS}, {"EAGAIN", EAGAIN}};

struct options {
	unsigned long n;
	enum fault fault;
	int error;
	bool all;
	const char *only, *report;
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "inject: %s: %s\n", what, strerror(errno));
	exit(TRACER_FAILED);
}

static const struct call *call_of(long nr)
{
	for (size_t i = 0; i < NCALLS; i++)
		if (calls[i].nr == nr)
			return &calls[i];
	return NULL;
}

static bool listed(const char *list, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = list; p; p = (p = strchr(p, ',')) ? p + 1 : NULL)
		if (!strncmp(p, name, n) && (p[n] == ',' || !p[n]))
			return true;
	return false;
}

// An open counts where it may make or cut a file.
static bool changes(const struct call *c, const struct user_regs_struct *r)
{
	const unsigned long making = O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY);

	if (c->nr == SYS_openat)
		return r->rdx & making;
	return c->nr != SYS_open || r->rsi & making;
}

static bool counts(const struct options *o, const struct user_regs_struct *r)
{
	const struct call *c = call_of((long)r->orig_rax);

	if (o->fault == SHORT && (!c || !c->write || r->rdx < 2))
		return false;
	if (o->only)
		return c && listed(o->only, c->name);
	return o->all || (c && changes(c, r));
}

struct thread {
	pid_t tid;
	bool struck;       // it is in the call
	unsigned long len; // what a short write was given
};

struct run {
	const struct options *o;
	pid_t pid;
	struct thread threads[THREADS_MAX];
	unsigned long counted;
	bool struck;
};

static struct thread *thread_of(struct run *r, pid_t tid)
{
	for (size_t i = 0; i < THREADS_MAX; i++) {
		if (r->threads[i].tid == tid)
			return &r->threads[i];
		if (!r->threads[i].tid) {
			r->threads[i].tid = tid;
			return &r->threads[i];
		}
	}
	errno = EAGAIN;
	die("threads");
}

static void report(const struct run *r, long nr)
{
	const struct call *c = call_of(nr);
	FILE *to = r->o->report ? fopen(r->o->report, "w") : NULL;

	if (!to)
		return;
	if (r->struck)
		fprintf(to, "struck %lu %s", r->counted, c ? c->name : "");
	if (r->struck && !c)
		fprintf(to, "%ld", nr);
	if (!r->struck)
		fprintf(to, "passed %lu", r->counted);
	fputc('\n', to);
	fclose(to);
}

static void at_entry(struct run *r, struct thread *t, struct user_regs_struct *regs)
{
	const struct options *o = r->o;

	if (r->struck || !counts(o, regs) || ++r->counted != o->n)
		return;
	r->struck = t->struck = true;
	report(r, (long)regs->orig_rax);
	switch (o->fault) {
	case SHORT:
		t->len = regs->rdx;
		regs->rdx /= 2;
		break;
	case AFTER:
		return;
	case KILL:
		kill(r->pid, SIGKILL);
		// fallthrough
	case ERROR:
		regs->orig_rax = (unsigned long)-1;
	}
	ptrace(PTRACE_SETREGS, t->tid, NULL, regs); // fails only where it has been killed
}

static void at_exit(struct run *r, struct thread *t, struct user_regs_struct *regs)
{
	if (!t->struck)
		return;
	t->struck = false;
	switch (r->o->fault) {
	case SHORT:
		regs->rdx = t->len;
		break;
	case ERROR:
		regs->rax = (unsigned long)-(long)r->o->error;
		break;
	default:
		kill(r->pid, SIGKILL);
		return;
	}
	ptrace(PTRACE_SETREGS, t->tid, NULL, regs);
}

static void at_syscall(struct run *r, pid_t tid)
{
	struct __ptrace_syscall_info info;
	struct user_regs_struct regs;

	// either fails only where it has been killed
	if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) <= 0 ||
	    ptrace(PTRACE_GETREGS, tid, NULL, &regs))
		return;
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
		at_entry(r, thread_of(r, tid), &regs);
	else
		at_exit(r, thread_of(r, tid), &regs);
}

// What the command exits with, as a shell says it.
static int trace(struct run *r)
{
	const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |
			     PTRACE_O_EXITKILL;
	int status;

	if (waitpid(r->pid, &status, 0) < 0 || !WIFSTOPPED(status) ||
	    ptrace(PTRACE_SETOPTIONS, r->pid, NULL, options) ||
	    ptrace(PTRACE_SYSCALL, r->pid, NULL, 0))
		die("trace");
	for (;;) {
		pid_t tid = waitpid(-1, &status, __WALL);
		int sig = 0;
		if (tid < 0)
			die("wait");
		if (tid == r->pid && WIFEXITED(status))
			return WEXITSTATUS(status);
		if (tid == r->pid && WIFSIGNALED(status))
			return 128 + WTERMSIG(status);
		if (!WIFSTOPPED(status)) {
			thread_of(r, tid)->tid = -1;
			continue;
		}
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			at_syscall(r, tid);
		else if (status >> 16 == 0 && WSTOPSIG(status) != SIGSTOP)
			sig = WSTOPSIG(status);
		ptrace(PTRACE_SYSCALL, tid, NULL, sig);
	}
}

static void parse_fault(struct options *o, const char *word)
{
	static const char *const names[] = {"kill", "after", "short"};

	for (int i = KILL; i <= SHORT; i++) {
		if (!strcmp(word, names[i])) {
			o->fault = (enum fault)i;
			return;
		}
	}
	o->fault = ERROR;
	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++)
		if (!strcmp(word, errors[i].name))
			o->error = errors[i].value;
	if (!o->error) {
		errno = EINVAL;
		die(word);
	}
}

int main(int argc, char **argv)
{
	struct options o = {.n = 0};
	int c;

	while ((c = getopt(argc, argv, "+ae:f:n:o:")) != -1) {
		switch (c) {
		case 'a':
			o.all = true;
			break;
		case 'e':
			o.only = optarg;
			break;
		case 'f':
			parse_fault(&o, optarg);
			break;
		case 'n':
			o.n = strtoul(optarg, NULL, 10);
			break;
		case 'o':
			o.report = optarg;
			break;
		default:
			return TRACER_FAILED;
		}
	}
	if (optind == argc) {
		errno = EINVAL;
		die("command");
	}
	struct run r = {.o = &o, .pid = fork()};
	if (r.pid < 0)
		die("fork");
	if (!r.pid) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) || raise(SIGSTOP))
			die("trace");
		execvp(argv[optind], argv + optind);
		die(argv[optind]);
	}
	int code = trace(&r);
	if (!r.struck)
		report(&r, 0);
	return code;
}
