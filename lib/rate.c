// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <time.h>

#include "rate.h"

enum { SECOND = 1000000000, CREDIT = SECOND / 10 };

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * SECOND + t.tv_nsec;
}

void rate_init(struct rate *r, uint64_t per_second)
{
	r->per_second = per_second;
	r->due_ns = now_ns();
}

int64_t rate_charge(struct rate *r, uint64_t n)
{
	if (!r->per_second)
		return 0;
	int64_t now = now_ns();
	if (r->due_ns < now - CREDIT)
		r->due_ns = now - CREDIT;
	r->due_ns += (int64_t)((unsigned __int128)n * SECOND / r->per_second);
	return r->due_ns > now ? r->due_ns - now : 0;
}

void rate_spend(struct rate *r, uint64_t n)
{
	if (!rate_charge(r, n))
		return;
	struct timespec until = {r->due_ns / SECOND, r->due_ns % SECOND};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}
