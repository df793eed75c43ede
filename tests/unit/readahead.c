// SPDX-License-Identifier: BSD-2-Clause
// lib/readahead: both engines hand out exactly what was asked for, in order, however the ring
// wraps.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "readahead.h"
#include "tap.h"

enum { SIZE = 40 * 1024 * 1024 + 777, ALIGN = 512 };

// Every 8 bytes of the file say where they are.
static void fill(int fd)
{
	uint64_t *words = malloc(SIZE + 8);

	for (uint64_t i = 0; i < SIZE / 8 + 1; i++)
		words[i] = i * 8;
	if (pwrite(fd, words, SIZE, 0) != SIZE)
		exit(1);
	free(words);
}

static bool right(const struct readahead_chunk *c)
{
	for (uint64_t i = 0; i < c->length; i++) {
		uint64_t at = c->offset + i, word = at & ~7ull;
		if (c->data[i] != (uint8_t)(word >> 8 * (at & 7)))
			return false;
	}
	return true;
}

struct ask {
	uint64_t offset, length;
	bool hole;
};

static struct ask next_ask(uint64_t *at, unsigned int *seed)
{
	static const size_t most[] = {64, 4096, 70000, READAHEAD_MAX};
	struct ask a = {.offset = *at + (uint64_t)(rand_r(seed) % 3000)};
	uint64_t room = READAHEAD_MAX - a.offset % READAHEAD_MAX;

	a.hole = rand_r(seed) % 8 == 0;
	a.length = 1 + (uint64_t)rand_r(seed) % most[rand_r(seed) % 4];
	if (a.length > room)
		a.length = room;
	*at = a.offset + a.length;
	return a;
}

// Asks run ahead as far as there is room; each chunk must be the oldest ask.
static bool random_asks(int fd, bool threads, unsigned int seed)
{
	struct readahead *r = readahead_new(fd, ALIGN, threads);
	struct ask asked[128] = {0};
	uint64_t at = 0, put = 0, got = 0;
	struct readahead_chunk c;
	bool good = r != NULL;

	for (struct ask a = next_ask(&at, &seed); good; a = next_ask(&at, &seed)) {
		bool more = a.offset + a.length <= SIZE;
		while (good && (!more || !(a.hole ? readahead_put_hole(r, a.offset, a.length)
						  : readahead_put(r, a.offset, a.length)))) {
			if (readahead_get(r, &c) != 1)
				break;
			struct ask *w = &asked[got++ % 128];
			good = c.offset == w->offset && c.length == w->length &&
			       !c.data == w->hole && (w->hole || right(&c));
			readahead_release(r);
		}
		if (!more)
			break;
		asked[put++ % 128] = a;
	}
	good = good && put == got && put > 100 && readahead_get(r, &c) == 0;
	readahead_free(r);
	return good;
}

static void past_the_end(int fd, bool threads)
{
	struct readahead *r = readahead_new(fd, 1, threads);
	struct readahead_chunk c;

	readahead_put(r, SIZE - 10, 10);
	readahead_put(r, SIZE - 10, 11);
	ok(readahead_get(r, &c) == 1 && c.length == 10, "the last bytes are read");
	readahead_release(r);
	ok(readahead_get(r, &c) == -1 && errno == ENODATA && c.offset == SIZE - 10,
	   "a read past the end fails and says where");
	readahead_free(r);
}

static void bad_descriptor(bool threads)
{
	struct readahead *r = readahead_new(-1, 1, threads);
	struct readahead_chunk c;

	readahead_put(r, 4096, 10);
	ok(readahead_get(r, &c) == -1 && errno == EBADF, "a failed read gives its errno");
	readahead_free(r);
}

int main(void)
{
	char path[] = "/var/tmp/blx-readahead.XXXXXX";
	int fd = mkstemp(path);

	if (fd < 0)
		return 1;
	unlink(path);
	fill(fd);
	for (int threads = 0; threads < 2; threads++) {
		struct readahead *r = readahead_new(fd, 1, threads);
		printf("# %s\n", readahead_engine(r));
		ok(!threads || !strcmp(readahead_engine(r), "threads"), "threads when asked for");
		readahead_free(r);
		for (unsigned int seed = 1; seed <= 10; seed++)
			ok(random_asks(fd, threads, seed), "random reads and holes, seed %u", seed);
		past_the_end(fd, threads);
		bad_descriptor(threads);
	}
	return done();
}
