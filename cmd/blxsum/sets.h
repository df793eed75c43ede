// SPDX-License-Identifier: BSD-2-Clause
// Sets of bytes, as extent lists in files without names: of any length in constant memory.
// Functions that fail end the program.
#ifndef BLX_SETS_H
#define BLX_SETS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "head.h"

struct set {
	FILE *file;     // NULL: not made yet
	uint64_t bytes; // of all extents
	uint64_t epoch; // of a tracked list, else 0
};

// An empty file, to be filled by way of set_fd(); then set_read() sees that one whole list is there
// and counts. WHAT made it, for words.
void set_new(struct set *s);
int set_fd(const struct set *s);
void set_read(struct set *s, const char *what);
void set_free(struct set *s);

// None.
void set_empty(struct set *s, const struct head *head);

enum set_op { SET_OR, SET_AND, SET_MINUS };

// *TO becomes A OP B, with that header; it may be one of them, and whatever it was is freed.
void set_combine(struct set *to, const struct set *a, enum set_op op, const struct set *b,
		 const struct head *head);
// Copy the list, as it is, to stdout.
void set_print(const struct set *s);

#endif
