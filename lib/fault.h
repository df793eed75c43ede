// SPDX-License-Identifier: BSD-2-Clause
// Why something failed, and the exit code it deserves. lib/ never prints: a function that can fail
// for more reasons than errno can say fills a fault, returns -1, and the command prints it.
#ifndef BLX_FAULT_H
#define BLX_FAULT_H

#include <stddef.h>

// The exit codes of every blx program (documented in each man page's EXIT STATUS).
enum blx_exit {
	BLX_OK = 0,      // done
	BLX_DIFFERS = 1, // differs, or the answer is no
	BLX_USAGE = 2,   // wrong command line
	BLX_SYSTEM = 3,  // environment or I/O error
	BLX_CORRUPT = 4, // corrupt, cut or empty input
	BLX_TARGET = 5,  // wrong base, device or target
	BLX_RESYNC = 6,  // tracking incomplete: a resync is needed
	BLX_BUSY = 7,    // busy or locked
};

struct fault {
	enum blx_exit code;
	char text[320]; // one line, no newline: "what: why", with the byte or line where it is
};

// Fill F and return -1, so that a caller can say `return fault_set(...)`. Unprintable bytes become
// '?'. What is too long is cut as fault_fit() does.
int fault_set(struct fault *f, enum blx_exit code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

// The same with code BLX_SYSTEM and ": strerror(errno)" appended. Keeps errno.
int fault_errno(struct fault *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// TEXT in the N bytes at TO. If it is too long, its last clause that does not fit is left out
// whole: behind "; " stands what to do, and a command that is cut may name another target.
void fault_fit(char *to, size_t n, const char *text);

#ifdef __clang_analyzer__
// It looks at one file at a time and does not see that these never return 0.
#define fault_set(...) ((fault_set)(__VA_ARGS__), -1)
#define fault_errno(...) ((fault_errno)(__VA_ARGS__), -1)
#endif

#endif
