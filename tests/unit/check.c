// SPDX-License-Identifier: BSD-2-Clause
// lib/check: any other text is told from the one that was written.
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "tap.h"

int main(void)
{
	static const char body[] = "epoch: 7\ncursor: 4096\n";
	const size_t n = sizeof(body) - 1, all = n + CHECK_LINE;
	char text[sizeof(body) + CHECK_LINE], line[CHECK_LINE + 1];
	size_t flipped = 0, cut = 0;

	check_line(body, n, line);
	ok(strlen(line) == CHECK_LINE && !strncmp(line, "end ", 4), "the line is '%.20s'", line);
	snprintf(text, sizeof(text), "%s%s", body, line);
	ok(!check_text(text, all), "it is the line of the text before it");
	for (size_t bit = 0; bit < all * 8; bit++) {
		text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
		flipped += check_text(text, all) == -1;
		text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
	}
	ok(flipped == all * 8, "each of %zu bits that is flipped is seen", all * 8);
	for (size_t left = 0; left < all; left++)
		cut += check_text(text, left) == -1;
	ok(cut == all, "so is each of %zu cuts", all);
	ok(check_of(body, n, 0) != check_of(body, n, 1), "what came before counts");
	ok(check_of("", 0, 0) == 0x2d06800538d394c2, "it is XXH3");
	return done();
}
