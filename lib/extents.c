// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdlib.h>

#include "extents.h"

int extents_add(struct extents *s, struct extent e, size_t max)
{
	if (s->n >= max) {
		errno = E2BIG;
		return -1;
	}
	if (s->n == s->room) {
		size_t room = s->room ? 2 * s->room : 64;
		struct extent *more = realloc(s->e, room * sizeof(*more));
		if (!more)
			return -1;
		s->e = more;
		s->room = room;
	}
	s->e[s->n++] = e;
	return 0;
}

void extents_free(struct extents *s)
{
	free(s->e);
	*s = (struct extents){0};
}

uint64_t extents_bytes(const struct extents *s)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->n; i++)
		sum += s->e[i].length;
	return sum;
}
