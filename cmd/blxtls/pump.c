// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net.h"
#include "pump.h"

enum { RATE_STEPS = 20, DISCARD_MAX = 1 << 20 };

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

void pump_close_in(struct pump *p)
{
	close(p->s->in);
	p->s->in = -1;
}

void pump_discard(struct pump *p)
{
	char sink[65536];
	ssize_t n = read(p->s->in, sink, sizeof(sink));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n > 0)
		p->discarded += (size_t)n;
	if (n <= 0 || p->discarded > DISCARD_MAX)
		pump_close_in(p);
}

int pump_read(struct pump *p)
{
	uint8_t *data = p->to + (p->ours ? WIRE_HEADER : 0);
	ssize_t n = read(p->s->in, data, read_size(p));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n < 0)
		return fault_errno(p->f, "%s: read",
				   p->s->serves ? "from the command" : "standard input");
	if (!n) {
		pump_close_in(p);
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

int pump_close_out(struct pump *p)
{
	int bad;

	if (p->one_sock)
		shutdown(p->s->out, SHUT_WR);
	bad = close(p->s->out);
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
		pump_close_out(p);
}

void pump_send(struct pump *p)
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

void pump_say_end(struct pump *p, const struct wire_end *end)
{
	wire_put_end(p->to, end);
	queue(p, WIRE_END_BYTES);
	p->end_sent = true;
	send_some(p);
	if (!p->to_n && !p->broken.code)
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
		pump_close_out(p);
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

	// what came before it has been taken
	if (p->unreadable.code) {
		*p->f = p->unreadable;
		return -1;
	}
	p->from_at = 0;
	while (n > 0 && p->from_n < PUMP_FROM) {
		n = tls_read(p->s->tls, p->from + p->from_n, PUMP_FROM - p->from_n, p->f);
		if (n > 0)
			p->from_n += (size_t)n;
	}
	p->dry = n == TLS_AGAIN;
	p->peer_closed = !n;
	if (p->from_n)
		p->moved_ms = net_now_ms();
	if (n >= 0 || p->dry)
		return 0;
	p->unreadable = *p->f;
	return p->from_n ? 0 : -1;
}

int pump_take(struct pump *p)
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

int pump_end(struct pump *p)
{
	if (p->from_n || p->n)
		return 0;
	p->peer_eof = p->ours ? p->wire.eof || (p->wire.ended && !p->s->serves) : p->peer_closed;
	// it cannot have written what it has not got, and reads no more
	if (p->wire.ended && p->wire.end.how == WIRE_DONE && !p->eof_sent)
		return fault_set(p->f, BLX_CORRUPT,
				 "cut: the other side said an end before that of our data");
	if (p->s->serves && p->wire.ended && (!p->wire.eof || p->wire.end.how == WIRE_FAILED))
		return fault_set(
			p->f, BLX_CORRUPT,
			p->wire.end.how == WIRE_FAILED
				? "cut: the other side failed"
				: "cut: the other side said an end before that of its data");
	// whom a command's end has been told need not say one
	if (p->ours && p->peer_closed && !p->wire.ended && !(p->s->serves && p->end_sent))
		return fault_set(p->f, BLX_CORRUPT, "cut: the other side went without an end");
	return p->peer_eof && p->s->out >= 0 ? pump_close_out(p) : 0;
}
