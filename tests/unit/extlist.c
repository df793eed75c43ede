// SPDX-License-Identifier: BSD-2-Clause
// lib/extlist: lists of our own, lists by hand, and the writer.
#include <errno.h>

#include "extlist.h"
#include "input.h"
#include "tap.h"

#define HEAD "# blx-extents 1\n# size: 65536\n"
#define LIMITED                                                                                    \
	"# blx-extents 1\n# lineage: 6ba7b810-9dad-11d1-80b4-00c04fd430c8\n# device: 7:3\n# "      \
	"size: 65536\n"                                                                            \
	"# block: 4096\n# consumer: c\n# base: none\n# cursor: 0\n# limit: 8192\n"                 \
	"# epoch: 1 0123456789abcdef0011223344556677\n# chain: 0123456789abcdef0011223344556677\n"

// All lists of FD to the end. 0, or -1; SUM: of all their bytes.
static int read_all(int fd, uint64_t *sum, int *lists, struct fault *f)
{
	struct extlist_reader *r = must(extlist_reader_new(fd));
	const struct head *h;
	struct extent e;
	int n;

	*sum = 0;
	*lists = 0;
	while ((n = extlist_head(r, &h, f)) > 0) {
		while ((n = extlist_next(r, &e, f)) > 0)
			*sum += e.length;
		if (n < 0)
			break;
		++*lists;
	}
	extlist_reader_free(r);
	return n;
}

static void takes(const char *text, int lists, uint64_t bytes, const char *what)
{
	int fd = fd_of_text(text), n;
	struct fault f = {.text = ""};
	uint64_t sum;

	ok(read_all(fd, &sum, &n, &f) == 0 && n == lists && sum == bytes, "taken: %s %s", what,
	   f.text);
	close(fd);
}

static void refuses(const char *text, const char *words)
{
	int fd = fd_of_text(text), n;
	struct fault f = {.text = ""};
	uint64_t sum;

	ok(read_all(fd, &sum, &n, &f) == -1 && f.code == BLX_CORRUPT && strstr(f.text, words),
	   "refused: %s (%s)", words, f.text);
	close(fd);
}

// Whatever the length at which the golden lists are cut, they are refused, but between two lists.
static void cut_anywhere(void)
{
	size_t n, i, between = 0;
	char *list = data_file("small.list", &n);
	struct fault f;
	uint64_t sum;
	int lists, good = 0;

	between = (size_t)(strstr(list, "# end: ") - list);
	between += strcspn(list + between, "\n") + 1;
	for (i = 0; i < n; i++) {
		int fd = fd_of(list, i);
		if (read_all(fd, &sum, &lists, &f) == -1 && f.code == BLX_CORRUPT)
			good++;
		else if (i != between)
			ok(false, "cut at %zu of %zu was taken", i, n);
		close(fd);
	}
	ok(good == (int)n - 1, "two lists are refused wherever they are cut, but between them");
	free(list);
}

static void refusals(void)
{
	refuses("", "empty input");
	refuses("\n", "not an extent list");
	refuses("0 4096\n", "not an extent list");
	refuses(HEAD, "no end line");
	refuses(HEAD "0 4096\n", "no end line");
	refuses(HEAD "0 4096\n# end: 1 4096", "cut");
	refuses(HEAD "0 4096\n# end: 2 4096\n", "end: 1 4096 expected");
	refuses(HEAD "0 4096\n# end: 1 4097\n", "the counts do not agree");
	refuses(HEAD "# end: 0 00\n", "the counts do not agree");
	refuses(HEAD "0 4096\n4096 4096\n# end: 2 8192\n", "line 4: touches the extent before it");
	refuses(HEAD "0 4096\n4095 4096\n# end: 2 8192\n", "overlaps the extent before it");
	refuses(HEAD "8192 4096\n0 4096\n# end: 2 8192\n", "out of order");
	refuses(HEAD "0 65537\n# end: 1 65537\n", "ends beyond the device");
	refuses(HEAD "65536 1\n# end: 1 1\n", "ends beyond the device");
	refuses(HEAD "18446744073709551615 2\n# end: 1 1\n", "not an 'OFFSET LENGTH' line");
	refuses(HEAD "0 0\n# end: 1 0\n", "not an 'OFFSET LENGTH' line");
	refuses(HEAD "0x0 1\n# end: 1 1\n", "not an 'OFFSET LENGTH' line");
	refuses(HEAD "-1 1\n# end: 1 1\n", "line 3: not an 'OFFSET LENGTH' line: -1 1");
	refuses(HEAD "0\n# end: 1 1\n", "not an 'OFFSET LENGTH' line");
	refuses(HEAD " 0 1\n# end: 1 1\n", "not an 'OFFSET LENGTH' line");
	refuses(HEAD "\n# end: 0 0\n", "not an 'OFFSET LENGTH' line");
	refuses(HEAD "0 1\n# label: x\n# end: 1 1\n", "line 4: not an 'OFFSET LENGTH' line");
	refuses(HEAD "# end: 0 0\ngarbage\n", "not an extent list");
	refuses(LIMITED "0 8193\n# end: 1 8193\n", "ends beyond the list's limit");
}

static int plain(const char *text, uint64_t size, struct extent **e, size_t *n, struct fault *f)
{
	int fd = fd_of_text(text);
	int r = extlist_plain(fd, size, e, n, f);

	close(fd);
	return r;
}

static void plain_refuses(const char *text, const char *words)
{
	struct fault f = {.text = ""};
	struct extent *e;
	size_t n;

	ok(plain(text, 65536, &e, &n, &f) == -1 && f.code == BLX_CORRUPT && strstr(f.text, words),
	   "plain, refused: %s (%s)", words, f.text);
}

static void plain_lists(void)
{
	struct fault f;
	struct extent *e;
	size_t n;

	ok(!plain("# by hand\n\n 0x2000 0x1000 W sh\n4096\t4096\n0 1\n8000 10\n12288 1\n", 65536,
		  &e, &n, &f) &&
		   n == 2,
	   "any order, overlaps, hex, more columns, comments");
	ok(e[0].offset == 0 && e[0].length == 1 && e[1].offset == 4096 && e[1].length == 8193,
	   "are sorted and merged");
	free(e);
	ok(!plain("0 65536\n5 1\n", 65536, &e, &n, &f) && n == 1 && e[0].length == 65536,
	   "an extent inside of another disappears");
	free(e);
	plain_refuses("", "empty input");
	plain_refuses("# nothing\n\n", "empty input");
	plain_refuses("0 1\nx y\n", "line 2: not an 'OFFSET LENGTH' line: x y");
	ok(plain("0 1\n0 65537\n", 65536, &e, &n, &f) == -1 && f.code == BLX_TARGET &&
		   !strcmp(f.text, "line 2: goes beyond the end at 65536: 0 65537"),
	   "plain, of another device: %s", f.text);
	plain_refuses("0xffffffffffffffff 1\n", "not an 'OFFSET LENGTH' line");
	plain_refuses("5\n", "not an 'OFFSET LENGTH' line");
	plain_refuses("5 0\n", "not an 'OFFSET LENGTH' line");
	plain_refuses("0 1\n5 5", "cut");
}

// Extents 0, 4, 8, ... in an order that jumps about.
static void many(int count, bool fits)
{
	FILE *t = must(tmpfile());
	struct fault f;
	struct extent *e;
	size_t n, i;

	for (int k = 0; k < count; k++)
		fprintf(t, "%llu 1\n", 4ull * ((unsigned)k * 7919ull % (unsigned)count));
	fflush(t);
	rewind(t);
	int r = extlist_plain(fileno(t), UINT64_MAX, &e, &n, &f);
	fclose(t);
	if (!fits) {
		ok(r == -1 && f.code == BLX_USAGE && strstr(f.text, "more than 2097152"),
		   "%d extents are too many", count);
		return;
	}
	for (i = 0; !r && i < n && e[i].offset == 4 * i; i++)
		;
	ok(!r && n == (size_t)count && i == n, "%d extents in disorder are sorted", count);
	free(e);
}

static void writer(void)
{
	struct head h;
	struct extlist_writer w;
	char *text = NULL;
	size_t n = 0;
	FILE *to = must(open_memstream(&text, &n));

	head_init(&h);
	h.anonymous = true;
	h.size = h.limit = 65536;
	int r = extlist_begin(&w, to, &h) || extlist_put(&w, (struct extent){0, 4096}) ||
		extlist_put(&w, (struct extent){4096, 4096}) ||
		extlist_put(&w, (struct extent){16384, 1});
	errno = 0;
	ok(!r && extlist_put(&w, (struct extent){16384, 1}) == -1 && errno == EINVAL,
	   "the writer refuses an overlap");
	ok(extlist_put(&w, (struct extent){0, 1}) == -1, "and disorder");
	ok(extlist_put(&w, (struct extent){20000, 0}) == -1, "and nothing");
	ok(extlist_end(&w) == 0 && !strcmp(text, HEAD "0 8192\n16384 1\n# end: 2 8193\n"),
	   "it joins what touches");
	fclose(to);
	takes(text, 1, 8193, "what it wrote");
	free(text);
	to = must(fopen("/dev/full", "w"));
	ok((extlist_begin(&w, to, &h) || extlist_end(&w)) && errno == ENOSPC,
	   "a full disk is an error");
	fclose(to);
}

int main(void)
{
	takes(HEAD "# end: 0 0\n", 1, 0, "an empty list");
	takes(HEAD "0 4096\n8192 4096\n# end: 2 8192\n", 1, 8192, "two extents");
	takes(HEAD "0 4096 write sh\n8192\t4096\tx\n# end: 2 8192\n", 1, 8192, "more columns");
	takes(HEAD "65535 1\n# end: 1 1\n", 1, 1, "the last byte");
	takes(HEAD "0 1\n# end: 1 1\n" HEAD "# end: 0 0\n" HEAD "0 2\n# end: 1 2\n", 3, 3,
	      "three lists");
	takes(LIMITED "0 8192\n# end: 1 8192\n", 1, 8192, "up to the limit");
	refusals();
	cut_anywhere();
	plain_lists();
	many(2097151, true); // 7919 does not divide it
	many(2097153, false);
	many(3145729, false);
	writer();
	return done();
}
