// SPDX-License-Identifier: BSD-2-Clause
// blxtrack commit: acks move a consumer's position; nothing else does.
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ack.h"
#include "blxtrack.h"
#include "die.h"
#include "lines.h"
#include "options.h"

static void usage(FILE *to)
{
	fputs("usage: blxtrack commit [-c CONSUMER] [--timeout SECONDS] DEV...\n"
	      "  -c, --consumer NAME     whose position the acks move (default: default)\n"
	      "      --timeout SECONDS   give up when no ack came for so long\n"
	      "  -h, --help              this text\n"
	      "The acks of several devices may come in any order; each must be acked.\n",
	      to);
}

static int check_binding(const struct tracked *t, const struct consumer *c, const struct ack *a,
			 struct fault *f)
{
	char theirs[UUID_TEXT], ours[UUID_TEXT];

	if (!token_equal(&a->lineage, &t->lineage)) {
		uuid_format(&a->lineage, theirs);
		uuid_format(&t->lineage, ours);
		return fault_set(f, BLX_TARGET, "ack of lineage %s; %s is tracked under %s", theirs,
				 t->dev.name, ours);
	}
	if (a->major != t->dev.major || a->minor != t->dev.minor)
		return fault_set(f, BLX_TARGET, "ack for device %u:%u, not %s (%u:%u)", a->major,
				 a->minor, t->dev.name, t->dev.major, t->dev.minor);
	if (strcmp(a->consumer, c->name))
		return fault_set(f, BLX_TARGET, "ack for consumer %s, not %s", a->consumer,
				 c->name);
	return 0;
}

static void take_done(struct consumer *c, const struct stamp *s)
{
	c->epoch = s->epoch;
	c->has_base = true;
	c->base = s->token;
	c->cursor = s->size;
	c->has_partial = c->resync = false;
	c->extra[EXTRA_RESYNC] = 0;
	c->acked = s->time;
}

static bool take_upto(struct consumer *c, const struct stamp *s, uint64_t offset)
{
	if (c->has_partial && (offset < c->partial_upto || s->epoch < c->partial_epoch ||
			       (s->epoch == c->partial_epoch && offset == c->partial_upto)))
		return false;
	c->has_partial = true;
	c->partial = s->token;
	c->partial_epoch = s->epoch;
	c->partial_upto = offset;
	if (c->cursor < s->size && c->cursor < offset)
		c->cursor = offset;
	return true;
}

// What is to come again, once the epoch of an ack is durable below OFFSET (UINT64_MAX: all of it):
// what it could not read, and what lay beyond, the block that OFFSET is in the middle of included,
// or was asked for after its list was made.
static int take_unread(const struct tracked *t, struct consumer *c, const struct stamp *s,
		       uint64_t offset, const struct unread *u, struct fault *f)
{
	struct extra_writer w;
	struct bitfile old;
	uint64_t keep = s->epoch <= c->again_epoch ? 0 : offset / t->block;
	size_t n = token_equal(&u->token, &s->token) ? u->all.n : 0;

	if (!n && (!c->extra[EXTRA_AGAIN] || !keep))
		return 0;
	int had = extra_open(&old, t, c, EXTRA_AGAIN, f);
	int bad = had < 0 || extra_begin(&w, t, f) ? -1 : 0;
	if (!bad && extra_merge(&w, u->all.e, n, had ? &old : NULL, keep, f)) {
		extra_drop(&w);
		bad = -1;
	}
	if (had > 0)
		bitfile_close(&old);
	if (bad)
		return -1;
	if (n && c->again_epoch < s->epoch)
		c->again_epoch = s->epoch;
	return extra_end(&w, c, EXTRA_AGAIN, f);
}

// The accept rule of model/protocol.py, P.commit. What is late or repeated changes nothing.
static int move(const struct tracked *t, struct consumer *c, const struct ack *a,
		const struct unread *u, struct fault *f)
{
	struct delta *d;
	size_t n;
	bool moved = false;

	if (a->epoch <= c->epoch || (c->resync && a->epoch <= c->resync_epoch))
		return 0;
	size_t told = token_equal(&u->token, &a->token) ? u->all.n : 0;
	if (told != a->unread)
		return fault_set(f, BLX_CORRUPT,
				 "ack of epoch %" PRIu64 " rests on %" PRIu64
				 " ranges that could not be read, but %zu were told",
				 a->epoch, a->unread, told);
	if (delta_all(t, c->epoch, &d, &n, f))
		return -1;
	const struct stamp *s = delta_stamp(d, n, &a->token);
	int bad = 0;
	if (!s || s->epoch != a->epoch || (a->kind == ACK_UPTO && a->offset > s->size)) {
		bad = fault_set(f, BLX_TARGET,
				"ack of epoch %" PRIu64 " with a token that was never issued",
				a->epoch);
	} else if (a->kind == ACK_DONE) {
		bad = take_unread(t, c, s, UINT64_MAX, u, f);
		take_done(c, s);
		moved = true;
	} else if (take_upto(c, s, a->offset)) {
		bad = take_unread(t, c, s, a->offset, u, f);
		moved = true;
	}
	delta_all_free(d, n);
	if (moved && !bad)
		bad = consumer_save(t, c, f) || extra_tidy(t, c, f) || flip_tidy(t, f) ? -1 : 0;
	return bad;
}

static int take_ack(const struct awaited *w, const char *consumer, const struct ack *a,
		    struct fault *f)
{
	struct consumer c;
	struct session s;

	if (session_open(&s, (char *[]){(char *)w->dev}, 1, f))
		return -1;
	struct tracked *t = s.want[0];
	int bad = consumer_load(t, consumer, &c, f);
	if (!bad && (t->lost[0] || c.lost))
		bad = fault_set(f, BLX_RESYNC, "%s: tracking is incomplete: %s", t->dev.name,
				t->lost[0] ? t->lost : "its history is lost");
	bad = bad || check_binding(t, &c, a, f) || move(t, &c, a, &w->unread, f);
	session_close(&s);
	return bad ? -1 : 0;
}

// Ranges are kept until the ack comes that they belong to.
static int remember_unread(struct unread *u, const struct ack *a, struct fault *f)
{
	enum { UNREAD_MAX = 1 << 20 };

	if (!token_equal(&u->token, &a->token))
		u->all.n = 0;
	u->token = a->token;
	const struct extent *last = u->all.n ? &u->all.e[u->all.n - 1] : NULL;
	if (last && a->offset < last->offset + last->length)
		return fault_set(f, BLX_CORRUPT, "unread ranges do not ascend");
	return extents_add(&u->all, (struct extent){a->offset, a->length}, UNREAD_MAX)
		       ? fault_errno(f, "unread ranges")
		       : 0;
}

static void fail(struct verdict *v, const struct awaited *w, enum blx_exit code, const char *fmt,
		 ...) __attribute__((format(printf, 4, 5)));

static void fail(struct verdict *v, const struct awaited *w, enum blx_exit code, const char *fmt,
		 ...)
{
	va_list ap;

	if (v->code)
		return; // the first failure tells most
	v->code = code;
	v->dev = w ? w->dev : NULL;
	va_start(ap, fmt);
	vsnprintf(v->why, sizeof(v->why), fmt, ap);
	va_end(ap);
}

// Whose ack it is. A single device's own words say what does not fit.
static struct awaited *find(struct awaited *w, size_t n, const struct ack *a)
{
	if (n == 1)
		return w;
	for (size_t i = 0; i < n && a->bound; i++)
		if (w[i].major == a->major && w[i].minor == a->minor)
			return &w[i];
	return NULL;
}

static void take_line(struct awaited *all, size_t n, const char *consumer, const char *line,
		      uint64_t number, struct verdict *v)
{
	struct ack a;
	struct fault f;

	if (ack_parse(line, &a, &f)) {
		fail(v, n == 1 ? all : NULL, f.code, "acks, line %" PRIu64 ": %.250s", number,
		     f.text);
		return;
	}
	struct awaited *w = find(all, n, &a);
	if (a.kind == ACK_FAILED) {
		v->told = true;
		fail(v, w, a.code, "the receiver: %s", a.why);
	} else if (!w) {
		fail(v, NULL, BLX_TARGET, "ack for device %u:%u, which is none of those named",
		     a.major, a.minor);
	} else if (a.kind == ACK_UNREAD) {
		if (remember_unread(&w->unread, &a, &f))
			fail(v, w, f.code, "%s", f.text);
	} else if (take_ack(w, consumer, &a, &f)) {
		fail(v, w, f.code, "%s", f.text);
	} else if ((a.kind == ACK_DONE || a.last) && a.epoch >= w->epoch) {
		w->done = true;
	}
}

struct awaited *awaited_new(const struct session *s)
{
	struct awaited *a = calloc(s->nwant, sizeof(*a));

	for (size_t i = 0; a && i < s->nwant; i++)
		a[i] = (struct awaited){.dev = s->names[i],
					.major = s->want[i]->dev.major,
					.minor = s->want[i]->dev.minor};
	return a;
}

void awaited_free(struct awaited *a, size_t n)
{
	for (size_t i = 0; i < n; i++)
		extents_free(&a[i].unread.all);
	free(a);
}

void commit_acks(struct awaited *a, size_t n, const char *consumer, int fd, int stop,
		 uint64_t timeout_s, struct verdict *v)
{
	struct lines *in = lines_new(fd);
	struct fault f;
	char *line;
	int got = -1;

	*v = (struct verdict){0};
	if (!in)
		die_errno("acks");
	lines_watch(in, stop);
	int timeout_ms = !timeout_s ? -1 : timeout_s > 2000000 ? 2000000000 : (int)timeout_s * 1000;
	while ((got = lines_next(in, &line, timeout_ms, &f)) == 1)
		take_line(a, n, consumer, line, lines_number(in), v);
	v->gave_up = got < 0;
	if (got < 0)
		fail(v, n == 1 ? a : NULL, f.code, "acks: %.300s", f.text);
	lines_free(in);
	for (size_t i = 0; i < n; i++)
		if (!a[i].done)
			fail(v, &a[i], BLX_SYSTEM,
			     "the pipe ended without an ack that the epoch is applied");
}

static int check_lost(const struct awaited *a, const char *consumer)
{
	struct session s;
	struct consumer c;
	struct fault f;
	int code = 0;

	if (!session_open(&s, (char *[]){(char *)a->dev}, 1, &f)) {
		if (s.want[0]->lost[0]) {
			warn("%s: tracking is incomplete: %s", a->dev, s.want[0]->lost);
			code = BLX_RESYNC;
		} else if (!consumer_load(s.want[0], consumer, &c, &f) && c.lost) {
			warn("%s: the history that consumer %s had is lost", a->dev, consumer);
			code = BLX_RESYNC;
		}
		session_close(&s);
	} else if (f.code == BLX_RESYNC) {
		warn("%s", f.text);
		code = BLX_RESYNC;
	}
	return code;
}

int verdict_report(const struct verdict *v, const struct awaited *a, size_t n, const char *consumer)
{
	int code = v->code;

	if (!code)
		return BLX_OK;
	warn("%s%s%s", v->dev ? v->dev : "", v->dev ? ": " : "", v->why);
	// what the pipe says may only be the echo of a tracker that had nothing true to list
	for (size_t i = 0; i < n; i++)
		if (check_lost(&a[i], consumer))
			code = BLX_RESYNC;
	return code;
}

int cmd_commit(int argc, char **argv)
{
	const struct options o = parse_options(argc, argv, "ct", usage);
	struct verdict v;
	struct session s;
	struct consumer c;
	struct fault f;

	if (optind == argc)
		usage_error("commit: which device?");
	if (session_open(&s, argv + optind, (size_t)(argc - optind), &f))
		die_fault(&f);
	for (size_t i = 0; i < s.nwant; i++)
		if (consumer_load(s.want[i], o.consumer, &c, &f))
			die_fault(&f);
	size_t n = s.nwant;
	struct awaited *a = awaited_new(&s);
	if (!a)
		die_errno("commit");
	session_close(&s);
	commit_acks(a, n, o.consumer, STDIN_FILENO, -1, o.timeout, &v);
	int code = verdict_report(&v, a, n, o.consumer);
	awaited_free(a, n);
	return code;
}
