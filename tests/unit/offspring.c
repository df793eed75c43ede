// SPDX-License-Identifier: BSD-2-Clause
// lib/offspring: all are told to end, those too that are forked meanwhile.
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "offspring.h"
#include "tap.h"

enum { CHILDREN = 400, ROUNDS = 5, LATE_MS = 500 };

static struct shared {
	atomic_int forked, told, late, cleaned;
} * shared;

static void sleep_ms(int ms)
{
	nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

static void on_term(int sig)
{
	(void)sig;
	shared->told++;
	_exit(0);
}

// One that is not told though another one was.
static _Noreturn void child(void)
{
	while (!shared->told)
		sleep_ms(1);
	sleep_ms(LATE_MS);
	shared->late++;
	_exit(0);
}

static _Noreturn void fork_on(void)
{
	signal(SIGTERM, on_term);
	for (int i = 0; i < CHILDREN; i++) {
		if (!fork())
			child();
		shared->forked++;
	}
	for (;;)
		pause();
}

static pid_t start(void (*what)(void))
{
	*shared = (struct shared){0};
	pid_t pid = fork();

	if (!pid)
		what();
	return pid;
}

static void test_forks(void)
{
	int late = 0, early = 0, status = -1;

	for (int i = 0; i < ROUNDS; i++) {
		pid_t pid = start(fork_on);
		while (shared->forked < 20)
			sleep_ms(1);
		offspring_end(pid, &status);
		late += shared->late;
		early += shared->forked < CHILDREN;
	}
	ok(early > 0, "it forks while it is told to end: in %d of %d rounds", early, ROUNDS);
	ok(!late, "of what it forked meanwhile, all was told: %d were not", late);
	ok(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD, "none is left");
}

// ---- what is started because of it is not told: it has come to clean up

static _Noreturn void clean_up(void)
{
	sigset_t term;
	int sig;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	shared->forked = 1;
	sigwait(&term, &sig);
	sigprocmask(SIG_UNBLOCK, &term, NULL);
	pid_t pid = fork();
	if (!pid) {
		sleep_ms(100);
		shared->cleaned = 1;
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	_exit(7);
}

static void test_cleaning(void)
{
	pid_t pid = start(clean_up);
	int status = -1;

	while (!shared->forked)
		sleep_ms(1);
	offspring_end(pid, &status);
	ok(shared->cleaned, "what is started because of it may finish");
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 7,
	   "the status is that of the one asked for");
}

int main(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED || offspring_adopt())
		return 1;
	test_forks();
	test_cleaning();
	return done();
}
