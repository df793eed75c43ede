// SPDX-License-Identifier: BSD-2-Clause
// Giving up root.
#ifndef BLX_USER_H
#define BLX_USER_H

#include "fault.h"

// Become USER[:GROUP], names or numbers, with USER's groups, for good. 0, or -1 with the fault:
// BLX_USAGE for somebody who is not there.
int user_become(const char *user, struct fault *f);

#endif
