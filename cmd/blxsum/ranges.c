// SPDX-License-Identifier: BSD-2-Clause
// Which part is looked at: all of it, an extent list, a hand-written one, or what blxused(1)
// prints.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blxsum.h"
#include "child.h"
#include "die.h"

struct ranges {
	const char *from; // for words
	uint64_t size;
	uint32_t block;
	struct extent now, ahead; // widened; length 0: none

	int fd;                      // -1: none
	pid_t pid;                   // 0: none
	struct extlist_reader *list; // NULL: plain
	struct extent *plain;
	size_t n, at;
};

static void end_program(struct ranges *r)
{
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
	int code = r->pid ? child_wait(r->pid) : 0;
	if (code)
		die(code < 0 || code > BLX_BUSY ? BLX_SYSTEM : (enum blx_exit)code, "%s failed",
		    r->from);
	r->pid = 0;
}

// A program that printed no whole list has said why.
static _Noreturn void fail(struct ranges *r, const struct fault *f)
{
	end_program(r);
	die(f->code, "%s: %s", r->from, f->text);
}

// The next as it was listed. False: no more.
static bool listed(struct ranges *r, struct extent *e)
{
	const struct head *more;
	struct fault f;

	if (!r->list) {
		if (r->at < r->n)
			*e = r->plain[r->at];
		return r->at++ < r->n;
	}
	int got = extlist_next(r->list, e, &f);
	if (!got && extlist_head(r->list, &more, &f))
		fault_set(&f, BLX_CORRUPT, "more than one list"), got = -1;
	if (got < 0)
		fail(r, &f);
	if (got && e->offset + e->length > r->size)
		die(BLX_TARGET, "%s: extent %llu %llu goes beyond the end at %llu", r->from,
		    (unsigned long long)e->offset, (unsigned long long)e->length,
		    (unsigned long long)r->size);
	return got;
}

static void look_ahead(struct ranges *r)
{
	uint64_t mask = (uint64_t)r->block - 1, end;
	struct extent e;

	r->ahead.length = 0;
	if (!listed(r, &e))
		return;
	end = (e.offset + e.length + mask) & ~mask;
	r->ahead.offset = e.offset & ~mask;
	r->ahead.length = (end < r->size ? end : r->size) - r->ahead.offset;
}

bool ranges_peek(struct ranges *r, uint64_t *offset)
{
	if (!r->now.length) {
		r->now = r->ahead;
		while (r->ahead.length && r->ahead.offset <= r->now.offset + r->now.length) {
			r->now.length = r->ahead.offset + r->ahead.length - r->now.offset;
			look_ahead(r);
		}
	}
	*offset = r->now.offset;
	return r->now.length;
}

bool ranges_next(struct ranges *r, uint64_t upto, struct extent *e)
{
	if (!ranges_peek(r, &e->offset) || e->offset >= upto)
		return false;
	e->length = upto - e->offset < r->now.length ? upto - e->offset : r->now.length;
	r->now.offset += e->length;
	r->now.length -= e->length;
	return true;
}

// ---- where they come from

static void open_list(struct ranges *r)
{
	const struct head *h;
	struct fault f;

	r->list = extlist_reader_new(r->fd);
	if (!r->list)
		die_errno("%s", r->from);
	if (extlist_head(r->list, &h, &f) < 0)
		fail(r, &f);
}

static void open_file(struct ranges *r)
{
	static const char ours[] = "# blx-extents ";
	char begin[sizeof(ours) - 1];
	struct fault f;

	r->fd = open(r->from, O_RDONLY | O_CLOEXEC);
	ssize_t got = r->fd < 0 ? -1 : pread(r->fd, begin, sizeof(begin), 0);
	if (got < 0)
		die_errno("%s", r->from);
	if ((size_t)got == sizeof(begin) && !memcmp(begin, ours, sizeof(begin)))
		open_list(r);
	else if (extlist_plain(r->fd, r->size, &r->plain, &r->n, &f))
		fail(r, &f);
}

static void open_whole(struct ranges *r)
{
	r->plain = malloc(sizeof(*r->plain));
	if (!r->plain)
		die_errno("ranges");
	*r->plain = (struct extent){0, r->size};
	r->n = 1;
}

struct ranges *ranges_open(const struct options *o, uint64_t size, uint32_t block)
{
	char *const blxused[] = {"blxused", (char *)o->path, NULL};
	struct ranges *r = calloc(1, sizeof(*r));
	struct fault f;

	if (!r)
		die_errno("ranges");
	*r = (struct ranges){.from = o->only, .size = size, .block = block, .fd = -1};
	if (o->only) {
		open_file(r);
	} else if (o->used) {
		r->from = "blxused";
		if (child_pipe(blxused, &r->fd, &r->pid, &f))
			die_fault(&f);
		open_list(r);
	} else {
		open_whole(r);
	}
	look_ahead(r);
	return r;
}

void ranges_close(struct ranges *r)
{
	end_program(r);
	extlist_reader_free(r->list);
	free(r->plain);
	free(r);
}
