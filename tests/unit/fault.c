// SPDX-License-Identifier: BSD-2-Clause
// lib/fault: one line, whatever comes.
#include <errno.h>
#include <string.h>

#include "fault.h"
#include "tap.h"

int main(void)
{
	struct fault f;
	char large[1000];

	ok(fault_set(&f, BLX_TARGET, "%s: %d", "x", 7) == -1 && f.code == BLX_TARGET &&
		   !strcmp(f.text, "x: 7"),
	   "code and words are kept");
	fault_set(&f, BLX_CORRUPT, "a\nb\033[1mc\x7f");
	ok(!strcmp(f.text, "a?b?[1mc?"), "control characters do not reach a terminal");
	memset(large, 'x', sizeof(large) - 1);
	large[sizeof(large) - 1] = 0;
	fault_set(&f, BLX_CORRUPT, "%s", large);
	ok(strlen(f.text) == sizeof(f.text) - 1, "words too long are cut");
	errno = ENOSPC;
	ok(fault_errno(&f, "write at %d", 5) == -1 && f.code == BLX_SYSTEM &&
		   !strcmp(f.text, "write at 5: No space left on device"),
	   "an errno becomes words");
	ok(errno == ENOSPC, "errno is kept");
	fault_errno(&f, "%s", large);
	ok(strlen(f.text) == sizeof(f.text) - 1, "too long with an errno: cut");
	return done();
}
