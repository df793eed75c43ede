// SPDX-License-Identifier: BSD-2-Clause
// The contents of PACK frames: zstd, and threads that compress several at once. The only module
// that sees zstd.
#ifndef BLX_ZPACK_H
#define BLX_ZPACK_H

#include <stddef.h>
#include <stdint.h>

// ---- one content, opened. Memory: the caller's buffer and zstd's tables, whatever the input says.

struct zpack_opener;
struct zpack_opener *zpack_opener_new(void); // NULL with errno ENOMEM
void zpack_opener_free(struct zpack_opener *o);
// PACKED is exactly one zstd frame, with its content size in its header, of exactly N bytes, which
// go to CONTENT. 0, or -1 with why.
int zpack_open(struct zpack_opener *o, const void *packed, size_t packed_n, void *content, size_t n,
	       const char **why);

// ---- a pool: contents come back in the order they were given, the same bytes whatever the number
// of threads.

struct zpack_pool;

struct zpack_job {
	uint8_t *content; // room for the pool's content_max
	size_t content_n;
	uint8_t *packed;
	size_t packed_n; // 0: not smaller than the content, use that
	int error;       // errno if compression failed, else 0
};

// NULL with errno. LEVEL 1 to 19, THREADS 1 to 64.
struct zpack_pool *zpack_pool_new(int level, int threads, size_t content_max);
// Also ends the threads; what was given and not taken is lost.
void zpack_pool_free(struct zpack_pool *p);
// An empty job to fill (content_n is 0); the same one until it is given. NULL: all are given, take
// one first.
struct zpack_job *zpack_room(struct zpack_pool *p);
// Hand the job of zpack_room() to the threads.
void zpack_give(struct zpack_pool *p);
// The oldest job given, valid until zpack_drop(). NULL: there is none, or (without WAIT) it is not
// finished.
struct zpack_job *zpack_take(struct zpack_pool *p, int wait);
void zpack_drop(struct zpack_pool *p);

#endif
