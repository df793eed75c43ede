// SPDX-License-Identifier: BSD-2-Clause
// Make a stream from a script, for tests: lines of a header (`# ...`), `data OFFSET LENGTH` and
// `zero OFFSET LENGTH` (bytes come from the file named on the command line, at the same offset),
// `commit`, `end`, `abort CODE WORDS`. usage: mkstream FILE < SCRIPT > STREAM
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "die.h"
#include "head.h"
#include "io.h"
#include "stream.h"

static struct fault f;

static void data(struct stream_writer *w, int fd, uint64_t offset, uint64_t length)
{
	static char buf[FRAME_DATA_MAX];

	while (length) {
		size_t n = length < sizeof(buf) ? (size_t)length : sizeof(buf);
		if (io_pread_full(fd, buf, n, offset) != (ssize_t)n)
			die_errno("read at %llu", (unsigned long long)offset);
		if (stream_write_data(w, offset, buf, n))
			die_errno("data at %llu", (unsigned long long)offset);
		offset += n;
		length -= n;
	}
}

static int command(struct stream_writer *w, int fd, char *line)
{
	char *end = line + strcspn(line, " ");
	uint64_t a = strtoull(end, &end, 10), b = strtoull(end, &end, 10);

	if (!strncmp(line, "data ", 5)) {
		data(w, fd, a, b);
		return 0;
	}
	if (!strncmp(line, "zero ", 5))
		return stream_write_zero(w, a, b);
	if (!strcmp(line, "commit"))
		return stream_write_commit(w);
	if (!strcmp(line, "end"))
		return stream_write_end(w);
	if (!strncmp(line, "abort ", 6))
		return stream_write_abort(w, (enum blx_exit)a, strchr(line + 6, ' ') + 1);
	die(BLX_USAGE, "what is '%s'?", line);
}

int main(int argc, char **argv)
{
	struct stream_writer *w = stream_writer_new(STDOUT_FILENO);
	int fd = argc == 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
	uint64_t number = 0;
	char line[4096];
	struct head h;

	if (fd < 0 || !w)
		die_errno("usage: mkstream FILE < SCRIPT");
	head_init(&h);
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = 0;
		if (line[0] == '#') {
			if (head_line(&h, line, ++number, &f))
				die_fault(&f);
			continue;
		}
		if (number && stream_write_head(w, &h))
			die(BLX_USAGE, "head refused: %s", head_check(&h, &f) ? f.text : "?");
		if (number)
			head_free(&h);
		number = 0;
		if (command(w, fd, line))
			die_errno("refused: %s", line);
	}
	stream_writer_free(w);
	return 0;
}
