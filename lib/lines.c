// SPDX-License-Identifier: BSD-2-Clause
// A buffer that lines are cut out of in place.
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io.h"
#include "lines.h"

enum { BUFFER = 65536 };

struct lines {
	int fd, out; // out: -1 if not watched
	uint64_t number;
	size_t at, end; // what of buf is not yet handed out
	char buf[BUFFER];
};

struct lines *lines_new(int fd)
{
	struct lines *l = malloc(sizeof(*l));

	if (l) {
		l->fd = fd;
		l->out = -1;
		l->number = 0;
		l->at = l->end = 0;
	}
	return l;
}

void lines_free(struct lines *l)
{
	free(l);
}

void lines_watch(struct lines *l, int out)
{
	l->out = out;
}

uint64_t lines_number(const struct lines *l)
{
	return l->number;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int too_late(int timeout_ms, struct fault *f)
{
	bool seconds = timeout_ms && timeout_ms % 1000 == 0;

	return fault_set(f, BLX_SYSTEM, "no line came within %d %s",
			 seconds ? timeout_ms / 1000 : timeout_ms, seconds ? "s" : "ms");
}

// Read some more behind what there is. 1; 0 at end of input; -1.
static int fill(struct lines *l, int64_t until, int timeout_ms, struct fault *f)
{
	if (l->at) {
		memmove(l->buf, l->buf + l->at, l->end - l->at);
		l->end -= l->at;
		l->at = 0;
	}
	if (timeout_ms >= 0 || l->out >= 0) {
		int64_t left = until - now_ms();
		int n = io_wait_input(l->fd, l->out,
				      timeout_ms < 0 ? -1
				      : left > 0     ? (int)left
						     : 0);
		if (n < 0)
			return fault_errno(f,
					   errno == EPIPE ? "standard output" : "wait for input");
		if (n == 0)
			return too_late(timeout_ms, f);
	}
	ssize_t r;
	do
		r = read(l->fd, l->buf + l->end, BUFFER - l->end);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return fault_errno(f, "read after line %llu", (unsigned long long)l->number);
	l->end += (size_t)r;
	return r > 0;
}

int lines_next(struct lines *l, char **line, int timeout_ms, struct fault *f)
{
	int64_t until = timeout_ms < 0 ? 0 : now_ms() + timeout_ms;
	unsigned long long number = l->number + 1;
	char *nl;

	while (!(nl = memchr(l->buf + l->at, '\n', l->end - l->at))) {
		if (l->end - l->at > LINE_MAX_BYTES)
			break;
		int n = fill(l, until, timeout_ms, f);
		if (n < 0)
			return -1;
		if (n == 0 && l->at == l->end)
			return 0;
		if (n == 0)
			return fault_set(f, BLX_CORRUPT,
					 "line %llu: cut: no newline at its end: %.*s", number,
					 (int)(l->end - l->at < 80 ? l->end - l->at : 80),
					 l->buf + l->at);
	}
	*line = l->buf + l->at;
	if (!nl || nl - *line > LINE_MAX_BYTES)
		return fault_set(f, BLX_CORRUPT, "line %llu: longer than %d bytes", number,
				 LINE_MAX_BYTES);
	if (memchr(*line, 0, (size_t)(nl - *line)))
		return fault_set(f, BLX_CORRUPT, "line %llu: a NUL byte", number);
	*nl = 0;
	l->at = (size_t)(nl - l->buf) + 1;
	l->number++;
	return 1;
}
