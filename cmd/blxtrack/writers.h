// SPDX-License-Identifier: BSD-2-Clause
// Who could write to a device without claiming it: a process that has it open to write, or mapped;
// a loop device on it.
#ifndef BLX_WRITERS_H
#define BLX_WRITERS_H

#include "blkdev.h"
#include "fault.h"

// BLX_BUSY: who. Looks at all processes that /proc shows, this one excepted.
int writers_check(const struct blkdev *d, struct fault *f);

#endif
