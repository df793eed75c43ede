// SPDX-License-Identifier: BSD-2-Clause
// Digest lists: no line leaves the reader that breaks the rules of blx-digests(5), and what it
// takes whole, the writer writes again, the same.
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "sums.h"

enum { LINES_MAX = 4096 };

static void same_head(const struct sums_head *h)
{
	char text[SUMS_HEAD_MAX], back[SUMS_HEAD_MAX];
	struct sums_head again;
	struct fault f;
	size_t n = sums_head_format(h, text);

	fuzz_check(n < SUMS_HEAD_MAX && strlen(text) == n);
	fuzz_check(sums_head_parse(&again, text, n, &f) == 0);
	fuzz_check(sums_head_format(&again, back) == n && !memcmp(text, back, n));
}

// The lines written again read the same.
static void same_lines(const struct sums_head *h, const struct sums_line *l, size_t n)
{
	char *text = NULL;
	size_t bytes, i = 0;
	struct fault f;
	struct sums_head head;
	struct sums_line line;
	FILE *to = open_memstream(&text, &bytes);
	struct sums_writer *w = sums_begin(to, h, &f);

	fuzz_check(w != NULL);
	for (i = 0; i < n; i++)
		sums_put(w, &l[i]);
	fuzz_check(sums_end(w) == 0 && fclose(to) == 0);
	struct sums_reader *r = sums_reader_new(fuzz_fd((const uint8_t *)text, bytes), &f);
	fuzz_check(r && sums_reader_head(r, &head, &f) == 0);
	for (i = 0; sums_next(r, &line, &f) > 0; i++)
		fuzz_check(i < n && line.offset == l[i].offset && line.length == l[i].length &&
			   line.zero == l[i].zero &&
			   (line.zero ||
			    !memcmp(line.digest, l[i].digest, digest_size(h->algorithm))));
	fuzz_check(i == n);
	sums_reader_free(r);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct sums_line l[LINES_MAX];
	struct sums_head h;
	struct fault f;
	uint64_t end = 0;
	size_t n = 0;
	int got = -1;
	struct sums_reader *r = sums_reader_new(fuzz_fd(data, size), &f);

	if (!sums_reader_head(r, &h, &f)) {
		same_head(&h);
		fuzz_check(h.block >= SUMS_BLOCK_MIN && h.block <= SUMS_BLOCK_MAX);
		while (n < LINES_MAX && (got = sums_next(r, &l[n], &f)) > 0) {
			fuzz_check(l[n].offset == end && l[n].length &&
				   l[n].length <= h.size - end);
			fuzz_check(l[n].zero || l[n].length <= h.block);
			end += l[n++].length;
		}
		fuzz_check(got != 0 || end == h.size);
	}
	fuzz_check(got >= 0 || f.code == BLX_CORRUPT);
	sums_reader_free(r);
	if (!got)
		same_lines(&h, l, n);
	return 0;
}
