// SPDX-License-Identifier: BSD-2-Clause
// Extent lists, ours and plain: whatever comes, no extent leaves the reader that breaks the rules
// of blx-extents(5).
#include <stdlib.h>

#include "extlist.h"
#include "fuzz.h"

static void ours(int fd)
{
	struct extlist_reader *r = extlist_reader_new(fd);
	const struct head *h;
	struct extent e;
	struct fault f;
	int n;

	while ((n = extlist_head(r, &h, &f)) > 0) {
		uint64_t end = 0, count = 0;
		while ((n = extlist_next(r, &e, &f)) > 0) {
			fuzz_check(e.length && e.offset + e.length > e.offset &&
				   e.offset + e.length <= h->limit);
			fuzz_check(h->limit <= h->size && (!count++ || e.offset > end));
			end = e.offset + e.length;
		}
		if (n < 0)
			break;
	}
	fuzz_check(n == 0 || f.code == BLX_CORRUPT);
	extlist_reader_free(r);
}

static void plain(int fd)
{
	struct extent *e;
	struct fault f;
	size_t n;

	if (extlist_plain(fd, 1 << 20, &e, &n, &f)) {
		fuzz_check(f.code == BLX_CORRUPT || f.code == BLX_TARGET);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		fuzz_check(e[i].length && e[i].offset + e[i].length <= 1 << 20);
		fuzz_check(!i || e[i].offset > e[i - 1].offset + e[i - 1].length);
	}
	fuzz_check(n > 0);
	free(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = fuzz_fd(data, size);

	ours(fd);
	fuzz_rewind(fd);
	plain(fd);
	return 0;
}
