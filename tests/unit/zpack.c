// SPDX-License-Identifier: BSD-2-Clause
// lib/zpack: contents in order, the same bytes for any number of threads, nothing opened that is
// not exactly one.
#include <errno.h>

#include "input.h"
#include "tap.h"
#include "zpack.h"

enum { SIZE = 50000, JOBS = 100 };

// Content number I: compressible, but for every seventh.
static size_t fill(uint8_t *b, unsigned int i)
{
	uint64_t x = i * 2654435761u + 1;
	size_t n = SIZE - i * 10;

	for (size_t k = 0; k < n; k++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		b[k] = (uint8_t)(i % 7 ? (k >> 6) + i : x >> 56);
	}
	return n;
}

struct out {
	uint8_t *bytes;
	size_t n, packed;
};

static void take_one(struct zpack_pool *p, struct out *o, int wait)
{
	struct zpack_job *j = zpack_take(p, wait);

	if (!j)
		return;
	memcpy(o->bytes + o->n, j->packed_n ? j->packed : j->content,
	       j->packed_n ? j->packed_n : j->content_n);
	o->n += j->packed_n ? j->packed_n : j->content_n;
	o->packed += j->packed_n != 0;
	zpack_drop(p);
}

static struct out run(int threads)
{
	struct zpack_pool *p = must(zpack_pool_new(3, threads, SIZE));
	struct out o = {.bytes = must(malloc(JOBS * SIZE))};

	for (unsigned int i = 0; i < JOBS; i++) {
		struct zpack_job *j;
		while (!(j = zpack_room(p)))
			take_one(p, &o, 1);
		j->content_n = fill(j->content, i);
		zpack_give(p);
	}
	while (zpack_take(p, 1))
		take_one(p, &o, 1);
	zpack_pool_free(p);
	return o;
}

static void opening(void)
{
	struct zpack_opener *o = must(zpack_opener_new());
	struct zpack_pool *p = must(zpack_pool_new(19, 1, SIZE));
	static uint8_t content[SIZE], back[SIZE], packed[SIZE + 8];
	const char *why = "";
	struct zpack_job *j = zpack_room(p);
	size_t n = j->content_n = fill(j->content, 1);

	fill(content, 1);
	zpack_give(p);
	j = zpack_take(p, 1);
	size_t z = j->packed_n;
	memcpy(packed, j->packed, z);
	ok(z && zpack_open(o, packed, z, back, n, &why) == 0 && !memcmp(back, content, n),
	   "what is packed opens again");
	ok(zpack_open(o, packed, z, back, n - 1, &why) == -1,
	   "another length than said is refused: %s", why);
	ok(zpack_open(o, packed, z - 1, back, n, &why) == -1, "a cut frame is refused: %s", why);
	packed[z] = 0;
	ok(zpack_open(o, packed, z + 1, back, n, &why) == -1, "bytes behind it are refused: %s",
	   why);
	ok(zpack_open(o, packed, 0, back, n, &why) == -1, "nothing is refused: %s", why);
	ok(zpack_open(o, "# blx-extents 1\n", 16, back, n, &why) == -1,
	   "no zstd at all is refused: %s", why);
	ok(zpack_open(o, "\x50\x2a\x4d\x18\x00\x00\x00\x00", 8, back, 32, &why) == -1,
	   "a skippable frame has no content: %s", why);
	zpack_pool_free(p);
	zpack_opener_free(o);
}

int main(void)
{
	struct out one = run(1), many = run(8);

	ok(one.n == many.n && !memcmp(one.bytes, many.bytes, one.n),
	   "1 and 8 threads: the same bytes in the same order");
	ok(one.packed == JOBS - JOBS / 7 - 1, "noise is left as it is");
	free(one.bytes);
	free(many.bytes);
	opening();
	errno = 0;
	ok(!zpack_pool_new(0, 1, SIZE) && errno == EINVAL && !zpack_pool_new(20, 1, SIZE) &&
		   !zpack_pool_new(1, 0, SIZE) && !zpack_pool_new(1, 65, SIZE),
	   "levels and threads out of range are refused");
	struct zpack_pool *p = must(zpack_pool_new(1, 4, SIZE));
	ok(!zpack_take(p, 1), "waiting for nothing does not wait");
	for (int i = 0; i < 3; i++) {
		struct zpack_job *j = zpack_room(p);
		j->content_n = fill(j->content, 1);
		zpack_give(p);
	}
	zpack_pool_free(p);
	ok(true, "a pool can be freed while it works");
	return done();
}
