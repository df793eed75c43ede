// SPDX-License-Identifier: BSD-2-Clause
// blxtrack drain: flip, prove, print what the consumer lacks. Nothing is handed out and no position
// moves.
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "blxtrack.h"
#include "die.h"
#include "lists.h"

static void usage(FILE *to)
{
	fputs("usage: blxtrack drain [-c CONSUMER] [-n] [--max SIZE] [--every SECONDS] DEV\n"
	      "       blxtrack drain -o DIR [-c CONSUMER] [-n] [--max SIZE] DEV...\n"
	      "  -c, --consumer NAME    whose changes (default: default)\n"
	      "  -n, --dry-run          show what a drain would list now; moves nothing, cannot be "
	      "acked\n"
	      "  -o, --output DIR       write the lists of all devices, from one instant, to "
	      "DIR/LABEL.extents\n"
	      "      --max SIZE         at most about SIZE bytes of a device beyond what a partial "
	      "ack covers\n"
	      "      --every SECONDS    keep the pipe open: a list each SECONDS, after the ack of "
	      "the last\n"
	      "  -h, --help             this text\n",
	      to);
}

static void check(const struct options *o, int devices)
{
	if (!devices)
		usage_error("drain: which device?");
	if (devices > 1 && !o->output)
		usage_error("drain: several devices: -o DIR takes the list of each");
	if (o->every && o->output)
		usage_error("drain: --every is for one device on standard output, not for -o");
	if (o->preview && (o->every || o->max))
		usage_error("drain: -n goes with neither --every nor --max");
}

// Has the consumer acked this list?
static int acked(char *const *dev, const char *consumer, const struct head *h, struct fault *f)
{
	struct session s;
	struct consumer c;

	if (session_open(&s, dev, 1, f))
		return -1;
	int yes = -1;
	if (!consumer_load(s.want[0], consumer, &c, f)) {
		yes = c.epoch >= h->epoch ||
		      (h->limit < h->size && c.has_partial && c.partial_epoch >= h->epoch &&
		       c.partial_upto >= h->limit);
		if (!token_equal(&s.want[0]->lineage, &h->lineage))
			yes = fault_set(f, BLX_RESYNC,
					"%s: tracking began anew while a list was out", *dev);
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

// What was issued in *ISSUED, without its chain.
static void drain_once(const struct options *o, char *const *devs, size_t n, struct head *issued)
{
	struct session s;
	struct lists l;
	struct fault f;

	if (session_open(&s, devs, n, &f) || lists_prepare(&l, &s, o, &f))
		die_fault(&f);
	if (!o->preview) // what the lists are made of stays readable without the lock
		session_close(&s);
	if (o->output ? lists_write(&l, o->output, &f) : changes_print(&l.each[0], stdout, &f))
		die_fault(&f);
	*issued = l.each[0].head;
	issued->chain = NULL;
	issued->chain_len = 0;
	lists_close(&l);
	if (o->preview)
		session_close(&s);
}

int cmd_drain(int argc, char **argv)
{
	enum { POLL_MS = 100 };
	const struct options o = parse_options(argc, argv, "cnome", usage);
	char *const *devs = argv + optind;
	struct head issued;
	struct fault f;
	int yes = 0;

	check(&o, argc - optind);
	signal(SIGPIPE, SIG_IGN);
	for (;;) {
		int64_t next = now_ms() + (int64_t)o.every * 1000;
		drain_once(&o, devs, (size_t)(argc - optind), &issued);
		if (!o.every)
			return BLX_OK;
		do
			pause_ms(POLL_MS);
		while (!(yes = acked(devs, o.consumer, &issued, &f)));
		if (yes < 0)
			die_fault(&f);
		while (now_ms() < next)
			pause_ms(next - now_ms() < POLL_MS ? (int)(next - now_ms()) : POLL_MS);
	}
}
