// SPDX-License-Identifier: BSD-2-Clause
// Records that an older version of blxtrack wrote, of a layout that can be taken over, become such
// as this one writes. Each is replaced by rename, those of this version are left alone: whoever was
// killed begins again. Only `upgrade` reads what is older.
#ifndef BLX_OLDER_H
#define BLX_OLDER_H

#include "fault.h"

// All in the state directory. -1: BLX_RESYNC if one is damaged.
int older_convert(struct fault *f);

#endif
