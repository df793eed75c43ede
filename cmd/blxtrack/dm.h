// SPDX-License-Identifier: BSD-2-Clause
// What device-mapper is asked, by its ioctls (linux/dm-ioctl.h).
#ifndef BLX_DM_H
#define BLX_DM_H

#include <linux/dm-ioctl.h>

#include "fault.h"

// The live table of a dm device: target_count of struct dm_target_spec from data_start on, each
// with its parameters behind it. malloc'ed; NULL with the fault.
struct dm_ioctl *dm_table(unsigned int major, unsigned int minor, struct fault *f);

// Returns when every write that was submitted before has landed: suspends the device, which waits
// for them and holds back new ones, and resumes it at once. A file system on it is not frozen.
// Killed in between, a process of its own resumes it. BLX_BUSY: it took longer than TIMEOUT_S, or
// its table is being changed.
int dm_drain(unsigned int major, unsigned int minor, unsigned int timeout_s, struct fault *f);

#endif
