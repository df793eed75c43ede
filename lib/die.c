// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "die.h"

#ifndef BLX_VERSION
#define BLX_VERSION "unknown"
#endif

// A program that is started with a standard descriptor closed would be given its number for the
// next file it opens, an image say, and print its words into it. What fails as before takes its
// place.
__attribute__((constructor)) static void fill_standard_fds(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			_exit(BLX_SYSTEM);
}

static void say(const char *fmt, va_list ap, const char *why)
{
	char line[1024];

	vsnprintf(line, sizeof(line), fmt, ap);
	// One call, so that the lines of a pipeline's programs do not mix.
	fprintf(stderr, "%s: %s%s%s\n", program_invocation_short_name, line, why ? ": " : "",
		why ? why : "");
}

void die(enum blx_exit code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap, NULL);
	va_end(ap);
	exit(code);
}

void die_errno(const char *fmt, ...)
{
	const char *why = strerror(errno);
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap, why);
	va_end(ap);
	exit(BLX_SYSTEM);
}

void die_stdout(void)
{
	die_errno("standard output");
}

void die_fault(const struct fault *f)
{
	die(f->code, "%s", f->text);
}

void warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap, NULL);
	va_end(ap);
}

static _Noreturn void die_to_help(void)
{
	fprintf(stderr, "Try '%s --help'.\n", program_invocation_short_name);
	exit(BLX_USAGE);
}

void die_usage(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap, NULL);
	va_end(ap);
	die_to_help();
}

int getopt_or_die(int argc, char **argv, const char *shorts, const struct option *longs)
{
	argv[0] = program_invocation_short_name;
	int c = getopt_long(argc, argv, shorts, longs, NULL);
	if (c == '?')
		die_to_help();
	return c;
}

void print_version(void)
{
	printf("%s (blx) %s\n", program_invocation_short_name, BLX_VERSION);
}

void close_stdout(void)
{
	if (fflush(stdout) || ferror(stdout) || fclose(stdout))
		die_stdout();
}
