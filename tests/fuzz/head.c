// SPDX-License-Identifier: BSD-2-Clause
// Headers: what is taken passes head_check, and its canonical text is taken again and stays the
// same.
#include <string.h>

#include "fuzz.h"
#include "head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct head h, again;
	struct fault f;
	size_t n, m;

	head_init(&h);
	if (head_parse(&h, (const char *)data, size, &f)) {
		fuzz_check(f.code == BLX_CORRUPT && f.text[0] && !strchr(f.text, '\n'));
		head_free(&h);
		return 0;
	}
	char *text = head_format(&h, &n);
	head_init(&again);
	fuzz_check(text && head_parse(&again, text, n, &f) == 0);
	char *same = head_format(&again, &m);
	fuzz_check(same && n == m && !memcmp(text, same, n));
	fuzz_check(h.anonymous == again.anonymous && h.chain_len == again.chain_len &&
		   h.limit == again.limit);
	free(text);
	free(same);
	head_free(&h);
	head_free(&again);
	return 0;
}
