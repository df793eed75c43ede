// SPDX-License-Identifier: BSD-2-Clause
// Digest lists (blx-digests(5)): a header, a line for each block or run of zero blocks, without
// gaps from 0 to the size, and an end line with the count of lines and the digest of them all. The
// header alone is also what the two ends of a tree comparison (blx-tree(5)) tell each other first.
#ifndef BLX_SUMS_H
#define BLX_SUMS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "digest.h"
#include "fault.h"
#include "head.h"
#include "token.h"

enum {
	SUMS_BLOCK_MIN = 4096,
	SUMS_BLOCK_MAX = 1 << 20,
	SUMS_HEAD_MAX = 4096, // bytes of the header's text, its NUL included
};

struct sums_head {
	uint64_t size;  // bytes that were digested
	uint32_t block; // bytes, a power of two
	enum digest_algorithm algorithm;
	bool device;                  // a block device: what is replicated to it may be shorter
	char name[HEAD_NAME_MAX + 1]; // for people, "" if none

	// A replica: which, and if all of it was at one epoch, which.
	bool has_replica, has_token;
	struct token replica, token, lineage;
	uint64_t epoch;
	char consumer[HEAD_NAME_MAX + 1];

	// A tracked device: lineage, and its newest epoch before the first byte was read.
	bool has_since;
	struct token since;
	uint64_t since_epoch;

	int64_t time; // seconds since 1970
};

// The header's text, canonical, without the end line. Bytes without the NUL.
size_t sums_head_format(const struct sums_head *h, char text[SUMS_HEAD_MAX]);
// One line of it, without its newline; SEEN: keys that came, 0 before the first line. 0 or -1
// (BLX_CORRUPT, naming LINE_NO).
int sums_head_line(struct sums_head *h, uint32_t *seen, const char *line, uint64_t line_no,
		   struct fault *f);
// After the last line: all is there and fits together.
int sums_head_check(const struct sums_head *h, uint32_t seen, struct fault *f);
// The whole text, N bytes.
int sums_head_parse(struct sums_head *h, const char *text, size_t n, struct fault *f);

// ---- lists

struct sums_line {
	uint64_t offset, length;
	bool zero; // all of it; then of any number of blocks, else of one
	uint8_t digest[DIGEST_MAX];
};

struct sums_reader;

// FD stays the caller's. NULL with the fault.
struct sums_reader *sums_reader_new(int fd, struct fault *f);
void sums_reader_free(struct sums_reader *r);
// The header of the one list that FD holds. 0 or -1 (empty input is BLX_CORRUPT).
int sums_reader_head(struct sums_reader *r, struct sums_head *h, struct fault *f);
// The next line: 1; 0: the end line came, it agrees, and nothing follows; -1.
int sums_next(struct sums_reader *r, struct sums_line *l, struct fault *f);

struct sums_writer;

// Write the header. NULL with the fault; a failed write shows in ferror(TO).
struct sums_writer *sums_begin(FILE *to, const struct sums_head *h, struct fault *f);
// Blocks ascend without gaps; neighbouring zeroes become one line.
void sums_put(struct sums_writer *w, const struct sums_line *l);
// Write the end line, flush, and free. 0, or -1 with errno: something was not written.
int sums_end(struct sums_writer *w);

#endif
