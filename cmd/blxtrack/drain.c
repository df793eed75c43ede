// SPDX-License-Identifier: BSD-2-Clause
// blxtrack drain: flip, prove, print what the consumer lacks. Nothing is handed out and no position
// moves.
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "blxtrack.h"
#include "die.h"
#include "num.h"

struct options {
	const char *consumer;
	bool preview;
	uint64_t max, every; // 0: not given
};

static void usage(FILE *to)
{
	fputs("usage: blxtrack drain [-c CONSUMER] [-n] [--max SIZE] [--every SECONDS] DEV\n"
	      "  -c, --consumer NAME    whose changes (default: default)\n"
	      "  -n, --dry-run          show what a drain would list now; moves nothing, cannot be "
	      "acked\n"
	      "      --max SIZE         at most about SIZE bytes beyond what a partial ack covers\n"
	      "      --every SECONDS    keep the pipe open: a list each SECONDS, after the ack of "
	      "the last\n"
	      "  -h, --help             this text\n",
	      to);
}

static struct options parse_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{"consumer", required_argument, NULL, 'c'}, {"dry-run", no_argument, NULL, 'n'},
		{"max", required_argument, NULL, 'm'},      {"every", required_argument, NULL, 'e'},
		{"help", no_argument, NULL, 'h'},           {0}};
	struct options o = {.consumer = DEFAULT_CONSUMER};
	int c;

	while ((c = getopt_long(argc, argv, "c:nh", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			o.consumer = optarg;
			break;
		case 'n':
			o.preview = true;
			break;
		case 'm':
			if (num_size(optarg, &o.max) || !o.max)
				usage_error("--max %s: not a size", optarg);
			break;
		case 'e':
			if (num_seconds(optarg, &o.every) || !o.every || o.every > 1u << 30)
				usage_error("--every %s: not a number of seconds", optarg);
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
		usage_error("drain: one device");
	if (o.preview && (o.every || o.max))
		usage_error("drain: -n goes with neither --every nor --max");
	return o;
}

static int prepare(struct session *s, const char *consumer, uint64_t max, struct changes *ch,
		   struct fault *f)
{
	struct consumer c;

	if (consumer_load(s->want[0], consumer, &c, f))
		return -1;
	if (c.lost)
		return fault_set(f, BLX_RESYNC,
				 "%s: the history that consumer %s had is lost: run 'blxtrack "
				 "consumer reset %s /dev/%s' for a full copy",
				 s->want[0]->dev.name, c.name, c.name, s->want[0]->dev.name);
	if (session_flip(s, f))
		return -1;
	if (s->want[0]->proof == PROOF_NONE)
		warn("%s: coverage is unproven: the disk's I/O statistics are off (queue/iostats) "
		     "or stood still",
		     s->want[0]->dev.name);
	return changes_open(ch, s->want[0], &c, session_stamp(s, s->want[0]), max, f);
}

int drain_prepare(const char *dev, const char *consumer, uint64_t max_bytes, struct changes *ch,
		  struct fault *f)
{
	struct session s;

	if (session_open(&s, (char *[]){(char *)dev}, 1, f))
		return -1;
	int bad = prepare(&s, consumer, max_bytes, ch, f);
	session_close(&s);
	return bad;
}

static int preview(const char *dev, const char *consumer, struct fault *f)
{
	struct session s;
	struct consumer c;
	struct changes ch;

	if (session_open(&s, (char *[]){(char *)dev}, 1, f))
		return -1;
	int bad = consumer_load(s.want[0], consumer, &c, f) ||
		  changes_preview(&ch, &s.k, s.want[0], &c, f);
	if (!bad) {
		bad = changes_print(&ch, stdout, f);
		changes_close(&ch);
	}
	session_close(&s);
	return bad;
}

// Has the consumer acked this list?
static int acked(const char *dev, const char *consumer, const struct head *h, struct fault *f)
{
	struct session s;
	struct consumer c;

	if (session_open(&s, (char *[]){(char *)dev}, 1, f))
		return -1;
	int yes = -1;
	if (!consumer_load(s.want[0], consumer, &c, f)) {
		yes = c.epoch >= h->epoch ||
		      (h->limit < h->size && c.has_partial && c.partial_epoch >= h->epoch &&
		       c.partial_upto >= h->limit);
		if (!token_equal(&s.want[0]->lineage, &h->lineage))
			yes = fault_set(f, BLX_RESYNC,
					"%s: tracking began anew while a list was out", dev);
	}
	session_close(&s);
	return yes;
}

// Wait so long, or die when nobody reads the lists any more.
static void pause_ms(int ms)
{
	struct pollfd p = {.fd = STDOUT_FILENO};

	if (poll(&p, 1, ms) == 1 && p.revents & (POLLERR | POLLHUP | POLLNVAL))
		die(BLX_SYSTEM, "standard output: Broken pipe");
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void drain_once(const struct options *o, const char *dev, struct head *issued)
{
	struct changes ch;
	struct fault f;

	if (drain_prepare(dev, o->consumer, o->max, &ch, &f) || changes_print(&ch, stdout, &f))
		die_fault(&f);
	*issued = ch.head;
	issued->chain = NULL;
	issued->chain_len = 0;
	changes_close(&ch);
}

int cmd_drain(int argc, char **argv)
{
	enum { POLL_MS = 100 };
	const struct options o = parse_options(argc, argv);
	const char *dev = argv[optind];
	struct head issued;
	struct fault f;
	int yes = 0;

	signal(SIGPIPE, SIG_IGN);
	if (o.preview) {
		if (preview(dev, o.consumer, &f))
			die_fault(&f);
		return BLX_OK;
	}
	for (;;) {
		int64_t next = now_ms() + (int64_t)o.every * 1000;
		drain_once(&o, dev, &issued);
		if (!o.every)
			return BLX_OK;
		do
			pause_ms(POLL_MS);
		while (!(yes = acked(dev, o.consumer, &issued, &f)));
		if (yes < 0)
			die_fault(&f);
		while (now_ms() < next)
			pause_ms(next - now_ms() < POLL_MS ? (int)(next - now_ms()) : POLL_MS);
	}
}
