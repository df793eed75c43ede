// SPDX-License-Identifier: BSD-2-Clause
// A pair whose source is being written.
#include "blxsum.h"
#include "die.h"

int live(const struct options *o)
{
	die(BLX_USAGE, "%s: --live: not there yet", o->path);
}
