// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net.h"
#include "offspring.h"
#include "session.h"

enum { IN_BUFFER = 4 * WIRE_MAX, LINGER_MS = 10000, RATE_STEPS = 20, STATUS_MAX = BLX_BUSY };
enum { SOCKET, IN, OUT, COMMAND, PARTIES };

// Both directions, one buffer each.
struct pump {
	struct session *s;
	bool ours;     // messages; else the data as it is
	bool out_sock; // OUT is a socket

	uint8_t *to; // to the other end: TO_N bytes at TO_AT
	size_t to_at, to_n;
	bool eof_sent, end_sent, closed; // ..., and our close_notify
	struct wire_end end;             // ours
	short wanted;        // sending waits for this event of the socket; 0: it does not
	int64_t send_ms;     // not before
	struct fault broken; // sending failed: code not 0

	uint8_t *from; // from it, FROM_N bytes at FROM_AT, of which N at DATA are to be written now
	size_t from_at, from_n;
	const uint8_t *data;
	size_t n;
	bool dry;          // tls_read said AGAIN: poll
	bool peer_eof;     // no more data comes
	bool peer_closed;  // its close_notify
	bool fin, hung_up; // the other end's socket is through one way, both ways
	struct wire wire;

	int pidfd, status; // the command's
	bool exited;
	int64_t moved_ms, closed_ms; // when something went; when we closed
	struct fault *f;
};

// ---- to the other end

static void queue(struct pump *p, size_t n)
{
	p->to_at = 0;
	p->to_n = n;
}

static size_t read_size(const struct pump *p)
{
	uint64_t per_second = p->s->rate ? p->s->rate->per_second : 0,
		 step = per_second / RATE_STEPS + 1;

	return per_second && step < WIRE_DATA_MAX ? step : WIRE_DATA_MAX;
}

static void close_in(struct pump *p)
{
	close(p->s->in);
	p->s->in = -1;
}

// IN can be read. 0, or -1.
static int read_in(struct pump *p)
{
	uint8_t *data = p->to + (p->ours ? WIRE_HEADER : 0);
	ssize_t n = read(p->s->in, data, read_size(p));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n < 0)
		return fault_errno(p->f, "%s: read",
				   p->s->serves ? "from the command" : "standard input");
	if (!n) {
		close_in(p);
		return 0;
	}
	if (p->ours)
		wire_put_header(p->to, WIRE_DATA, (uint32_t)n);
	queue(p, (size_t)n + (p->ours ? WIRE_HEADER : 0));
	p->s->sent += (uint64_t)n;
	if (p->s->progress)
		progress_add(p->s->progress, (uint64_t)n);
	if (p->s->rate)
		p->send_ms = net_now_ms() + rate_charge(p->s->rate, (uint64_t)n) / 1000000;
	return 0;
}

// All that we say but data: may it be said now?
static bool may_end(const struct pump *p)
{
	if (p->s->in >= 0 || !p->eof_sent || p->end_sent)
		return false;
	return p->s->serves ? p->exited : p->peer_eof && p->s->out < 0;
}

static void queue_words(struct pump *p)
{
	if (!p->ours) {
		p->eof_sent = p->s->in < 0;
	} else if (p->s->in < 0 && !p->eof_sent) {
		wire_put_header(p->to, WIRE_EOF, 0);
		queue(p, WIRE_HEADER);
		p->eof_sent = true;
	} else if (may_end(p)) {
		wire_put_end(p->to, &p->end);
		queue(p, WIRE_END_BYTES);
		p->end_sent = true;
	}
}

// Has all been said that comes before close_notify? Towards others than blxtls a failure is its
// lack.
static bool may_close(const struct pump *p)
{
	if (p->to_n || p->closed || p->broken.code)
		return false;
	if (p->ours)
		return p->end_sent ||
		       (!p->s->serves && p->wire.ended && p->wire.end.how != WIRE_DONE);
	return p->eof_sent && (!p->s->serves || (p->exited && !p->status));
}

// Sending failed. What the other end said before may still be there to be read, its end above all.
static void break_off(struct pump *p, const struct fault *f)
{
	p->broken = *f;
	p->to_n = 0;
	p->dry = false;
}

static void send_some(struct pump *p)
{
	struct fault f;

	p->wanted = 0;
	while (p->to_n) {
		ssize_t n = tls_write(p->s->tls, p->to + p->to_at, p->to_n, &f);
		if (n == TLS_AGAIN) {
			p->wanted = tls_events(p->s->tls);
			return;
		}
		if (n < 0) {
			break_off(p, &f);
			return;
		}
		p->to_at += (size_t)n;
		p->to_n -= (size_t)n;
		p->moved_ms = net_now_ms();
	}
}

static int close_out(struct pump *p)
{
	int bad = close(p->s->out);

	p->s->out = -1;
	return bad && !p->s->serves ? fault_errno(p->f, "standard output") : 0;
}

static void close_tls(struct pump *p)
{
	struct fault f;
	int r = tls_close(p->s->tls, &f);

	if (r == TLS_AGAIN) {
		p->wanted = tls_events(p->s->tls);
		return;
	}
	if (r)
		break_off(p, &f);
	p->closed = true;
	p->closed_ms = net_now_ms();
	if (p->s->serves && p->s->out >= 0)
		close_out(p);
}

static void send_all(struct pump *p)
{
	if (!p->to_n)
		queue_words(p);
	send_some(p);
	if (!p->to_n && !p->broken.code) {
		queue_words(p);
		send_some(p);
	}
	if (may_close(p))
		close_tls(p);
}

// ---- from the other end

// 0; -1: our own output failed. A command need not read all.
static int write_out(struct pump *p)
{
	struct session *s = p->s;
	ssize_t n = s->out < 0    ? (ssize_t)p->n
		    : p->out_sock ? send(s->out, p->data, p->n, MSG_DONTWAIT | MSG_NOSIGNAL)
				  : write(s->out, p->data, p->n);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0 && s->serves) {
		close_out(p);
		n = (ssize_t)p->n;
	}
	if (n < 0)
		return fault_errno(p->f, "standard output");
	p->data += n;
	p->n -= (size_t)n;
	return 0;
}

// Find what is to be written in what came. 0, or -1.
static int parse(struct pump *p)
{
	size_t used = p->from_n;

	p->data = p->from + p->from_at;
	p->n = used;
	if (p->ours &&
	    wire_take(&p->wire, p->from + p->from_at, p->from_n, &used, &p->data, &p->n, p->f))
		return -1;
	p->from_at += used;
	p->from_n -= used;
	p->s->received += p->n;
	if (p->s->progress)
		progress_add(p->s->progress, p->n);
	return 0;
}

// 0, or -1: cut.
static int receive(struct pump *p)
{
	ssize_t n = 1;

	p->from_at = 0;
	while (n > 0 && p->from_n < IN_BUFFER) {
		n = tls_read(p->s->tls, p->from + p->from_n, IN_BUFFER - p->from_n, p->f);
		if (n > 0)
			p->from_n += (size_t)n;
	}
	p->dry = n == TLS_AGAIN;
	p->peer_closed = !n;
	if (p->from_n)
		p->moved_ms = net_now_ms();
	return n < 0 && n != TLS_AGAIN && !p->from_n ? -1 : 0;
}

// A buffer's worth of what can be taken now; there may be more while DRY is not set. 0, or -1.
static int take_some(struct pump *p)
{
	bool received = false;

	for (;;) {
		if (p->n) {
			size_t before = p->n;
			if (write_out(p))
				return -1;
			if (p->n == before)
				return 0;
		} else if (p->from_n) {
			if (parse(p))
				return -1;
		} else if (received || p->dry || p->peer_closed) {
			return 0;
		} else if (receive(p)) {
			return -1;
		} else {
			received = true;
		}
	}
}

static int end_out(struct pump *p)
{
	if (p->from_n || p->n)
		return 0;
	p->peer_eof = p->ours ? p->wire.eof || p->wire.ended : p->peer_closed;
	// whom a command's end has been told need not say one
	if (p->ours && p->peer_closed && !p->wire.ended && !(p->s->serves && p->closed))
		return fault_set(p->f, BLX_CORRUPT, "cut: the other side went without an end");
	return p->peer_eof && p->s->out >= 0 ? close_out(p) : 0;
}

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
	}
	return code;
}

static bool stopped(const struct session *s)
{
	return s->stop && *s->stop;
}

// The connection is of no use any more. What was not whole must not look so to the command; if its
// input had ended, it may finish, but nobody hears of it.
static enum blx_exit cut(struct pump *p)
{
	const struct session *s = p->s;
	char sink[4096];

	if (!s->serves || p->exited)
		return p->f->code;
	if (!p->peer_eof || stopped(s)) {
		offspring_end(s->command, &p->status);
		return p->f->code;
	}
	while (s->in >= 0 && !stopped(s)) {
		ssize_t n = read(s->in, sink, sizeof(sink));
		if (n < 0 && errno == EAGAIN)
			ppoll(&(struct pollfd){.fd = s->in, .events = POLLIN}, 1, NULL,
			      &s->waiting);
		else if (n <= 0 && errno != EINTR)
			close_in(p);
	}
	if (stopped(s))
		offspring_end(s->command, &p->status);
	else
		while (waitpid(s->command, &p->status, 0) < 0 && errno == EINTR)
			;
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
	if (net_now_ms() - p->closed_ms < LINGER_MS)
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
	// it has all that it wanted, if it went away altogether
	return p->closed || (!p->broken.code && (p->fin || p->hung_up) && !p->to_n);
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
	if (s->in >= 0 && p->send_ms > now)
		earlier(&end, p->send_ms);
	if (p->closed && s->serves)
		earlier(&end, p->closed_ms + LINGER_MS);
	if (end < 0)
		return -1;
	return end <= now ? 0 : end - now < INT_MAX ? (int)(end - now) + 1 : INT_MAX;
}

static void choose(const struct pump *p, int64_t now, struct pollfd all[PARTIES])
{
	const struct session *s = p->s;
	bool room = !p->to_n && p->send_ms <= now && !p->broken.code && !p->wire.ended;

	all[SOCKET] = (struct pollfd){.fd = p->hung_up ? -1 : s->socket, .events = p->wanted};
	if (!p->n && !p->peer_closed)
		all[SOCKET].events |= POLLIN;
	if (!p->ours && p->peer_closed && !p->fin)
		all[SOCKET].events |= POLLRDHUP;
	all[IN] = (struct pollfd){.fd = room ? s->in : -1, .events = POLLIN};
	all[OUT] = (struct pollfd){.fd = s->out, .events = p->n ? POLLOUT : 0};
	all[COMMAND] = (struct pollfd){.fd = p->exited ? -1 : p->pidfd, .events = POLLIN};
}

static int wait_all(struct pump *p, struct pollfd all[PARTIES])
{
	const struct session *s = p->s;
	int64_t now = net_now_ms();
	int ms = patience(p, now);
	struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

	choose(p, now, all);
	if (ppoll(all, PARTIES, ms < 0 ? NULL : &t, s->stop ? &s->waiting : NULL) < 0) {
		if (errno != EINTR)
			return fault_errno(p->f, "poll");
		memset(all, 0, PARTIES * sizeof(*all));
	}
	if (stopped(s))
		return fault_set(p->f, BLX_SYSTEM, "stopped by signal %d", (int)*s->stop);
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
	p->fin |= all[SOCKET].revents & POLLRDHUP;
	p->hung_up |= all[SOCKET].revents & gone;
	if (all[COMMAND].revents && waitpid(p->s->command, &p->status, WNOHANG) == p->s->command) {
		p->exited = true;
		judge_command(p);
	}
	if (all[OUT].revents & gone) {
		errno = EPIPE;
		if (!p->s->serves)
			return fault_errno(p->f, "standard output");
		close_out(p);
	}
	return all[IN].revents ? read_in(p) : 0;
}

static enum blx_exit run(struct pump *p)
{
	struct pollfd all[PARTIES];
	enum blx_exit code;

	for (;;) {
		if (take_some(p) || end_out(p))
			return cut(p);
		send_all(p);
		if (ended(p, &code))
			return code;
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
	struct stat st;

	if (p->s->out < 0 || fstat(p->s->out, &st))
		return;
	p->out_sock = S_ISSOCK(st.st_mode);
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
	p.from = malloc(IN_BUFFER);
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
