// SPDX-License-Identifier: BSD-2-Clause
// lib/rate: never faster than told. (How much slower depends on the machine, so only the lower
// bound is tested.)
#include <time.h>

#include "rate.h"
#include "tap.h"

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int main(void)
{
	struct rate r;

	rate_init(&r, 1000000);
	int64_t begun = now_ms();
	for (int i = 0; i < 50; i++)
		rate_spend(&r, 10000);
	int64_t took = now_ms() - begun;
	ok(took >= 395,
	   "500 kB at 1 MB/s take at least 0.4 s (a tenth of a second is credit): %lld ms",
	   (long long)took);
	rate_init(&r, 0);
	for (int i = 0; i < 1000; i++)
		rate_spend(&r, UINT64_MAX);
	ok(r.per_second == 0, "without a limit nothing waits");
	return done();
}
