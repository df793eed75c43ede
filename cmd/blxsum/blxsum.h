// SPDX-License-Identifier: BSD-2-Clause
// blxsum's parts: subject (what is digested), list (print its digests), compare (with a list),
// ranges (of a part only), diff (what differs), tree and serve (the two ends of a comparison over a
// pipe), forest (their sections), link (their messages), live (a pair that is being written), scrub
// (a replica against its own digests; view: while it is applied to).
// Functions that do not say otherwise end the program when they fail.
#ifndef BLXSUM_H
#define BLXSUM_H

#include <stdbool.h>
#include <stdint.h>

#include "digest.h"
#include "extlist.h"
#include "progress.h"
#include "rate.h"
#include "replica.h"
#include "source.h"
#include "sums.h"
#include "target.h"

struct options {
	enum { LIST, CHECK, TREE, SERVE, LIVE, SCRUB } mode;
	uint32_t block;
	enum digest_algorithm algorithm;
	bool quiet, used, threads, progress;
	bool live;            // the far end may move on meanwhile
	const char *only;     // file of ranges, or NULL
	uint64_t rate;        // bytes a second, 0: no limit
	int timeout_ms;       // without a word from the far end; -1: for ever
	const char *consumer; // live
	uint64_t rounds;      // live
	uint64_t budget;      // scrub: bytes of this slice; 0: all
	const char *path;     // device or image
	char **cmd;           // tree, live: what reaches the far end
};

// ---- what is digested

struct subject {
	struct source source;
	struct sums_head head; // all that a digest list says; algorithm and block as in options
	struct target target;
	char wrong[320]; // why the replica is of no use as one, "" if it is, or is none
};

// Open it. What a device's tracking says is looked up before the first byte is read; STATE: what a
// replica's state says, too. 0 or -1.
int subject_open(struct subject *s, const struct options *o, bool state, struct fault *f);
// The replica still is what it was when it was opened, else BLX_TARGET. 0 or -1.
int subject_unchanged(const struct subject *s, struct fault *f);
void subject_close(struct subject *s);

// ---- a part only: extents, ascending, widened to whole blocks

struct ranges;

// What OPTIONS say of a device of SIZE bytes.
struct ranges *ranges_open(const struct options *o, uint64_t size, uint32_t block);
// The next of them that begins below UPTO, cut there; the rest comes later. False: none.
bool ranges_next(struct ranges *r, uint64_t upto, struct extent *e);
// Where the next of them begins. False: none.
bool ranges_peek(struct ranges *r, uint64_t *offset);
// Close; the program that printed them has done well.
void ranges_close(struct ranges *r);

// ---- what differs

struct diff {
	bool quiet;
	uint64_t bytes;
	struct extlist_writer list;
};

// THEIRS: of the other side.
void diff_begin(struct diff *d, const struct options *o, const struct subject *s,
		const struct sums_head *theirs);
void diff_put(struct diff *d, uint64_t offset, uint64_t length);
// What the device has beyond LIMIT differs, all of it (of the ranges of --only: what they have
// there), in use or not: the other side has nothing of it. Closes the ranges.
void diff_rest(struct diff *d, const struct options *o, struct ranges *r, uint64_t limit,
	       uint64_t size);
// The exit code.
int diff_end(struct diff *d);
// How many bytes are compared; what this side is longer by differs. Refuses a side that is shorter
// than what it is compared with (BLX_TARGET). 0 or -1.
int diff_limit(const struct subject *s, const struct sums_head *theirs, uint64_t *limit,
	       struct fault *f);

// ---- modes; each returns the exit code

int list_digests(const struct options *o);
int check_digests(const struct options *o);
int tree_compare(const struct options *o);
int serve(const struct options *o);
int live(const struct options *o);
int scrub(const struct options *o);

#endif
