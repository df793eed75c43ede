// SPDX-License-Identifier: BSD-2-Clause
// Before main(), a closed standard descriptor is filled with one that fails, so that no file is
// opened in its place. Words on stderr as `prog: what: why`, for commands only. The program's name
// is glibc's program_invocation_short_name.
#ifndef BLX_DIE_H
#define BLX_DIE_H

#include <getopt.h>

#include "fault.h"

// Print and exit with CODE.
_Noreturn void die(enum blx_exit code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// Print with ": strerror(errno)" appended and exit with BLX_SYSTEM.
_Noreturn void die_errno(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

// Print a fault and exit with its code.
_Noreturn void die_fault(const struct fault *f);

// Print, keep running.
void warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

// Refuse a command line: print the message and where help is, exit with BLX_USAGE.
_Noreturn void die_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

// A write to standard output failed: `prog: standard output: why`, exit with BLX_SYSTEM.
_Noreturn void die_stdout(void);

// getopt_long(3), whose own words begin with the program's name too; after them it says where help
// is and exits with BLX_USAGE.
int getopt_or_die(int argc, char **argv, const char *shorts, const struct option *longs);

// Print `prog (blx) VERSION` on stdout.
void print_version(void);

// Flush and close stdout; a failed write (full disk, /dev/full) dies with BLX_SYSTEM. Last call of
// every command.
void close_stdout(void);

#endif
