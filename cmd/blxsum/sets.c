// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <unistd.h>

#include "die.h"
#include "extlist.h"
#include "sets.h"

// One list that is being gone through.
struct walk {
	struct extlist_reader *in;
	struct extent e; // what is left of the extent that is being gone through
	bool more;
};

static _Noreturn void fail(const char *what, const struct fault *f)
{
	die(f->code, "%s: %s", what, f->text);
}

void set_new(struct set *s)
{
	*s = (struct set){.file = tmpfile()};
	if (!s->file)
		die_errno("temporary file");
}

int set_fd(const struct set *s)
{
	return fileno(s->file);
}

void set_free(struct set *s)
{
	if (s->file)
		fclose(s->file);
	s->file = NULL;
}

static void next(struct walk *w, const char *what)
{
	struct fault f;
	int got = extlist_next(w->in, &w->e, &f);

	if (got < 0)
		fail(what, &f);
	w->more = got;
}

static const struct head *begin(struct walk *w, const struct set *s, const char *what)
{
	const struct head *h;
	struct fault f;

	if (lseek(set_fd(s), 0, SEEK_SET))
		die_errno("%s", what);
	w->in = extlist_reader_new(set_fd(s));
	if (!w->in)
		die_errno("%s", what);
	if (extlist_head(w->in, &h, &f) < 0)
		fail(what, &f);
	next(w, what);
	return h;
}

void set_read(struct set *s, const char *what)
{
	struct walk w;
	const struct head *h = begin(&w, s, what);

	s->epoch = h->anonymous ? 0 : h->epoch;
	for (s->bytes = 0; w.more; next(&w, what))
		s->bytes += w.e.length;
	extlist_reader_free(w.in);
}

// Where what is left of W begins to be in the set, or ceases to be, at or after AT.
static uint64_t edge(const struct walk *w, uint64_t at)
{
	if (!w->more)
		return UINT64_MAX;
	return w->e.offset > at ? w->e.offset : w->e.offset + w->e.length;
}

static bool inside(const struct walk *w, uint64_t at)
{
	return w->more && w->e.offset <= at;
}

static bool keep(enum set_op op, bool a, bool b)
{
	return op == SET_OR ? a || b : op == SET_AND ? a && b : a && !b;
}

static void sweep(struct walk *a, enum set_op op, struct walk *b, struct extlist_writer *to)
{
	for (uint64_t at = 0; a->more || b->more;) {
		uint64_t ea = edge(a, at), eb = edge(b, at), end = ea < eb ? ea : eb;
		if (keep(op, inside(a, at), inside(b, at)) && end > at &&
		    extlist_put(to, (struct extent){at, end - at}))
			die_errno("temporary file");
		at = end;
		if (a->more && a->e.offset + a->e.length <= at)
			next(a, "set");
		if (b->more && b->e.offset + b->e.length <= at)
			next(b, "set");
	}
}

static void write_set(struct set *to, const struct head *head, struct walk *a, enum set_op op,
		      struct walk *b)
{
	struct extlist_writer w;

	set_new(to);
	if (extlist_begin(&w, to->file, head))
		die_errno("temporary file");
	sweep(a, op, b, &w);
	if (extlist_end(&w))
		die_errno("temporary file");
	to->bytes = w.bytes;
}

void set_empty(struct set *s, const struct head *head)
{
	struct walk none = {0};

	write_set(s, head, &none, SET_OR, &none);
}

void set_combine(struct set *to, const struct set *a, enum set_op op, const struct set *b,
		 const struct head *head)
{
	struct walk wa, wb;
	struct set result;

	begin(&wa, a, "set");
	begin(&wb, b, "set");
	write_set(&result, head, &wa, op, &wb);
	extlist_reader_free(wa.in);
	extlist_reader_free(wb.in);
	set_free(to);
	*to = result;
}

void set_print(const struct set *s)
{
	char buf[65536];
	size_t n;

	rewind(s->file);
	while ((n = fread(buf, 1, sizeof(buf), s->file)))
		if (fwrite(buf, 1, n, stdout) != n)
			die_stdout();
	if (ferror(s->file))
		die_errno("temporary file");
}
