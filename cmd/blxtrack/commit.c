// SPDX-License-Identifier: BSD-2-Clause
// blxtrack commit: acks move a consumer's position; nothing else does.
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ack.h"
#include "blxtrack.h"
#include "die.h"
#include "lines.h"
#include "num.h"

struct options {
	const char *consumer;
	uint64_t timeout;
};

static void usage(FILE *to)
{
	fputs("usage: blxtrack commit [-c CONSUMER] [--timeout SECONDS] DEV\n"
	      "  -c, --consumer NAME     whose position the acks move (default: default)\n"
	      "      --timeout SECONDS   give up when no ack came for so long\n"
	      "  -h, --help              this text\n",
	      to);
}

static struct options parse_options(int argc, char **argv)
{
	static const struct option longs[] = {{"consumer", required_argument, NULL, 'c'},
					      {"timeout", required_argument, NULL, 't'},
					      {"help", no_argument, NULL, 'h'},
					      {0}};
	struct options o = {.consumer = DEFAULT_CONSUMER};
	int c;

	while ((c = getopt_long(argc, argv, "c:h", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			o.consumer = optarg;
			break;
		case 't':
			if (num_seconds(optarg, &o.timeout) || !o.timeout)
				usage_error("--timeout %s: not a number of seconds", optarg);
			break;
		case 'h':
			usage(stdout);
			close_stdout();
			exit(BLX_OK);
		default:
			usage_error(NULL);
		}
	}
	if (optind + 1 != argc)
		usage_error("commit: one device");
	return o;
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
	c->has_partial = false;
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

// The accept rule of model/protocol.py, P.commit. What is late or repeated changes nothing.
static int move(const struct tracked *t, struct consumer *c, const struct ack *a, struct fault *f)
{
	struct delta *d;
	size_t n;
	bool moved = false;

	if (a->epoch <= c->epoch)
		return 0;
	if (delta_all(t, c->epoch, &d, &n, f))
		return -1;
	const struct stamp *s = delta_stamp(d, n, &a->token);
	int bad = 0;
	if (!s || s->epoch != a->epoch || (a->kind == ACK_UPTO && a->offset > s->size)) {
		bad = fault_set(f, BLX_TARGET,
				"ack of epoch %" PRIu64 " with a token that was never issued",
				a->epoch);
	} else if (a->kind == ACK_DONE) {
		take_done(c, s);
		moved = true;
	} else {
		moved = take_upto(c, s, a->offset);
	}
	delta_all_free(d, n);
	if (moved)
		bad = consumer_save(t, c, f) || flip_tidy(t, f) ? -1 : 0;
	return bad;
}

static int take_ack(const char *dev, const char *consumer, const struct ack *a, struct fault *f)
{
	struct consumer c;
	struct session s;

	if (session_open(&s, (char *[]){(char *)dev}, 1, f))
		return -1;
	int bad = consumer_load(s.want[0], consumer, &c, f);
	if (!bad && (s.want[0]->lost[0] || c.lost))
		bad = fault_set(f, BLX_RESYNC, "%s: tracking is incomplete: %s",
				s.want[0]->dev.name,
				s.want[0]->lost[0] ? s.want[0]->lost : "its history is lost");
	bad = bad || check_binding(s.want[0], &c, a, f) || move(s.want[0], &c, a, f);
	session_close(&s);
	return bad ? -1 : 0;
}

static void fail(struct verdict *v, enum blx_exit code, const char *why)
{
	if (v->code)
		return; // the first failure tells most
	v->code = code;
	snprintf(v->why, sizeof(v->why), "%s", why);
}

static void take_line(const char *dev, const char *consumer, const char *line, uint64_t number,
		      uint64_t want, struct verdict *v)
{
	struct ack a;
	struct fault f;

	if (ack_parse(line, &a, &f)) {
		char why[sizeof(v->why)];
		snprintf(why, sizeof(why), "acks, line %" PRIu64 ": %.250s", number, f.text);
		fail(v, f.code, why);
	} else if (a.kind == ACK_FAILED) {
		char why[sizeof(v->why)];
		snprintf(why, sizeof(why), "the receiver: %s", a.why);
		v->told = true;
		fail(v, a.code, why);
	} else if (take_ack(dev, consumer, &a, &f)) {
		fail(v, f.code, f.text);
	} else if ((a.kind == ACK_DONE || a.last) && a.epoch >= want) {
		v->done = true;
	}
}

void commit_acks(const char *dev, const char *consumer, int fd, uint64_t want, uint64_t timeout_s,
		 struct verdict *v)
{
	struct lines *in = lines_new(fd);
	struct fault f;
	char *line;
	int got = -1;

	*v = (struct verdict){0};
	if (!in)
		die_errno("acks");
	int timeout_ms = !timeout_s ? -1 : timeout_s > 2000000 ? 2000000000 : (int)timeout_s * 1000;
	while ((got = lines_next(in, &line, timeout_ms, &f)) == 1)
		take_line(dev, consumer, line, lines_number(in), want, v);
	if (got < 0) {
		char why[sizeof(v->why)];
		snprintf(why, sizeof(why), "acks: %.300s", f.text);
		fail(v, f.code, why);
	}
	lines_free(in);
	if (!v->done)
		fail(v, BLX_SYSTEM, "the pipe ended without an ack that the epoch is applied");
}

int verdict_report(const struct verdict *v, const char *dev)
{
	struct session s;
	struct fault f;
	int code = v->code;

	if (!code)
		return BLX_OK;
	warn("%s: %s", dev, v->why);
	// what the pipe says may only be the echo of a tracker that had nothing true to list
	if (!session_open(&s, (char *[]){(char *)dev}, 1, &f)) {
		if (s.want[0]->lost[0]) {
			warn("%s: tracking is incomplete: %s", dev, s.want[0]->lost);
			code = BLX_RESYNC;
		}
		session_close(&s);
	} else if (f.code == BLX_RESYNC) {
		warn("%s", f.text);
		code = BLX_RESYNC;
	}
	return code;
}

int cmd_commit(int argc, char **argv)
{
	const struct options o = parse_options(argc, argv);
	const char *dev = argv[optind];
	struct verdict v;
	struct session s;
	struct consumer c;
	struct fault f;

	if (session_open(&s, (char *[]){(char *)dev}, 1, &f) ||
	    consumer_load(s.want[0], o.consumer, &c, &f))
		die_fault(&f);
	session_close(&s);
	commit_acks(dev, o.consumer, STDIN_FILENO, 0, o.timeout, &v);
	return verdict_report(&v, dev);
}
