// SPDX-License-Identifier: BSD-2-Clause
// What blxtrack(8) says, to programs that do not look into the kernel, of a device that it tracks:
// the record that it keeps in a tmpfs, gone with the kernel whose bitmaps it belongs to.
#ifndef BLX_TRACKED_H
#define BLX_TRACKED_H

#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "token.h"

// Is the device tracked on this machine, under which lineage, and up to which epoch were its
// changes cut? Whatever is written from now on belongs to a later epoch, if the history is *whole:
// neither lost nor still being begun. 1: yes; 0: no, or this user may not know; -1: the record is
// damaged or cannot be read.
int tracked_look(uint32_t major, uint32_t minor, struct token *lineage, uint64_t *epoch,
		 bool *whole, struct fault *f);

#endif
