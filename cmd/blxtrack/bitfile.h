// SPDX-License-Identifier: BSD-2-Clause
// A bitmap of blocks in a sparse file, written once from front to back and read in passes, a page
// at a time: constant memory, however large the device is. It is checked before it is read: a page
// that is lost would be a shorter list.
//
//   0     magic "BLXDELT2", blocks u64, words u64, set u64 (blocks), records u32, 0 u32; checks
//         (check.h), u64 each: of the bitmap, of the records, and of the head up to here
//   4096  the bitmap, words * 8 bytes, sparse
//   then, at the next multiple of 4096, the records of whoever wrote the file
// The bitmap's check is that of its pages that are not zero, each with its number before it: it is
// the same where holes are filled.
#ifndef BLX_BITFILE_H
#define BLX_BITFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "fault.h"

enum { BITFILE_CHUNK = 512 }; // words in the page that bitmaps are read and written by

struct bitfile {
	int fd;
	uint64_t blocks, words, set; // set: bits that are
	uint32_t records;
	uint64_t mix;     // writing: a running figure of the content, salt for tokens
	uint64_t data_at; // reading: where the file has its next data; 0 before a pass
	uint64_t bits_check, records_check; // reading: as the head has them
	bool checked;                       // the bitmap agrees
	char what[128];                     // names it in faults
};

// Create NAME anew in DIRFD (NULL: a file without a name), for BLOCKS in WORDS (more than it takes,
// perhaps). -1: BLX_SYSTEM; nothing is open then.
int bitfile_create(struct bitfile *b, int dirfd, const char *name, uint64_t blocks, uint64_t words,
		   struct fault *f);
// Write the words [FIRST, FIRST + n), n <= BITFILE_CHUNK. SET counts each time.
int bitfile_put(struct bitfile *b, uint64_t first, const uint64_t *words, size_t n,
		struct fault *f);
// The records, N of SIZE bytes, and the head. The file may be renamed then.
int bitfile_end(struct bitfile *b, const void *records, uint32_t n, size_t size, struct fault *f);

// WHAT names it in the words. -1: BLX_RESYNC if it is damaged or gone.
int bitfile_open(struct bitfile *b, int dirfd, const char *name, const char *what, struct fault *f);
int bitfile_records(const struct bitfile *b, void *records, size_t size, struct fault *f);
// Is the bitmap as it was written? bitfile_or() asks, too; who is to print nothing if it is not
// asks before.
int bitfile_check(struct bitfile *b, struct fault *f);
// OR the words [FIRST, FIRST + n) into OUT (n <= BITFILE_CHUNK), in passes of ascending FIRST; set
// data_at to 0 before each. Words beyond the end are zero.
int bitfile_or(struct bitfile *b, uint64_t first, uint64_t *out, size_t n, struct fault *f);

void bitfile_close(struct bitfile *b);

#endif
