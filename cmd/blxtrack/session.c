// SPDX-License-Identifier: BSD-2-Clause
// One use of the tracker's state: its lock, the kernel side, and the devices that were named.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blxtrack.h"
#include "saved.h"

static const struct kernel nothing = {.devices = -1, .bitmaps = -1, .sums = -1, .runs = -1};

static int find_want(struct session *s, const char *dev, struct fault *f)
{
	struct tracked t;
	size_t i = 0;

	if (tracked_find(&t, dev, f))
		return -1;
	while (i < s->n &&
	       (s->all[i].dev.major != t.dev.major || s->all[i].dev.minor != t.dev.minor))
		i++;
	tracked_close(&t);
	if (i == s->n)
		return fault_set(f, BLX_TARGET, "%s: not tracked", dev);
	if (!s->wanted[i]) {
		s->names[s->nwant] = dev;
		s->want[s->nwant++] = &s->all[i];
	}
	s->wanted[i] = true;
	return 0;
}

static int find_all(struct session *s, char *const *devs, size_t n, struct fault *f)
{
	s->wanted = calloc(s->n + 1, sizeof(*s->wanted));
	s->stamps = calloc(s->n + 1, sizeof(*s->stamps));
	s->want = calloc(s->n + 1, sizeof(struct tracked *));
	s->names = calloc(s->n + 1, sizeof(*s->names));
	if (!s->wanted || !s->stamps || !s->want || !s->names)
		return fault_errno(f, "devices");
	for (size_t i = 0; i < n; i++)
		if (find_want(s, devs[i], f))
			return -1;
	return 0;
}

static int open_kernel(struct session *s, struct fault *f)
{
	if (!kernel_open(&s->k, f))
		return 0;
	char why[sizeof(f->text)];
	memcpy(why, f->text, sizeof(why));
	for (size_t i = s->nwant; i-- > 0;) // the fault is the first one's
		tracked_lose(s->want[i], f, "the kernel side is gone (%s)", why);
	return -1;
}

int session_want_all(struct session *s, struct fault *f)
{
	s->nwant = 0;
	for (size_t i = 0; i < s->n; i++) {
		s->wanted[i] = true;
		s->names[s->nwant] = s->all[i].dev.name;
		s->want[s->nwant++] = &s->all[i];
	}
	return s->n ? 0 : fault_set(f, BLX_TARGET, "no device is tracked");
}

int session_open(struct session *s, char *const *devs, size_t n, struct fault *f)
{
	if (session_open_any(s, devs, n, f))
		return -1;
	for (size_t i = 0; i < s->nwant; i++) {
		if (saved_refuse(s->want[i], f)) {
			session_close(s);
			return -1;
		}
	}
	return 0;
}

int session_open_any(struct session *s, char *const *devs, size_t n, struct fault *f)
{
	*s = (struct session){.k = nothing};
	s->lock = state_lock(LOCK_WAIT_S, f);
	if (s->lock < 0)
		return -1;
	if (tracked_all(&s->all, &s->n, f) || find_all(s, devs, n, f) ||
	    (s->n && open_kernel(s, f))) {
		session_close(s);
		return -1;
	}
	return 0;
}

void session_close(struct session *s)
{
	kernel_close(&s->k);
	free(s->wanted);
	free(s->stamps);
	free(s->want);
	free(s->names);
	tracked_all_free(s->all, s->n);
	if (s->lock >= 0)
		close(s->lock);
	*s = (struct session){.lock = -1, .k = nothing};
}

int session_flip(struct session *s, struct fault *f)
{
	if (flip(&s->k, s->all, s->n, s->wanted, s->stamps, f))
		return -1;
	for (size_t i = 0; i < s->nwant; i++)
		if (prove(&s->k, s->want[i], f))
			return -1;
	return 0;
}

const struct stamp *session_stamp(const struct session *s, const struct tracked *t)
{
	return &s->stamps[t - s->all];
}
