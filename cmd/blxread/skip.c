// SPDX-License-Identifier: BSD-2-Clause
// The pieces get as small as the device's blocks. Neighbours are one range in stream and list.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "die.h"
#include "io.h"
#include "skip.h"

enum { PAGE = 4096 };

// One read that failed, while it is looked into.
struct search {
	struct skip *k;
	const struct source *s;
	struct emit *to;
	struct extent want;
	uint64_t unit; // bytes: pieces are multiples of it
	struct fault *f;
};

static int open_file(struct skip *k, struct fault *f)
{
	if (output_open(&k->out, OUTPUT_LIST, k->name, f))
		return -1;
	k->to = fdopen(k->out.fd, "w");
	return k->to ? 0 : fault_errno(f, "%s", k->name);
}

int skip_init(struct skip *k, const char *name, bool together, const struct output *stream,
	      struct fault *f)
{
	*k = (struct skip){.name = name, .together = together, .stream = stream};
	return name ? open_file(k, f) : 0;
}

// EIO is what page cache and most drivers say; the block layer also knows of protection
// information, of a target's word, and file systems of their checksums.
bool skip_may(int error)
{
	return error == EIO || error == EILSEQ || error == EREMOTEIO || error == EUCLEAN ||
	       error == EBADMSG;
}

// The block layer's word for a bad sector is ENODATA (BLK_STS_MEDIUM).
static bool bad_sector(int error)
{
	return error == ENODATA || skip_may(error);
}

// What was asked for of [FROM, END).
static struct extent clip(const struct search *x, uint64_t from, uint64_t end)
{
	uint64_t until = x->want.offset + x->want.length;

	if (from < x->want.offset)
		from = x->want.offset;
	if (end > until)
		end = until;
	return (struct extent){from, end > from ? end - from : 0};
}

static int leave_out(const struct search *x, uint64_t from, uint64_t end)
{
	struct extent e = clip(x, from, end);

	if (!e.length)
		return 0;
	if (extlist_put(&x->k->list, e))
		return fault_errno(x->f, "%s", x->k->name);
	if (emit_bad(x->to, e.offset, e.length))
		output_die(x->k->stream);
	return 0;
}

static int look(const struct search *x, uint64_t from, uint64_t end);

static int halve(const struct search *x, uint64_t from, uint64_t end)
{
	uint64_t middle = from + (end - from) / 2 / x->unit * x->unit;

	if (middle == from)
		return leave_out(x, from, end);
	return look(x, from, middle) || look(x, middle, end) ? -1 : 0;
}

static int look(const struct search *x, uint64_t from, uint64_t end)
{
	ssize_t got = io_pread_full(x->s->fd, x->k->buf, (size_t)(end - from), from);
	struct extent e = clip(x, from, end);

	if (got < 0 && bad_sector(errno))
		return halve(x, from, end);
	if (got < 0)
		return fault_errno(x->f, "%s: read of %llu at %llu", x->s->name,
				   (unsigned long long)(end - from), (unsigned long long)from);
	if (from + (uint64_t)got < e.offset + e.length)
		return fault_set(x->f, BLX_SYSTEM, "%s: it ends at %llu", x->s->name,
				 (unsigned long long)(from + (uint64_t)got));
	struct readahead_chunk c = {e.offset, e.length, x->k->buf + (e.offset - from)};
	if (e.length && emit_chunk(x->to, &c))
		output_die(x->k->stream);
	return 0;
}

int skip_read(struct skip *k, const struct source *s, struct extent e, struct emit *to,
	      struct fault *f)
{
	struct search x = {k, s, to, e, s->is_device ? s->dev.logical_block : PAGE, f};
	uint64_t from = e.offset / x.unit * x.unit;
	uint64_t end = (e.offset + e.length + x.unit - 1) / x.unit * x.unit;

	if (!k->buf && !(k->buf = aligned_alloc(PAGE, READAHEAD_MAX)))
		return fault_errno(f, "memory");
	return halve(&x, from, end);
}

int skip_begin(struct skip *k, const struct head *h, struct fault *f)
{
	struct head list;

	if (!k->name)
		return 0;
	if (!k->to && open_file(k, f))
		return -1;
	head_init(&list);
	list.anonymous = true;
	list.size = list.limit = h->size;
	list.time = h->time;
	memcpy(list.name, h->name, sizeof(list.name));
	memcpy(list.label, h->label, sizeof(list.label));
	return extlist_begin(&k->list, k->to, &list) ? fault_errno(f, "%s: write", k->name) : 0;
}

int skip_end(struct skip *k, const struct source *s, struct fault *f)
{
	if (!k->name)
		return 0;
	if (extlist_end(&k->list))
		return fault_errno(f, "%s: write", k->name);
	if (k->list.count)
		warn("%s: %llu ranges, %llu bytes in all, could not be read: %s lists them",
		     s->name, (unsigned long long)k->list.count, (unsigned long long)k->list.bytes,
		     k->name);
	if (!k->together)
		skip_finish(k);
	return 0;
}

void skip_finish(struct skip *k)
{
	free(k->buf);
	k->buf = NULL;
	if (!k->to)
		return;
	k->out.fd = dup(k->out.fd); // of which output_finish() is the owner
	if (k->out.fd < 0 || fclose(k->to))
		die_errno("%s: write", k->name);
	k->to = NULL;
	output_finish(&k->out);
}
