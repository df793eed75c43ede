// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net.h"
#include "offspring.h"
#include "pump.h"

enum { LINGER_MS = 10000, STATUS_MAX = BLX_BUSY };
enum { SOCKET, IN, OUT, COMMAND, PARTIES };

// ---- how it ends

static void judge_command(struct pump *p)
{
	bool killed = WIFSIGNALED(p->status);

	p->end.how = killed ? WIRE_KILLED : WIRE_EXITED;
	p->end.status = (uint16_t)(killed ? WTERMSIG(p->status) : WEXITSTATUS(p->status));
}

// The exit code for an end, with words: THERE, at the other side, or here.
static enum blx_exit judge_end(const struct wire_end *e, bool there, struct fault *f)
{
	const char *whose = there ? "the command there: " : "";
	enum blx_exit code = BLX_SYSTEM;

	switch (e->how) {
	case WIRE_DONE:
		code = BLX_OK;
		break;
	case WIRE_EXITED:
		code = e->status <= STATUS_MAX ? (enum blx_exit)e->status : BLX_SYSTEM;
		if (e->status)
			fault_set(f, code, "%sexit %u", whose, e->status);
		break;
	case WIRE_KILLED:
		fault_set(f, code, "%skilled by signal %u", whose, e->status);
		break;
	case WIRE_FULL:
		code = BLX_BUSY;
		fault_set(f, code, "busy: all connections there are in use");
		break;
	case WIRE_PEER_BUSY:
		code = BLX_BUSY;
		fault_set(f, code, "busy: it serves another connection of ours already");
		break;
	case WIRE_NO_START:
		fault_set(f, code, "%sit could not be started", whose);
		break;
	case WIRE_FAILED:
		fault_set(f, code,
			  "the other side failed: it could not read its input or write its output");
		break;
	}
	return code;
}

// ppoll(2) lets a signal through only if nothing else is ready, which it may always be.
static void hear_signals(const struct session *s)
{
	sigset_t held;

	if (!s->stop)
		return;
	sigprocmask(SIG_SETMASK, &s->waiting, &held);
	sigprocmask(SIG_SETMASK, &held, NULL);
}

static bool stopped(const struct session *s)
{
	return s->stop && *s->stop;
}

static void reap_command(struct pump *p)
{
	pid_t got = waitpid(p->s->command, &p->status, WNOHANG);

	if (!got || (got < 0 && errno == EINTR))
		return;
	if (got < 0)
		p->status = W_EXITCODE(BLX_SYSTEM, 0); // nobody knows
	p->exited = true;
	judge_command(p);
}

// Our own input or output failed. That is no cut of the wire: say so, if it is not in the middle of
// a message.
static void say_failed(struct pump *p)
{
	const struct wire_end failed = {.how = WIRE_FAILED, .status = BLX_SYSTEM};

	if (!p->ours || p->to_n || p->end_sent || p->broken.code || p->f->code != BLX_SYSTEM)
		return;
	pump_say_end(p, &failed);
	net_drain(p->s->socket);
}

// The connection is of no use any more. What was not whole must not look so to the command; if its
// input had ended, it may finish, but nobody hears of it.
static enum blx_exit cut(struct pump *p)
{
	const struct session *s = p->s;

	if (!s->serves)
		say_failed(p);
	if (!s->serves || (p->exited && s->in < 0))
		return p->f->code;
	// which may have come together with the cut
	if (p->ours && p->wire.eof && !p->from_n && !p->n) {
		p->peer_eof = true;
		if (s->out >= 0)
			pump_close_out(p);
	}
	while (p->peer_eof && !stopped(s) && (s->in >= 0 || !p->exited)) {
		struct pollfd all[] = {{.fd = s->in, .events = POLLIN},
				       {.fd = p->exited ? -1 : p->pidfd, .events = POLLIN}};
		if (ppoll(all, 2, NULL, &s->waiting) < 0)
			continue;
		if (all[0].revents)
			pump_discard(p);
		if (all[1].revents)
			reap_command(p);
	}
	if (!p->peer_eof || stopped(s))
		offspring_end(s->command, &p->status);
	return p->f->code;
}

// The command's side. Has it ended? Then with *code.
static bool command_ended(struct pump *p, enum blx_exit *code)
{
	if (!p->ours && p->exited && p->status && p->s->in < 0 && !p->to_n) {
		*code = judge_end(&p->end, false, p->f); // and no close_notify
		return true;
	}
	if (!p->closed)
		return false;
	if (p->peer_closed) {
		*code = judge_end(&p->end, false, p->f);
		return true;
	}
	// one of ours does when who reads there has it all; others may never say it
	if (p->ours || net_now_ms() - p->closed_ms < LINGER_MS)
		return false;
	fault_set(p->f, BLX_CORRUPT, "cut: the other side did not confirm its end");
	*code = BLX_CORRUPT;
	return true;
}

static bool ended(struct pump *p, enum blx_exit *code)
{
	if (p->s->serves)
		return command_ended(p, code);
	if (!p->peer_closed || p->n || p->from_n)
		return false;
	if (p->ours) {
		*code = judge_end(&p->wire.end, true, p->f);
		return p->closed || p->broken.code;
	}
	*code = BLX_OK;
	return p->closed;
}

// ---- waiting

static void earlier(int64_t *end, int64_t ms)
{
	if (*end < 0 || ms < *end)
		*end = ms;
}

// Milliseconds that may be waited. -1: for ever.
static int patience(const struct pump *p, int64_t now)
{
	const struct session *s = p->s;
	int64_t end = -1;

	if (!p->dry && !p->peer_closed && !p->n)
		return 0;
	if (s->timeout_ms)
		earlier(&end, p->moved_ms + s->timeout_ms);
	if (s->silence_ms)
		earlier(&end, p->ask_ms);
	if (s->in >= 0 && p->send_ms > now)
		earlier(&end, p->send_ms);
	if (p->closed && s->serves && !p->ours)
		earlier(&end, p->closed_ms + LINGER_MS);
	if (end < 0)
		return -1;
	return end <= now ? 0 : end - now < INT_MAX ? (int)(end - now) + 1 : INT_MAX;
}

static void choose(const struct pump *p, int64_t now, struct pollfd all[PARTIES])
{
	const struct session *s = p->s;
	bool room = !p->to_n && p->send_ms <= now && !p->broken.code && !p->wire.ended;

	// a command that has to wait with its words would not read on
	room |= p->broken.code && s->serves;

	all[SOCKET] = (struct pollfd){.fd = p->hung_up ? -1 : s->socket, .events = p->wanted};
	if (!p->n && !p->peer_closed)
		all[SOCKET].events |= POLLIN;
	all[IN] = (struct pollfd){.fd = room ? s->in : -1, .events = POLLIN};
	all[OUT] = (struct pollfd){.fd = p->unread ? -1 : s->out, .events = p->n ? POLLOUT : 0};
	all[COMMAND] = (struct pollfd){.fd = p->exited ? -1 : p->pidfd, .events = POLLIN};
}

static bool is_unanswered(struct pump *p)
{
	const struct session *s = p->s;
	int64_t now = net_now_ms();

	if (!s->silence_ms || now < p->ask_ms)
		return false;
	p->ask_ms = now + s->silence_ms / 4;
	return net_unanswered(s->socket, s->silence_ms);
}

static int wait_all(struct pump *p, struct pollfd all[PARTIES])
{
	const struct session *s = p->s;
	int64_t now = net_now_ms();
	int ms = patience(p, now);
	struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

	choose(p, now, all);
	hear_signals(s);
	if (ppoll(all, PARTIES, ms < 0 ? NULL : &t, s->stop ? &s->waiting : NULL) < 0) {
		if (errno != EINTR)
			return fault_errno(p->f, "poll");
		memset(all, 0, PARTIES * sizeof(*all));
	}
	if (stopped(s))
		return fault_set(p->f, BLX_SYSTEM, "stopped by signal %d", (int)*s->stop);
	if (is_unanswered(p))
		return fault_set(p->f, BLX_CORRUPT,
				 "cut: the other host does not answer (--keepalive)");
	if (s->timeout_ms && net_now_ms() - p->moved_ms >= s->timeout_ms)
		return fault_set(p->f, BLX_CORRUPT, "cut: nothing went either way for %lld s",
				 (long long)(s->timeout_ms / 1000));
	return 0;
}

static int look(struct pump *p, const struct pollfd all[PARTIES])
{
	const short gone = POLLERR | POLLHUP | POLLNVAL;

	if (all[SOCKET].revents & (POLLIN | gone))
		p->dry = false;
	p->hung_up |= all[SOCKET].revents & gone;
	if (all[COMMAND].revents)
		reap_command(p);
	// who has all that it wants may leave; writing more will tell
	if (all[OUT].revents & gone) {
		p->unread = true;
		if (p->s->serves)
			pump_close_out(p);
	}
	if (all[IN].revents && p->broken.code)
		pump_discard(p);
	else if (all[IN].revents)
		return pump_read(p);
	return 0;
}

static enum blx_exit run(struct pump *p)
{
	struct pollfd all[PARTIES];
	enum blx_exit code;

	for (;;) {
		if (pump_take(p) || pump_end(p))
			return cut(p);
		pump_send(p);
		if (ended(p, &code))
			return code;
		if (p->hung_up && p->peer_closed && !p->ours && !p->closed && !p->broken.code)
			fault_set(&p->broken, BLX_CORRUPT,
				  "cut: the other side went before our input had ended");
		if (p->broken.code && (p->peer_closed || p->dry)) {
			*p->f = p->broken;
			return cut(p);
		}
		if (wait_all(p, all) || look(p, all))
			return cut(p);
	}
}

// A pipe of ours alone: what others do with it must not change because we do not wait in write(2).
static void unblock_out(struct pump *p)
{
	struct stat st, in;

	if (p->s->out < 0 || fstat(p->s->out, &st))
		return;
	p->out_sock = S_ISSOCK(st.st_mode);
	p->one_sock = p->out_sock && !fstat(p->s->in, &in) && in.st_dev == st.st_dev &&
		      in.st_ino == st.st_ino;
	if (!S_ISFIFO(st.st_mode) || p->s->serves)
		return;
	char path[32];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", p->s->out);
	int own = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (own < 0)
		return; // then a reader that is slow keeps the other direction waiting
	dup3(own, p->s->out, O_CLOEXEC);
	close(own);
}

enum blx_exit session_run(struct session *s, struct fault *f)
{
	struct pump p = {.s = s, .f = f, .ours = tls_is_ours(s->tls), .pidfd = -1};
	enum blx_exit code = BLX_SYSTEM;

	p.to = malloc(WIRE_MAX);
	p.from = malloc(PUMP_FROM);
	p.moved_ms = net_now_ms();
	if (s->command)
		p.pidfd = (int)syscall(SYS_pidfd_open, s->command, 0);
	if (s->serves && !s->command) {
		s->in = s->out = -1;
		p.exited = true;
		p.status = W_EXITCODE(BLX_SYSTEM, 0);
		p.end.how = WIRE_NO_START;
	}
	if (!p.to || !p.from || (s->command && p.pidfd < 0)) {
		fault_errno(f, "session");
		cut(&p);
	} else {
		unblock_out(&p);
		code = run(&p);
	}
	if (p.pidfd >= 0)
		close(p.pidfd);
	free(p.to);
	free(p.from);
	return code;
}
