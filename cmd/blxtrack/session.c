// SPDX-License-Identifier: BSD-2-Clause
#include <string.h>
#include <unistd.h>

#include "blxtrack.h"

static const struct kernel nothing = {.devices = -1, .bitmaps = -1, .sums = -1, .runs = -1};

static int find_want(struct session *s, const char *dev, struct fault *f)
{
	struct tracked t;

	if (tracked_find(&t, dev, f))
		return -1;
	tracked_close(&t);
	for (size_t i = 0; i < s->n; i++)
		if (s->all[i].dev.major == t.dev.major && s->all[i].dev.minor == t.dev.minor)
			s->want = &s->all[i];
	return 0;
}

static int open_kernel(struct session *s, struct fault *f)
{
	if (!kernel_open(&s->k, f))
		return 0;
	if (!s->want)
		return -1;
	char why[sizeof(f->text)];
	memcpy(why, f->text, sizeof(why));
	return tracked_lose(s->want, f, "the kernel side is gone (%s)", why);
}

int session_open(struct session *s, const char *dev, struct fault *f)
{
	*s = (struct session){.k = nothing};
	s->lock = state_lock(LOCK_WAIT_S, f);
	if (s->lock < 0)
		return -1;
	if (tracked_all(&s->all, &s->n, f) || (dev && find_want(s, dev, f)) ||
	    ((dev || s->n) && open_kernel(s, f))) {
		session_close(s);
		return -1;
	}
	return 0;
}

void session_close(struct session *s)
{
	kernel_close(&s->k);
	tracked_all_free(s->all, s->n);
	if (s->lock >= 0)
		close(s->lock);
	*s = (struct session){.lock = -1, .k = nothing};
}
