// SPDX-License-Identifier: BSD-2-Clause
// The header of an extent list, which is also the payload of a stream's HEAD frame: what is listed,
// of which device, for whom, from which epoch to which. One text form for both (blx-extents(5)):
// `# key: value` lines, any order after the first, no key twice (but chain), unknown keys refused
// unless they begin with "x-".
#ifndef BLX_HEAD_H
#define BLX_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fault.h"
#include "token.h"

enum {
	HEAD_NAME_MAX = 64,              // consumer and label, bytes without the NUL
	HEAD_CHAIN_MAX = 65536,          // tokens
	HEAD_GROUP_MAX = 1024,           // lists of one point in time
	HEAD_TEXT_MAX = 4 * 1024 * 1024, // bytes of the text form
};

struct head {
	uint64_t size; // bytes of the device or image; every extent lies below it
	int64_t time;  // when the epoch was cut, seconds since 1970; 0: unknown
	// A name for people and for file names on the other side; "" if none.
	char label[HEAD_NAME_MAX + 1];

	// The list came from a comparison with a replica: which one, and the token that all of it
	// was at. In a tracked header that token is the base.
	bool resync;
	struct token replica, held;

	// An anonymous header (no lineage) ends here: a hand-made list, an image, a comparison. A
	// replica does not take its stream.
	bool anonymous;
	// Anonymous only: before the first byte was looked at, the device was being tracked under
	// this lineage, and its newest epoch was this one.
	bool has_since;
	struct token since;
	uint64_t since_epoch;

	struct token lineage;
	uint32_t major, minor;          // the device that is tracked, as the source numbers it
	char name[HEAD_NAME_MAX + 1];   // its kernel name, for people
	char serial[HEAD_NAME_MAX + 1]; // "" if unknown
	uint64_t diskseq;               // of the whole disk; 0: unknown
	uint64_t start;                 // of a partition on its disk, bytes; 0 for a whole disk
	uint32_t block;                 // tracking granularity, bytes
	char consumer[HEAD_NAME_MAX + 1];

	uint64_t epoch; // the epoch that this list ends at, and its token
	struct token token;

	// What the receiver must hold, offset by offset: below partial_upto the partial's token;
	// from there to cursor the base; from cursor on nothing (the list has all of it).
	bool has_base; // false: nothing was ever acked
	uint64_t base_epoch;
	struct token base;
	uint64_t cursor;
	bool has_partial;
	uint64_t partial_epoch;
	struct token partial;
	uint64_t partial_upto;

	// The list says nothing about offsets from here on (--max); == size: the list is whole.
	uint64_t limit;

	// Every token from the base (first, if there is one) to this epoch's (last), ascending.
	struct token *chain; // malloc'ed, owned by the head
	size_t chain_len;

	// Lists of several devices that were cut at one instant: this is the group_at-th of
	// group_of with one id; 0 of 0: of none. A receiver takes all of them or none.
	uint32_t group_at, group_of;
	struct token group;

	uint32_t seen; // head_line()'s own: keys that came; 0 in a header filled in by a program
};

// An all-zero head with nothing to free. head_free() releases the chain and resets to that.
void head_init(struct head *h);
void head_free(struct head *h);
// Deep copy. 0, or -1 with errno.
int head_copy(struct head *to, const struct head *from);
// Append a token to the chain. 0, or -1 with errno (E2BIG beyond HEAD_CHAIN_MAX).
int head_chain_add(struct head *h, const struct token *t);
// Place of a token in the chain, or -1.
long head_chain_find(const struct head *h, const struct token *t);

// One line of the text form, without its newline. LINE_NO is for the fault's words. Lines may be
// fed in one at a time; head_check() after the last one sees that all that must be there is there
// and fits together (partial below size, cursor and limit not beyond it, chain ends in the epoch's
// token, begins with the base, holds the partial's token, names within [A-Za-z0-9._:-] and not
// beginning with a dot, ...). 0 or -1.
int head_line(struct head *h, const char *line, uint64_t line_no, struct fault *f);
int head_check(const struct head *h, struct fault *f);

// The whole text form at once, as in a HEAD frame: N bytes, every line ended by a newline. 0 or -1;
// h needs head_init before and head_free after, also on failure.
int head_parse(struct head *h, const char *text, size_t n, struct fault *f);

// The text form, malloc'ed, NUL-terminated, *n bytes without the NUL; NULL with errno. Canonical:
// the order of the page.
char *head_format(const struct head *h, size_t *n);

// Consumer names and labels: 1 to HEAD_NAME_MAX of [A-Za-z0-9._:-], not beginning with a dot or a
// dash.
bool head_name_ok(const char *name);

#endif
