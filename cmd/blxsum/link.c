// SPDX-License-Identifier: BSD-2-Clause
// One poll for both directions. A pipe that can be written takes PIPE_BUF bytes without blocking,
// so that no flags need be set on descriptors that others may share.
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "die.h"
#include "link.h"

enum {
	PULSE_MS = 1000,
	LAST_WORDS_MS = 2000,
	BACKLOG = 1 << 20, // bytes to be written, above which a server takes no more requests
};

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int link_open(struct link *l, int in, int out, bool server, int timeout_ms, struct fault *f)
{
	*l = (struct link){.in = in, .out = out, .timeout_ms = timeout_ms};
	if (treemsg_parser_init(&l->parser, server, f))
		return -1;
	l->heard_ms = l->said_ms = now_ms();
	l->pend_room = TREEMSG_MAGIC;
	l->pending = malloc(l->pend_room);
	if (!l->pending) {
		treemsg_parser_free(&l->parser);
		return fault_errno(f, "connection");
	}
	memcpy(l->pending, treemsg_magic, TREEMSG_MAGIC);
	l->pend = TREEMSG_MAGIC;
	return 0;
}

void link_close(struct link *l)
{
	treemsg_parser_free(&l->parser);
	free(l->buf);
	free(l->pending);
	l->buf = l->pending = NULL;
}

static int cut(struct link *l, struct fault *f)
{
	l->cut = true;
	return fault_set(f, BLX_CORRUPT, "the connection was cut");
}

// ---- out

static int make_room(struct link *l, size_t n, struct fault *f)
{
	if (l->written) {
		memmove(l->pending, l->pending + l->written, l->pend - l->written);
		l->pend -= l->written;
		l->written = 0;
	}
	if (l->pend + n <= l->pend_room)
		return 0;
	uint8_t *more = realloc(l->pending, l->pend + n);
	if (!more)
		return fault_errno(f, "connection");
	l->pending = more;
	l->pend_room = l->pend + n;
	return 0;
}

int link_say(struct link *l, const struct treemsg *m, struct fault *f)
{
	if (make_room(l, TREEMSG_HEADER + m->n, f))
		return -1;
	treemsg_header(&l->parser, m, l->pending + l->pend);
	if (m->n)
		memcpy(l->pending + l->pend + TREEMSG_HEADER, m->payload, m->n);
	l->pend += TREEMSG_HEADER + m->n;
	l->said_ms = now_ms();
	return 0;
}

static int write_some(struct link *l, struct fault *f)
{
	size_t n = l->pend - l->written;
	ssize_t w = write(l->out, l->pending + l->written, n < PIPE_BUF ? n : PIPE_BUF);

	if (w >= 0)
		l->written += (size_t)w;
	else if (errno == EPIPE || errno == ECONNRESET)
		return cut(l, f);
	else if (errno != EINTR && errno != EAGAIN)
		return fault_errno(f, "connection: write");
	return 0;
}

// ---- in

// There is room for the largest message.
static int read_some(struct link *l, struct fault *f)
{
	size_t want = treemsg_max(&l->parser) + TREEMSG_MAGIC;

	if (l->room < want) {
		uint8_t *more = realloc(l->buf, want);
		if (!more)
			return fault_errno(f, "connection");
		l->buf = more;
		l->room = want;
	}
	if (l->at) {
		memmove(l->buf, l->buf + l->at, l->have - l->at);
		l->have -= l->at;
		l->at = 0;
	}
	ssize_t n = read(l->in, l->buf + l->have, l->room - l->have);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n < 0 && errno != ECONNRESET)
		return fault_errno(f, "connection: read");
	if (n <= 0)
		return cut(l, f);
	l->have += (size_t)n;
	l->heard_ms = now_ms();
	return 0;
}

static int far_failed(struct link *l, const struct treemsg *m, struct fault *f)
{
	l->told = true;
	return fault_set(f, (enum blx_exit)m->level, "the far end: %.*s", (int)m->n,
			 (const char *)m->payload);
}

// 1: a message that is for the caller; 0: none yet; -1.
static int parse(struct link *l, struct treemsg *m, struct fault *f)
{
	int got = 0;

	while (l->at < l->have) {
		size_t used;
		got = treemsg_parse(&l->parser, l->buf + l->at, l->have - l->at, &used, m, f);
		l->at += used;
		if (got <= 0 || m->type != TREEMSG_PULSE)
			break;
		got = 0;
	}
	return got > 0 && m->type == TREEMSG_FAIL ? far_failed(l, m, f) : got;
}

// ---- both

static int pulse(struct link *l, struct fault *f)
{
	if (now_ms() - l->said_ms < PULSE_MS || l->pend > l->written ||
	    (l->moving && !l->moving(l->arg)))
		return 0;
	return link_say(l, &(struct treemsg){.type = TREEMSG_PULSE}, f);
}

static int silence(const struct link *l, struct fault *f)
{
	if (l->timeout_ms < 0 || now_ms() - l->heard_ms < l->timeout_ms)
		return 0;
	return fault_set(f, BLX_SYSTEM, "not a word from the far end within %d s",
			 l->timeout_ms / 1000);
}

static bool raised(int wake)
{
	uint64_t count;

	return read(wake, &count, sizeof(count)) == sizeof(count);
}

// Wait until something can be done, and do it. 1: WAKE was raised; 0; -1.
static int step(struct link *l, int wake, struct fault *f)
{
	bool more = l->pend > l->written;
	bool full = l->parser.server && l->pend - l->written > BACKLOG;
	struct pollfd p[3] = {{.fd = full ? -1 : l->in, .events = POLLIN},
			      {.fd = more ? l->out : -1, .events = POLLOUT},
			      {.fd = wake, .events = POLLIN}};

	if (poll(p, 3, PULSE_MS) < 0 && errno != EINTR)
		return fault_errno(f, "poll");
	// What came before the far end went says why it did.
	if (p[0].revents && read_some(l, f))
		return -1;
	if (!p[0].revents && p[1].revents && write_some(l, f))
		return -1;
	if (pulse(l, f) || (!p[0].revents && !full && silence(l, f)))
		return -1;
	return p[2].revents && raised(wake);
}

int link_next(struct link *l, int wake, struct treemsg *m, struct fault *f)
{
	for (;;) {
		int got = parse(l, m, f);
		if (got)
			return got;
		got = step(l, wake, f);
		if (got)
			return got < 0 ? -1 : 0;
	}
}

int link_flush(struct link *l, struct fault *f)
{
	while (l->pend > l->written)
		if (write_some(l, f))
			return -1;
	return 0;
}

void link_fail(struct link *l, const struct fault *f)
{
	struct fault ignored;
	struct treemsg m = {.type = TREEMSG_FAIL,
			    .level = (uint8_t)f->code,
			    .n = (uint32_t)strlen(f->text),
			    .payload = (const uint8_t *)f->text};
	int64_t end = now_ms() + LAST_WORDS_MS;
	struct pollfd p = {.fd = l->out, .events = POLLOUT};

	if (!l->told && !l->cut && !link_say(l, &m, &ignored))
		while (l->pend > l->written && now_ms() < end)
			if (poll(&p, 1, 100) < 0 || (p.revents && write_some(l, &ignored)))
				break;
	// One of the two says it to people, the one that they started.
	if (l->parser.server && !l->cut && (l->told || l->pend == l->written))
		exit(f->code);
	die_fault(f);
}
