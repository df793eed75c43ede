// SPDX-License-Identifier: BSD-2-Clause
// Acks: what is taken is formatted to a line that means the same.
#include <string.h>

#include "ack.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char line[4096], text[ACK_TEXT_MAX], back[ACK_TEXT_MAX];
	struct ack a;
	struct fault f;

	if (size >= sizeof(line))
		return 0;
	memcpy(line, data, size);
	line[size] = 0;
	if (ack_parse(line, &a, &f)) {
		fuzz_check(f.code == BLX_CORRUPT);
		return 0;
	}
	size_t n = ack_format(&a, text);
	fuzz_check(n < ACK_TEXT_MAX && strlen(text) == n && strchr(text, '\n') == text + n - 1);
	text[n - 1] = 0;
	fuzz_check(ack_parse(text, &a, &f) == 0);
	ack_format(&a, back);
	fuzz_check(!strncmp(text, back, n - 1));
	return 0;
}
