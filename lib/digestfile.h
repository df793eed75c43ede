// SPDX-License-Identifier: BSD-2-Clause
// The digests kept beside a replica: of each block of 4 KiB eight bytes, little-endian, from 4096
// on in a sparse file: XXH3-64 of the block, what lies beyond the replica's end taken as zero; 0:
// unknown. Before them a header: magic, block size, the replica's size and the token that they are
// current for.
//
// They are of use only while that token is the state's. An entry is changed only by what is written
// to its block: no write hides that another block has rotted, nor, of a block that is written in
// part, that the rest has.
#ifndef BLX_DIGESTFILE_H
#define BLX_DIGESTFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fault.h"
#include "token.h"

enum { DIGESTFILE_BLOCK = 4096 };

#define DIGESTFILE_NAME "digests"     // in the state directory
#define DIGESTFILE_NEXT "digests.new" // of a clone that waits to take the image's place

struct digestfile {
	int fd;             // -1: not open
	uint64_t size;      // of the replica, bytes
	struct token token; // what they are current for
	struct token also;  // an older one that differs in no block; zero: none
	bool again;         // the image may hold other parts of what was written than they say
	bool unsettled;     // so it is if this run dies; from the next digestfile_mark() on
	int lost;           // errno of a failed read or write: the entries are of no use
};

// 1; 0: there is none; -1: BLX_TARGET damaged, BLX_SYSTEM.
int digestfile_open(struct digestfile *d, int dirfd, const char *name, struct fault *f);
void digestfile_close(struct digestfile *d);
// Put one in NAME's place of which all is unknown at TOKEN. Open after it. 0 or -1.
int digestfile_reset(struct digestfile *d, int dirfd, const char *name, uint64_t size,
		     const struct token *token, struct fault *f);
bool digestfile_is_at(const struct digestfile *d, const struct token *token);

// Keep others from writing entries (LOCK_EX of flock(2)) until it is closed or let go of; waits.
int digestfile_hold(struct digestfile *d, struct fault *f);
void digestfile_let_go(struct digestfile *d);

// LENGTH bytes (NULL: zeroes) are about to be written at OFFSET of the image, open as IMAGE: the
// entries of the blocks that they cover. A failure makes all of them lost.
void digestfile_put(struct digestfile *d, int image, uint64_t offset, const void *bytes,
		    uint64_t length);
// From now on of a replica of SIZE bytes.
void digestfile_resize(struct digestfile *d, uint64_t size);
// They are current for TOKEN from now on; ALSO may be NULL. What was lost is emptied first. 0 or -1
// with errno; durable after digestfile_sync().
int digestfile_mark(struct digestfile *d, const struct token *token, const struct token *also);
int digestfile_sync(struct digestfile *d);

// N entries from block FIRST on. 0, or -1 with errno.
int digestfile_read(const struct digestfile *d, uint64_t first, size_t n, uint64_t *entry);
int digestfile_write(const struct digestfile *d, uint64_t first, size_t n, const uint64_t *entry);
// Of a whole block.
uint64_t digestfile_of(const void *block);

#endif
