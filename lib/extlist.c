// SPDX-License-Identifier: BSD-2-Clause
// Extent lists: a strict reader of our own, a lenient one of what people and awk write, and a
// writer.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "extlist.h"
#include "lines.h"
#include "num.h"

enum { PLAIN_MAX = 2 << 20, PLAIN_ROOM = 3 << 20 }; // extents after merging, and before

struct extlist_reader {
	struct lines *lines;
	struct head heads[2]; // this list's and the one before
	unsigned int which;
	bool inside;    // between a header and its end line
	char *pending;  // the line that ended the header
	uint64_t lists; // begun
	uint64_t end;   // of the extent before
	uint64_t count, bytes;
};

struct extlist_reader *extlist_reader_new(int fd)
{
	struct extlist_reader *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->lines = lines_new(fd);
	if (!r->lines) {
		free(r);
		return NULL;
	}
	return r;
}

void extlist_reader_free(struct extlist_reader *r)
{
	if (!r)
		return;
	head_free(&r->heads[0]);
	head_free(&r->heads[1]);
	lines_free(r->lines);
	free(r);
}

void extlist_reader_watch(struct extlist_reader *r, int out)
{
	lines_watch(r->lines, out);
}

static int bad(const struct lines *l, struct fault *f, const char *what, const char *line)
{
	return fault_set(f, BLX_CORRUPT, "line %llu: %s: %.100s",
			 (unsigned long long)lines_number(l), what, line);
}

static int cut(const struct lines *l, struct fault *f)
{
	return fault_set(f, BLX_CORRUPT, "cut after line %llu: the list has no end line",
			 (unsigned long long)lines_number(l));
}

// ---- our own lists

static const char end_key[] = "# end: ";

static bool is_end(const char *line)
{
	return !strncmp(line, end_key, sizeof(end_key) - 1);
}

int extlist_head(struct extlist_reader *r, const struct head **h, struct fault *f)
{
	struct head *head = &r->heads[r->which ^ 1];
	char *line;
	int n;

	if (r->inside)
		return fault_set(f, BLX_SYSTEM, "extlist_head: called inside a list");
	head_free(head);
	n = lines_next(r->lines, &line, -1, f);
	if (n <= 0)
		return n < 0      ? -1
		       : r->lists ? 0
				  : fault_set(f, BLX_CORRUPT, "empty input, not an extent list");
	if (head_line(head, line, lines_number(r->lines), f))
		return -1;
	while ((n = lines_next(r->lines, &line, -1, f)) > 0 && line[0] == '#' && !is_end(line))
		if (head_line(head, line, lines_number(r->lines), f))
			return -1;
	if (n <= 0)
		return n < 0 ? -1 : cut(r->lines, f);
	if (head_check(head, f))
		return -1;
	r->pending = line;
	r->inside = true;
	r->lists++;
	r->which ^= 1;
	r->end = r->count = r->bytes = 0;
	*h = head;
	return 1;
}

// The next word of *p, cut off in place; NULL at the end of the line.
static char *column(char **p)
{
	char *word = *p + strspn(*p, " \t");
	char *end = word + strcspn(word, " \t");

	if (word == end)
		return NULL;
	*p = *end ? end + 1 : end;
	*end = 0;
	return word;
}

// The first two columns. The line is cut up: the words of a fault quote a copy of it.
static int parse_extent(char *line, int (*num)(const char *, uint64_t *), struct extent *e)
{
	char *offset = column(&line), *length = column(&line);
	uint64_t end;

	if (!offset || !length || num(offset, &e->offset) || num(length, &e->length) || !e->length)
		return -1;
	return __builtin_add_overflow(e->offset, e->length, &end) ? -1 : 0;
}

static int end_line(struct extlist_reader *r, const char *line, struct fault *f)
{
	char text[64];

	snprintf(text, sizeof(text), "%s%llu %llu", end_key, (unsigned long long)r->count,
		 (unsigned long long)r->bytes);
	if (strcmp(line, text)) {
		char what[128];
		snprintf(what, sizeof(what), "the counts do not agree, %s expected", text + 2);
		return bad(r->lines, f, what, line);
	}
	r->inside = false;
	return 0;
}

int extlist_next(struct extlist_reader *r, struct extent *e, struct fault *f)
{
	const struct head *h = &r->heads[r->which];
	char *line = r->pending, quote[104];

	if (!r->inside)
		return fault_set(f, BLX_SYSTEM, "extlist_next: called outside of a list");
	r->pending = NULL;
	if (!line) {
		int n = lines_next(r->lines, &line, -1, f);
		if (n <= 0)
			return n < 0 ? -1 : cut(r->lines, f);
	}
	if (is_end(line))
		return end_line(r, line, f);
	snprintf(quote, sizeof(quote), "%s", line);
	if (line[0] == ' ' || line[0] == '\t' || parse_extent(line, num_u64, e))
		return bad(r->lines, f, "not an 'OFFSET LENGTH' line", quote);
	if (r->count && e->offset < r->end)
		return bad(r->lines, f, "overlaps the extent before it, or is out of order", quote);
	if (r->count && e->offset == r->end)
		return bad(r->lines, f, "touches the extent before it: not coalesced", quote);
	if (e->offset + e->length > h->limit)
		return bad(r->lines, f,
			   h->limit < h->size ? "ends beyond the list's limit"
					      : "ends beyond the device",
			   quote);
	r->end = e->offset + e->length;
	r->count++;
	r->bytes += e->length;
	return 1;
}

// ---- plain lists

struct plain {
	struct extent *e;
	size_t n, room;
};

static void sift(struct extent *e, size_t at, size_t n)
{
	struct extent moved = e[at];

	for (size_t child; (child = 2 * at + 1) < n; at = child) {
		if (child + 1 < n && e[child].offset < e[child + 1].offset)
			child++;
		if (e[child].offset <= moved.offset)
			break;
		e[at] = e[child];
	}
	e[at] = moved;
}

// By offset. Heapsort: qsort(3) would take as much memory again.
static void sort(struct extent *e, size_t n)
{
	size_t i = 1;

	while (i < n && e[i - 1].offset <= e[i].offset)
		i++;
	if (i >= n)
		return;
	for (i = n / 2; i--;)
		sift(e, i, n);
	for (i = n; i-- > 1;) {
		struct extent last = e[i];
		e[i] = e[0];
		e[0] = last;
		sift(e, 0, i);
	}
}

// Take E into the extent before it if they overlap or touch and E does not begin earlier.
static bool join(struct extent *before, struct extent e)
{
	uint64_t end = before->offset + before->length;

	if (e.offset < before->offset || e.offset > end)
		return false;
	if (e.offset + e.length > end)
		before->length = e.offset + e.length - before->offset;
	return true;
}

static void merge(struct plain *h)
{
	size_t n = 0;

	sort(h->e, h->n);
	for (size_t i = 0; i < h->n; i++)
		if (!n || !join(&h->e[n - 1], h->e[i]))
			h->e[n++] = h->e[i];
	h->n = n;
}

static int too_many(struct fault *f)
{
	return fault_set(f, BLX_USAGE, "more than %d extents in a plain list: sort and split it",
			 PLAIN_MAX);
}

static int add(struct plain *h, struct extent e, struct fault *f)
{
	if (h->n && join(&h->e[h->n - 1], e))
		return 0;
	if (h->n == PLAIN_ROOM) {
		merge(h);
		if (h->n > PLAIN_MAX)
			return too_many(f);
	}
	if (h->n == h->room) {
		size_t room = !h->room ? 1024 : 2 * h->room > PLAIN_ROOM ? PLAIN_ROOM : 2 * h->room;
		struct extent *more = realloc(h->e, room * sizeof(*more));
		if (!more)
			return fault_errno(f, "plain list");
		h->e = more;
		h->room = room;
	}
	h->e[h->n++] = e;
	return 0;
}

static int plain_line(const struct lines *l, char *line, uint64_t size, struct plain *h,
		      struct fault *f)
{
	struct extent e;
	char quote[104];
	const char *text = line + strspn(line, " \t");

	if (!*text || *text == '#')
		return 0;
	snprintf(quote, sizeof(quote), "%s", line);
	if (parse_extent(line, num_u64_hex, &e))
		return bad(l, f, "not an 'OFFSET LENGTH' line", quote);
	if (e.offset + e.length > size)
		return fault_set(f, BLX_TARGET, "line %llu: goes beyond the end at %llu: %s",
				 (unsigned long long)lines_number(l), (unsigned long long)size,
				 quote);
	return add(h, e, f);
}

int extlist_plain(int fd, uint64_t size, struct extent **e, size_t *n, struct fault *f)
{
	struct lines *l = lines_new(fd);
	struct plain h = {0};
	char *line;
	int r;

	if (!l)
		return fault_errno(f, "plain list");
	while ((r = lines_next(l, &line, -1, f)) > 0)
		if (plain_line(l, line, size, &h, f)) {
			r = -1;
			break;
		}
	lines_free(l);
	if (!r) {
		merge(&h);
		if (!h.n)
			r = fault_set(f, BLX_CORRUPT, "empty input: not a single extent");
		else if (h.n > PLAIN_MAX)
			r = too_many(f);
	}
	if (r) {
		free(h.e);
		return -1;
	}
	*e = h.e;
	*n = h.n;
	return 0;
}

// ---- writing

int extlist_begin(struct extlist_writer *w, FILE *to, const struct head *h)
{
	size_t n;
	char *text = head_format(h, &n);

	*w = (struct extlist_writer){.to = to};
	if (!text)
		return -1;
	size_t done = fwrite(text, 1, n, to);
	free(text);
	return done == n ? 0 : -1;
}

static int put_run(struct extlist_writer *w)
{
	if (!w->run.length)
		return 0;
	w->count++;
	w->bytes += w->run.length;
	return fprintf(w->to, "%llu %llu\n", (unsigned long long)w->run.offset,
		       (unsigned long long)w->run.length) < 0
		       ? -1
		       : 0;
}

int extlist_put(struct extlist_writer *w, struct extent e)
{
	uint64_t end = w->run.offset + w->run.length, sum;

	if (!e.length || e.offset < end || __builtin_add_overflow(e.offset, e.length, &sum)) {
		errno = EINVAL;
		return -1;
	}
	if (w->run.length && e.offset == end) {
		w->run.length += e.length;
		return 0;
	}
	if (put_run(w))
		return -1;
	w->run = e;
	return 0;
}

int extlist_end(struct extlist_writer *w)
{
	if (put_run(w) || fprintf(w->to, "%s%llu %llu\n", end_key, (unsigned long long)w->count,
				  (unsigned long long)w->bytes) < 0)
		return -1;
	return fflush(w->to) ? -1 : 0;
}
