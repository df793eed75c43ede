// SPDX-License-Identifier: BSD-2-Clause
// A bio that was queued before the programs looked is never marked: tracking holds from the moment
// on when the last such one has landed.
#ifndef BLX_QUIESCE_H
#define BLX_QUIESCE_H

#include "blkdev.h"
#include "fault.h"

// Returns when every write to a bio-based device that was submitted before the call has landed.
// Device-mapper does not count what waits in its targets (dm-crypt), so that it is suspended for a
// moment; the others count from the beginning. (brd and pmem count none; they write while their
// submitter waits, long before the first sums are taken.) BLX_BUSY: there were some for a minute.
int quiesce(const struct blkdev *d, struct fault *f);

#endif
