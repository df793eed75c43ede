// SPDX-License-Identifier: BSD-2-Clause
// lib/lines: whole lines or words why not.
#include <errno.h>

#include "input.h"
#include "lines.h"
#include "tap.h"

static void refuses(const void *p, size_t n, int good, const char *words, const char *what)
{
	int fd = fd_of(p, n), r = 1;
	struct lines *l = must(lines_new(fd));
	struct fault f;
	char *line;

	for (int i = 0; i < good && r == 1; i++)
		r = lines_next(l, &line, -1, &f);
	ok(r == 1 && lines_next(l, &line, -1, &f) == -1 && f.code == BLX_CORRUPT &&
		   strstr(f.text, words),
	   "%s", what);
	lines_free(l);
	close(fd);
}

static void whole_lines(void)
{
	int fd = fd_of_text("one\n\ntwo words\n");
	struct lines *l = must(lines_new(fd));
	struct fault f;
	char *line;

	ok(lines_next(l, &line, -1, &f) == 1 && !strcmp(line, "one") && lines_number(l) == 1,
	   "a line");
	ok(lines_next(l, &line, -1, &f) == 1 && !*line && lines_number(l) == 2, "an empty line");
	ok(lines_next(l, &line, -1, &f) == 1 && !strcmp(line, "two words"), "the last line");
	ok(lines_next(l, &line, -1, &f) == 0, "the end");
	lines_free(l);
	close(fd);
}

// More than the buffer, so that lines straddle its end.
static void many_lines(void)
{
	FILE *t = must(tmpfile());
	struct fault f;
	char *line, want[64];
	int i, r = 1;

	for (i = 0; i < 20000; i++)
		fprintf(t, "line %d of many\n", i);
	fflush(t);
	rewind(t);
	struct lines *l = must(lines_new(fileno(t)));
	for (i = 0; i < 20000 && r == 1; i++) {
		snprintf(want, sizeof(want), "line %d of many", i);
		r = lines_next(l, &line, -1, &f) == 1 && !strcmp(line, want);
	}
	ok(r == 1 && lines_next(l, &line, -1, &f) == 0, "20000 lines come back");
	lines_free(l);
	fclose(t);
}

static void waiting(void)
{
	int in[2], out[2];
	struct fault f;
	char *line;

	if (pipe(in) || pipe(out))
		must(NULL);
	struct lines *l = must(lines_new(in[0]));
	ok(lines_next(l, &line, 10, &f) == -1 && f.code == BLX_SYSTEM &&
		   strstr(f.text, "within 10 ms"),
	   "no line in time");
	ok(lines_next(l, &line, 1000, &f) == -1 && strstr(f.text, "within 1 s"),
	   "whole seconds are told as such");
	if (write(in[1], "half", 4) != 4)
		must(NULL);
	ok(lines_next(l, &line, 10, &f) == -1 && f.code == BLX_SYSTEM,
	   "half a line in time is none");
	if (write(in[1], " whole\n", 7) != 7)
		must(NULL);
	ok(lines_next(l, &line, 10, &f) == 1 && !strcmp(line, "half whole"),
	   "its other half completes it");
	lines_watch(l, out[1]);
	close(out[0]);
	ok(lines_next(l, &line, -1, &f) == -1 && f.code == BLX_SYSTEM && errno == EPIPE,
	   "waiting ends when nobody reads the output any more");
	lines_free(l);
	close(in[0]);
	close(in[1]);
	close(out[1]);
}

int main(void)
{
	static char large[LINE_MAX_BYTES + 2];
	struct fault f;
	char *line;

	whole_lines();
	many_lines();
	waiting();
	refuses("one\ntwo", 7, 1, "line 2: cut", "a last line without newline is cut");
	refuses("a\0b\n", 4, 0, "NUL", "a NUL byte is refused");
	memset(large, 'x', sizeof(large));
	large[sizeof(large) - 1] = '\n';
	refuses(large, sizeof(large), 0, "longer than 4096", "a line of 4097 bytes is too long");
	int fd = fd_of(large + 1, sizeof(large) - 1);
	struct lines *l = must(lines_new(fd));
	ok(lines_next(l, &line, -1, &f) == 1 && strlen(line) == LINE_MAX_BYTES,
	   "a line of 4096 bytes is not");
	lines_free(l);
	close(fd);
	l = must(lines_new(-1));
	ok(lines_next(l, &line, -1, &f) == -1 && f.code == BLX_SYSTEM, "a failed read is an error");
	lines_free(l);
	return done();
}
