// SPDX-License-Identifier: BSD-2-Clause
// blxread: the bytes of an extent list's ranges, as a block stream.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "die.h"
#include "emit.h"
#include "extlist.h"
#include "options.h"
#include "output.h"
#include "skip.h"
#include "source.h"
#include "used.h"

struct run {
	const struct options *o;
	struct output out;
	struct source source;
	struct emit emit;
	struct skip skip;
	const char *list; // that is being read; NULL: standard input
};

// The receiver must know that nothing more comes; if it cannot be told, the cut tells it. A file
// that is not finished nobody will see.
static _Noreturn void fail(struct run *r, const struct fault *f)
{
	struct fault named = *f;

	if (r->list)
		fault_set(&named, f->code, "%s: %s", r->list, f->text);
	if (!r->out.fresh)
		stream_write_abort(r->emit.to, named.code, named.text);
	die_fault(&named);
}

// Not even an ABORT may be written there.
static void refuse_itself(const struct run *r)
{
	if (source_is(&r->source, &r->out.old))
		die_usage("%s: is the output too", r->source.name);
	if (r->skip.to && source_is(&r->source, &r->skip.out.old))
		die_usage("%s: is the file of --skip-bad too", r->source.name);
}

// ---- one epoch

static void read_failed(struct run *r, const struct readahead_chunk *c, int error, struct fault *f)
{
	struct fault why = *f;

	if (!skip_may(error))
		fail(r, f);
	if (!r->skip.name) {
		fault_set(f, why.code, "%s; --skip-bad FILE goes on without what cannot be read",
			  why.text);
		fail(r, f);
	}
	if (skip_read(&r->skip, &r->source, (struct extent){c->offset, c->length}, &r->emit, f))
		fail(r, f);
}

// false: nothing is queued any more.
static bool emit_oldest(struct run *r)
{
	struct readahead_chunk c;
	struct fault f;
	int got = source_next(&r->source, &c, &f);

	if (got < 0)
		read_failed(r, &c, errno, &f);
	else if (!got)
		return false;
	else if (emit_chunk(&r->emit, &c))
		output_die(&r->out);
	readahead_release(r->source.ahead);
	return true;
}

static void read_extent(struct run *r, struct extent e)
{
	struct fault f;

	for (;;) {
		if (source_queue(&r->source, &e, &f))
			fail(r, &f);
		if (!e.length)
			return;
		emit_oldest(r);
	}
}

static void put_hole(struct run *r, uint64_t offset, uint64_t n)
{
	while (!readahead_put_hole(r->source.ahead, offset, n))
		emit_oldest(r);
}

// Of what the receiver has nothing of yet, what is not in use goes as zeroes.
static void read_used(struct run *r, struct used *u, struct extent e)
{
	struct fault f;
	uint64_t n;

	for (; e.length; e.offset += n, e.length -= n) {
		int in_use = used_piece(u, e, &n, &f);
		if (in_use < 0)
			fail(r, &f);
		if (in_use)
			read_extent(r, (struct extent){e.offset, n});
		else
			put_hole(r, e.offset, n);
	}
}

static void begin(struct run *r, const struct head *h)
{
	struct fault f;

	source_rewind(&r->source);
	if (skip_begin(&r->skip, h, &f))
		fail(r, &f);
	if (stream_write_head(r->emit.to, h))
		output_die(&r->out);
}

static void commit(struct run *r)
{
	struct fault f;

	while (emit_oldest(r))
		;
	if (emit_flush(&r->emit))
		output_die(&r->out);
	if (skip_end(&r->skip, &r->source, &f))
		fail(r, &f);
	if (stream_write_commit(r->emit.to))
		output_die(&r->out);
}

// ---- where the extents come from

static void anonymous_head(const struct run *r, struct head *h, int64_t when, const char *label)
{
	head_init(h);
	h->anonymous = true;
	h->size = h->limit = r->source.size;
	h->time = when;
	snprintf(h->label, sizeof(h->label), "%s", r->o->label ? r->o->label : label);
}

static void read_whole(struct run *r)
{
	struct head h;

	anonymous_head(r, &h, time(NULL), "");
	r->emit.progress.total = h.size;
	begin(r, &h);
	read_extent(r, (struct extent){0, h.size});
	commit(r);
}

static void read_plain(struct run *r)
{
	struct extent *e;
	struct fault f;
	struct head h;
	size_t n;

	if (extlist_plain(STDIN_FILENO, r->source.size, &e, &n, &f))
		fail(r, &f);
	anonymous_head(r, &h, time(NULL), "");
	for (size_t i = 0; i < n; i++)
		r->emit.progress.total += e[i].length;
	begin(r, &h);
	for (size_t i = 0; i < n; i++)
		read_extent(r, e[i]);
	commit(r);
	free(e);
}

static int same_head(struct head *to, const struct head *from, const char *label)
{
	if (head_copy(to, from))
		return -1;
	if (label)
		snprintf(to->label, sizeof(to->label), "%s", label);
	return 0;
}

// The header of the stream that a list becomes; its device is open then.
static void head_of_list(struct run *r, const struct head *list, struct head *h)
{
	const struct options *o = r->o;
	struct fault f;

	if (o->anonymous) {
		anonymous_head(r, h, list->time, list->label);
		return;
	}
	if (list->anonymous) {
		fault_set(&f, BLX_USAGE, "the list is anonymous: use -a and name the device");
		fail(r, &f);
	}
	if (source_open_listed(&r->source, list, o->path, o->threads, &f))
		fail(r, &f);
	refuse_itself(r);
	if (same_head(h, list, o->label)) {
		fault_errno(&f, "list's header");
		fail(r, &f);
	}
}

static void read_list(struct run *r, struct extlist_reader *in, const struct head *list)
{
	struct extent e;
	struct used used;
	struct fault f;
	struct head h;
	int got;

	head_init(&h);
	head_of_list(r, list, &h);
	// Only now: what is in use from here on and was not before is written in a later epoch.
	bool ask = r->o->used && h.cursor < h.size;
	if (ask && used_open(&used, r->source.name, h.size, &f))
		fail(r, &f);
	begin(r, &h);
	while ((got = extlist_next(in, &e, &f)) == 1) {
		if (e.offset + e.length > h.size) {
			fault_set(&f, BLX_TARGET, "%s: extent %llu %llu is beyond its end at %llu",
				  r->source.name, (unsigned long long)e.offset,
				  (unsigned long long)e.length, (unsigned long long)h.size);
			fail(r, &f);
		}
		uint64_t below = !ask ? e.length : e.offset < h.cursor ? h.cursor - e.offset : 0;
		if (below > e.length)
			below = e.length;
		read_extent(r, (struct extent){e.offset, below});
		if (below < e.length)
			read_used(r, &used, (struct extent){e.offset + below, e.length - below});
	}
	if (got < 0 || (ask && used_close(&used, &f)))
		fail(r, &f);
	commit(r);
	head_free(&h);
}

static void read_lists(struct run *r, int fd)
{
	struct extlist_reader *in = extlist_reader_new(fd);
	const struct head *list;
	struct fault f;
	int got;

	if (!in)
		die_errno("extent list");
	extlist_reader_watch(in, r->out.fd);
	while ((got = extlist_head(in, &list, &f)) == 1)
		read_list(r, in, list);
	if (got < 0 && f.code == BLX_SYSTEM && errno == EPIPE)
		output_die(&r->out);
	if (got < 0)
		fail(r, &f);
	extlist_reader_free(in);
}

// A stream of each, one after the other.
static void read_files(struct run *r)
{
	struct fault f;

	for (int i = 0; i < r->o->nlists; i++) {
		r->list = r->o->lists[i];
		if (i && (stream_write_end(r->emit.to) || stream_writer_next(r->emit.to)))
			output_die(&r->out);
		int fd = open(r->list, O_RDONLY | O_CLOEXEC);
		if (fd < 0) {
			r->list = NULL;
			fault_errno(&f, "%s: open", r->o->lists[i]);
			fail(r, &f);
		}
		read_lists(r, fd);
		close(fd);
		source_close(&r->source);
		r->source = (struct source){.fd = -1};
	}
}

int main(int argc, char **argv)
{
	struct options o = {0};
	struct run r = {.o = &o, .source = {.fd = -1}};
	struct fault f;

	signal(SIGPIPE, SIG_IGN);
	parse_options(&o, argc, argv);
	if (output_open(&r.out, OUTPUT_STREAM, o.out, &f))
		die_fault(&f);
	r.emit.to = stream_writer_new(r.out.fd);
	if (!r.emit.to)
		die_errno("stream");
	// whatever fails from here on, the receiver is told
	if (skip_init(&r.skip, o.skip, o.nlists, &r.out, &f))
		fail(&r, &f);
	rate_init(&r.emit.rate, o.rate);
	progress_init(&r.emit.progress, o.progress, 0);
	if (o.anonymous && source_open(&r.source, o.path, o.threads, &f))
		fail(&r, &f);
	if (o.anonymous)
		refuse_itself(&r);
	if (o.whole)
		read_whole(&r);
	else if (o.plain)
		read_plain(&r);
	else if (o.nlists)
		read_files(&r);
	else
		read_lists(&r, STDIN_FILENO);
	skip_finish(&r.skip);
	if (stream_write_end(r.emit.to))
		output_die(&r.out);
	progress_end(&r.emit.progress);
	stream_writer_free(r.emit.to);
	source_close(&r.source);
	output_finish(&r.out);
	return BLX_OK;
}
