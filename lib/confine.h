// SPDX-License-Identifier: BSD-2-Clause
// What a program gives up for the rest of its life once it knows what it works on: a flaw in it is
// worth no more than that work. By the kernel's own means: no_new_privs (prctl(2)), Landlock
// (landlock(7), Linux 5.13), a seccomp filter (seccomp(2), x86-64 and aarch64).
#ifndef BLX_CONFINE_H
#define BLX_CONFINE_H

#include <stddef.h>

#include "fault.h"

// System calls that stay.
enum confine_calls {
	// Those of a filter: what is open is read and written, memory is had and given back. Any
	// other kills.
	CONFINE_FILTER,
	// And those for files. Starting a program, a socket, looking into another process kill;
	// what
	// else is unknown here fails with ENOSYS: for that a libc that has learnt a new call knows
	// an old one, and an I/O error is told.
	CONFINE_FILES,
};

enum confine_access {
	CONFINE_LOOK,   // read, list
	CONFINE_CHANGE, // and write, make, remove, rename
};

// A file or device, or a directory and all that is below it.
struct confine_path {
	const char *path;
	enum confine_access access;
};

// The argument of --confine.
enum confine_when {
	CONFINE_TRY,  // as far as the kernel can
	CONFINE_NO,   // not at all
	CONFINE_MUST, // all of it, or it is an error
};

// 0, or -1: S is none of them.
int confine_when(const char *s, enum confine_when *when);

// Of the file system only PATHS (those that exist now) may be opened from now on, over TCP nothing,
// and no other system calls be made; what is open stays open. One thread only, once only. What this
// kernel, or this build, lacks is left out; with CONFINE_MUST it is -1, and F says what it is.
int confine(enum confine_when when, enum confine_calls calls, const struct confine_path *paths,
	    size_t n, struct fault *f);

#endif
