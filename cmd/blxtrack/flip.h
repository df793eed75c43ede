// SPDX-License-Identifier: BSD-2-Clause
// The flip (DESIGN: "The tracker"): all devices change to the other bitmap at one instant, and what
// the old ones hold becomes deltas. And the proof that the bitmaps hold every write. Under the
// state lock.
#ifndef BLX_FLIP_H
#define BLX_FLIP_H

#include "delta.h"
#include "kernel.h"
#include "state.h"

// Flip all N devices at one instant. WANTED and STAMPS are parallel to ALL. On return each that had
// changes, and each wanted one in any case, has a delta of its next epoch; stamps[i] is that of a
// wanted one, and undefined for others. A wanted device that has grown is tracked at its new size;
// one that is not what it was (identify_again) fails the flip before anything is flipped. The state
// of each is saved.
int flip(const struct kernel *k, struct tracked *all, size_t n, const bool *wanted,
	 struct stamp *stamps, struct fault *f);

// What the bitmaps of both parities hold becomes deltas, and stays there: for who hands over to
// other programs, which mark already what is marked from now on.
int flip_copy(const struct kernel *k, struct tracked *t, struct fault *f);

// Drop the deltas that every consumer has acked; merge neighbours where there are many.
int flip_tidy(const struct tracked *t, struct fault *f);

// Is the device still the one that was started, and did the programs see every write to it? Called
// after a flip it covers everything up to that flip. What does not fit is tracked_lose(): -1 with
// BLX_RESYNC; growth is left to the next flip.
int prove(const struct kernel *k, struct tracked *t, struct fault *f);

// CLOCK_BOOTTIME. A task may be preempted between two steps for as long as SETTLE_S.
int64_t boot_seconds(void);
enum { SETTLE_S = 2 };

// Bounds at the start of tracking, with the slot active.
int prove_begin(const struct kernel *k, struct tracked *t, struct fault *f);
// Of the programs of one way, just loaded.
int prove_host_begin(const struct kernel *k, enum way way, struct host *h, struct fault *f);

// Is it the same device? Its size now in *new_size, at least what it was. Else tracked_lose().
int identify_again(struct tracked *t, uint64_t *new_size, struct fault *f);

// It has grown and been flipped: remember what it lies on now.
int identity_grown(struct tracked *t, struct fault *f);

// What a loop or dm device lies on; "" for others.
int backing_of(const struct blkdev *d, char *buf, size_t n, struct fault *f);

#endif
