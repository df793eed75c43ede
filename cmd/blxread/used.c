// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <unistd.h>

#include "child.h"
#include "used.h"

static int ended(struct used *u, struct fault *f)
{
	int code;

	while ((code = child_wait(u->pid)) < 0)
		if (errno != EINTR)
			return fault_errno(f, "blxused %s", u->name);
	return code ? fault_set(f, code <= BLX_BUSY ? (enum blx_exit)code : BLX_SYSTEM,
				"blxused %s: exit status %d", u->name, code)
		    : 0;
}

static void forget(struct used *u)
{
	extlist_reader_free(u->in);
	close(u->fd);
	u->in = NULL;
}

// Its list is not what it should be: the exit status says more than the place where it was cut.
static int failed(struct used *u, struct fault *f)
{
	struct fault why = *f;

	forget(u);
	return ended(u, f) ? -1 : fault_set(f, why.code, "blxused %s: %s", u->name, why.text);
}

static int next(struct used *u, struct fault *f)
{
	int got = extlist_next(u->in, &u->now, f);

	if (!got)
		u->now.length = 0;
	return got;
}

int used_open(struct used *u, const char *name, uint64_t size, struct fault *f)
{
	char *argv[] = {"blxused", "--", (char *)name, NULL};
	const struct head *h;

	*u = (struct used){.name = name};
	if (child_pipe(argv, &u->fd, &u->pid, f))
		return -1;
	u->in = extlist_reader_new(u->fd);
	if (!u->in) {
		close(u->fd);
		return fault_errno(f, "memory");
	}
	if (extlist_head(u->in, &h, f) < 0 || next(u, f) < 0)
		return failed(u, f);
	if (h->size == size)
		return 0;
	forget(u);
	ended(u, f); // whatever it says of the pipe that is closed
	return fault_set(f, BLX_TARGET, "blxused %s: its list is of another size", name);
}

int used_piece(struct used *u, struct extent e, uint64_t *n, struct fault *f)
{
	*n = e.length;
	while (u->now.length && u->now.offset + u->now.length <= e.offset)
		if (next(u, f) < 0)
			return failed(u, f);
	if (!u->now.length || u->now.offset >= e.offset + e.length)
		return 0;
	if (u->now.offset > e.offset) {
		*n = u->now.offset - e.offset;
		return 0;
	}
	if (u->now.offset + u->now.length < e.offset + e.length)
		*n = u->now.offset + u->now.length - e.offset;
	return 1;
}

int used_close(struct used *u, struct fault *f)
{
	while (u->now.length)
		if (next(u, f) < 0)
			return failed(u, f);
	forget(u);
	return ended(u, f);
}
