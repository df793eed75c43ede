// SPDX-License-Identifier: BSD-2-Clause
#include "json.h"

void json_string(FILE *to, const char *s)
{
	if (!s) {
		fputs("null", to);
		return;
	}
	putc('"', to);
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		if (c == '"' || c == '\\')
			fprintf(to, "\\%c", c);
		else if (c < ' ' || c == 0x7f)
			fprintf(to, "\\u%04x", c);
		else
			putc(c, to);
	}
	putc('"', to);
}
