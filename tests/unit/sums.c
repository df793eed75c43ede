// SPDX-License-Identifier: BSD-2-Clause
// lib/sums: golden data are read and written as they are, and whatever is wrong with a list is
// found.
#include "input.h"
#include "sums.h"
#include "tap.h"

// Read the list: its code, 0 if it is whole. Lines go to W, if there is one.
static int read_list(const char *text, size_t n, struct sums_head *h, struct fault *f, FILE *to)
{
	int fd = fd_of(text, n), got;
	struct sums_reader *r = must(sums_reader_new(fd, f));
	struct sums_writer *w = NULL;
	struct sums_line l;

	got = sums_reader_head(r, h, f) ? -1 : 1;
	if (got > 0 && to)
		w = must(sums_begin(to, h, f));
	while (got > 0 && (got = sums_next(r, &l, f)) > 0)
		if (w)
			sums_put(w, &l);
	if (w && sums_end(w))
		must(NULL);
	sums_reader_free(r);
	close(fd);
	return got ? (int)f->code : 0;
}

static void golden(const char *text, size_t n)
{
	struct sums_head h;
	struct fault f;
	char *again = NULL, id[UUID_TEXT];
	size_t m;
	FILE *to = must(open_memstream(&again, &m));

	ok(!read_list(text, n, &h, &f, to), "golden data are read");
	fclose(to);
	ok(n == m && !memcmp(text, again, n), "and written as they were");
	free(again);
	uuid_format(&h.replica, id);
	ok(h.size == 50000 && h.block == 4096 && h.algorithm == DIGEST_XXH128 && h.device,
	   "size, block, algorithm, kind");
	ok(h.has_replica && h.has_token && h.epoch == 12 &&
		   !strcmp(id, "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
	   "replica");
	ok(h.has_since && h.since_epoch == 7 && !strcmp(h.consumer, "default"), "since, consumer");
}

// Cut anywhere, or with any byte changed but those that only people read, it is refused.
static void damaged(const char *text, size_t n)
{
	const char *body = strstr(text, "\n0 ") + 1;
	struct sums_head h;
	struct fault f;
	char *copy = must(malloc(n));
	bool cuts = true, bytes = true;

	for (size_t i = 0; i < n; i++)
		cuts &= read_list(text, i, &h, &f, NULL) == BLX_CORRUPT;
	ok(cuts, "cut anywhere it is refused");
	for (size_t i = (size_t)(body - text); i < n; i++) {
		memcpy(copy, text, n);
		copy[i] ^= 1;
		bytes &= read_list(copy, n, &h, &f, NULL) == BLX_CORRUPT;
	}
	ok(bytes, "with any bit of a line changed it is refused");
	free(copy);
}

static void headers(void)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
		{"# blx-digests 2\n", "not a digest list"},
		{"# blx-digests 1\n# block: 4096\n# algorithm: xxh128\n", "no 'size'"},
		{"# blx-digests 1\n# size: 1\n# block: 4096\n", "no 'algorithm'"},
		{"# blx-digests 1\n# size: 1\n# size: 1\n", "there before"},
		{"# blx-digests 1\n# size: 9223372036854775808\n", "bad value"},
		{"# blx-digests 1\n# block: 2048\n", "bad value"},
		{"# blx-digests 1\n# block: 5000\n", "bad value"},
		{"# blx-digests 1\n# block: 2097152\n", "bad value"},
		{"# blx-digests 1\n# algorithm: md5\n", "bad value"},
		{"# blx-digests 1\n# kind: file\n", "bad value"},
		{"# blx-digests 1\n# replica: x\n", "bad value"},
		{"# blx-digests 1\n# since: 6ba7b810-9dad-11d1-80b4-00c04fd430c8\n", "bad value"},
		{"# blx-digests 1\n# colour: red\n", "unknown key"},
		{"# blx-digests 1\n# size: 1\n# block: 4096\n# algorithm: sha256\n"
		 "# consumer: default\n",
		 "without a replica"},
		{"# blx-digests 1\n# size: 1", "cut"},
		{"", "empty"},
	};
	struct sums_head h;
	struct fault f;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ok(sums_head_parse(&h, bad[i].text, strlen(bad[i].text), &f) &&
			   f.code == BLX_CORRUPT && strstr(f.text, bad[i].why),
		   "refused: %s: %s", bad[i].why, f.text);
}

int main(void)
{
	size_t n;
	char *text = data_file("small.digests", &n);

	golden(text, n);
	damaged(text, n);
	headers();
	free(text);
	return done();
}
