// SPDX-License-Identifier: BSD-2-Clause
// Digest lists: a strict reader and a writer.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lines.h"
#include "num.h"
#include "sums.h"

typedef unsigned long long ull;

static const char end_key[] = "# end: ";

// ---- reading

struct sums_reader {
	struct lines *lines;
	struct digest *all; // of the lines
	struct sums_head head;
	char *pending; // the line that ended the header
	uint64_t next; // where the next line must begin
	uint64_t count;
	bool after_zero; // the line before was one of zeroes
};

struct sums_reader *sums_reader_new(int fd, struct fault *f)
{
	struct sums_reader *r = calloc(1, sizeof(*r));

	if (r && (r->lines = lines_new(fd)))
		return r;
	fault_errno(f, "digest list");
	free(r);
	return NULL;
}

void sums_reader_free(struct sums_reader *r)
{
	if (!r)
		return;
	lines_free(r->lines);
	digest_free(r->all);
	free(r);
}

static int bad(const struct sums_reader *r, struct fault *f, const char *what, const char *line)
{
	return fault_set(f, BLX_CORRUPT, "line %llu: %s: %.100s", (ull)lines_number(r->lines), what,
			 line);
}

static int cut(const struct sums_reader *r, struct fault *f)
{
	return fault_set(f, BLX_CORRUPT, "cut after line %llu: the digest list has no end line",
			 (ull)lines_number(r->lines));
}

static bool is_end(const char *line)
{
	return !strncmp(line, end_key, sizeof(end_key) - 1);
}

int sums_reader_head(struct sums_reader *r, struct sums_head *h, struct fault *f)
{
	uint32_t seen = 0;
	char *line;
	int n;

	while ((n = lines_next(r->lines, &line, -1, f)) > 0) {
		if (seen && (line[0] != '#' || is_end(line)))
			break;
		if (sums_head_line(&r->head, &seen, line, lines_number(r->lines), f))
			return -1;
	}
	if (n < 0)
		return -1;
	if (!n)
		return seen ? cut(r, f)
			    : fault_set(f, BLX_CORRUPT, "empty input, not a digest list");
	if (sums_head_check(&r->head, seen, f))
		return -1;
	r->pending = line;
	*h = r->head;
	r->all = digest_new(h->algorithm, f);
	if (!r->all)
		return -1;
	digest_begin(r->all);
	return 0;
}

// Cut off the word up to the next blank, of which there is exactly one; NULL if there is none.
static char *cut_word(char **p)
{
	char *word = *p, *blank = strchr(word, ' ');

	if (!blank)
		return NULL;
	*blank = 0;
	*p = blank + 1;
	return word;
}

static int parse_line(const struct sums_reader *r, char *line, struct sums_line *l)
{
	char *offset = cut_word(&line), *length = offset ? cut_word(&line) : NULL;

	if (!length || num_u64(offset, &l->offset) || num_u64(length, &l->length))
		return -1;
	l->zero = !strcmp(line, "zero");
	return l->zero ? 0 : digest_parse(line, digest_size(r->head.algorithm), l->digest);
}

// Why a line cannot stand here, or NULL.
static const char *misplaced(const struct sums_reader *r, const struct sums_line *l)
{
	const struct sums_head *h = &r->head;

	if (l->offset != r->next)
		return "does not begin where the line before ends";
	if (!l->length || l->length > h->size - r->next)
		return "ends beyond the size, or nowhere";
	if (l->length % h->block && l->offset + l->length != h->size)
		return "not whole blocks";
	if (!l->zero && l->length > h->block)
		return "more than one block";
	return l->zero && r->after_zero ? "touches the zeroes before it" : NULL;
}

static int end_line(struct sums_reader *r, char *line, struct fault *f)
{
	uint8_t digest[DIGEST_MAX];
	char text[DIGEST_TEXT], want[sizeof(end_key) + 24 + DIGEST_TEXT];

	if (r->next != r->head.size)
		return bad(r, f, "the lines before it do not reach the size", line);
	digest_end(r->all, digest);
	digest_format(digest, digest_size(r->head.algorithm), text);
	snprintf(want, sizeof(want), "%s%llu %s", end_key, (ull)r->count, text);
	if (strcmp(line, want))
		return bad(r, f, "count or digest do not agree with the lines before it", line);
	int more = lines_next(r->lines, &line, -1, f);
	return more > 0 ? bad(r, f, "follows the end line", line) : more;
}

int sums_next(struct sums_reader *r, struct sums_line *l, struct fault *f)
{
	char *line = r->pending, quote[104];

	r->pending = NULL;
	if (!line) {
		int n = lines_next(r->lines, &line, -1, f);
		if (n <= 0)
			return n < 0 ? -1 : cut(r, f);
	}
	if (is_end(line))
		return end_line(r, line, f);
	snprintf(quote, sizeof(quote), "%s", line);
	digest_add(r->all, line, strlen(line));
	digest_add(r->all, "\n", 1);
	if (parse_line(r, line, l))
		return bad(r, f, "not an 'OFFSET LENGTH DIGEST' line", quote);
	const char *why = misplaced(r, l);
	if (why)
		return bad(r, f, why, quote);
	r->next = l->offset + l->length;
	r->after_zero = l->zero;
	r->count++;
	return 1;
}

// ---- writing

struct sums_writer {
	FILE *to;
	struct digest *all;
	size_t digest_size;
	uint64_t zero_at, zero; // a run of zeroes that is not written yet
	uint64_t count;
};

struct sums_writer *sums_begin(FILE *to, const struct sums_head *h, struct fault *f)
{
	char text[SUMS_HEAD_MAX];
	struct sums_writer *w = calloc(1, sizeof(*w));

	if (!w) {
		fault_errno(f, "digest list");
		return NULL;
	}
	w->to = to;
	w->digest_size = digest_size(h->algorithm);
	w->all = digest_new(h->algorithm, f);
	if (!w->all) {
		free(w);
		return NULL;
	}
	digest_begin(w->all);
	sums_head_format(h, text);
	fputs(text, to);
	return w;
}

static void put_line(struct sums_writer *w, uint64_t offset, uint64_t length, const char *what)
{
	char line[64 + DIGEST_TEXT];
	int n = snprintf(line, sizeof(line), "%llu %llu %s\n", (ull)offset, (ull)length, what);

	digest_add(w->all, line, (size_t)n);
	fputs(line, w->to);
	w->count++;
}

static void put_zeroes(struct sums_writer *w)
{
	if (w->zero)
		put_line(w, w->zero_at, w->zero, "zero");
	w->zero = 0;
}

void sums_put(struct sums_writer *w, const struct sums_line *l)
{
	char text[DIGEST_TEXT];

	if (l->zero) {
		w->zero_at = w->zero ? w->zero_at : l->offset;
		w->zero += l->length;
		return;
	}
	put_zeroes(w);
	digest_format(l->digest, w->digest_size, text);
	put_line(w, l->offset, l->length, text);
}

int sums_end(struct sums_writer *w)
{
	uint8_t digest[DIGEST_MAX];
	char text[DIGEST_TEXT];

	put_zeroes(w);
	digest_end(w->all, digest);
	digest_format(digest, w->digest_size, text);
	fprintf(w->to, "%s%llu %s\n", end_key, (ull)w->count, text);
	int bad = fflush(w->to) || ferror(w->to);
	int keep = errno;
	digest_free(w->all);
	free(w);
	errno = keep;
	return bad ? -1 : 0;
}
