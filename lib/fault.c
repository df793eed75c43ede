// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fault.h"
#undef fault_set
#undef fault_errno

static void one_line(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
}

static void drop_clause(char *s)
{
	char *last = NULL;

	for (char *p = s; (p = strstr(p, "; ")); p++)
		last = p;
	if (last)
		*last = 0;
}

void fault_fit(char *to, size_t n, const char *text)
{
	if ((size_t)snprintf(to, n, "%s", text) >= n)
		drop_clause(to);
}

int fault_set(struct fault *f, enum blx_exit code, const char *fmt, ...)
{
	va_list ap;

	f->code = code;
	va_start(ap, fmt);
	int n = vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n >= sizeof(f->text))
		drop_clause(f->text);
	one_line(f->text);
	return -1;
}

int fault_errno(struct fault *f, const char *fmt, ...)
{
	int keep = errno;
	va_list ap;

	f->code = BLX_SYSTEM;
	va_start(ap, fmt);
	int n = vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(f->text))
		snprintf(f->text + n, sizeof(f->text) - (size_t)n, ": %s", strerror(keep));
	one_line(f->text);
	errno = keep;
	return -1;
}
