// SPDX-License-Identifier: BSD-2-Clause
// A limit on bytes per second, smooth: never ahead by more than a tenth of a second's worth.
#ifndef BLX_RATE_H
#define BLX_RATE_H

#include <stdint.h>

struct rate {
	uint64_t per_second; // 0: no limit
	int64_t due_ns;      // CLOCK_MONOTONIC when what was spent so far is paid for
};

void rate_init(struct rate *r, uint64_t per_second);
// Sleep until N more bytes may go.
void rate_spend(struct rate *r, uint64_t n);
// The same for who must not sleep: N bytes went; how many nanoseconds until more may.
int64_t rate_charge(struct rate *r, uint64_t n);

#endif
