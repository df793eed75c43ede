// SPDX-License-Identifier: BSD-2-Clause
// blxtrack follow: print each write as it happens. Needs no `start` and changes nothing that is
// tracked.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "blxtrack.h"
#include "bpf/follow.h"
#include "bpf/follow.skel.h"
#include "die.h"

struct printer {
	const struct blkdev *devs;
	int64_t wall_ns; // CLOCK_REALTIME - CLOCK_MONOTONIC when following began
	uint64_t count, bytes;
};

static void usage(FILE *to)
{
	fputs("usage: blxtrack follow DEV...\n"
	      "  -h, --help   this text\n"
	      "Prints OFFSET LENGTH OP TIME PID COMM DEV for every write until interrupted.\n",
	      to);
}

static void parse_options(int argc, char **argv)
{
	static const struct option longs[] = {{"help", no_argument, NULL, 'h'}, {0}};
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c != 'h')
			usage_error(NULL);
		usage(stdout);
		close_stdout();
		exit(BLX_OK);
	}
	if (optind == argc || argc - optind > FOLLOW_RANGES)
		usage_error("follow: 1 to %d devices", FOLLOW_RANGES);
}

static const char *op_word(uint32_t op)
{
	switch (op) {
	case FOLLOW_WRITE:
		return "write";
	case FOLLOW_DISCARD:
		return "discard";
	case FOLLOW_ZEROES:
		return "zeroes";
	case FOLLOW_ERASE:
		return "erase";
	case FOLLOW_PASSTHROUGH:
		return "passthrough";
	}
	return "?";
}

// A process may name itself with blanks and worse: keep it one column.
static void clean(const char *comm, char *out)
{
	size_t n = 0;

	for (; n < FOLLOW_COMM && comm[n]; n++)
		out[n] = comm[n] > ' ' && comm[n] < 0x7f ? comm[n] : '_';
	if (!n)
		out[n++] = '-';
	out[n] = 0;
}

static int print_event(void *data, void *raw, size_t size)
{
	struct printer *p = data;
	const struct follow_event *e = raw;
	const struct blkdev *d = &p->devs[e->range];
	char when[32], comm[FOLLOW_COMM + 1], pid[16] = "-";
	int64_t ns = p->wall_ns + (int64_t)e->time;
	time_t s = (time_t)(ns / 1000000000);
	struct tm tm;

	(void)size;
	gmtime_r(&s, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	if (e->pid)
		snprintf(pid, sizeof(pid), "%u", e->pid);
	clean(e->comm, comm);
	if (e->op == FOLLOW_PASSTHROUGH)
		printf("# passthrough: where it wrote is not known: - - passthrough %s.%09dZ - - "
		       "%s\n",
		       when, (int)(ns % 1000000000), d->name);
	else
		printf("%llu %llu %s %s.%09dZ %s %s %s\n",
		       (unsigned long long)(e->sector << SECTOR_SHIFT) - d->start,
		       (unsigned long long)e->sectors << SECTOR_SHIFT, op_word(e->op), when,
		       (int)(ns % 1000000000), pid, comm, d->name);
	p->count++;
	p->bytes += e->sectors << SECTOR_SHIFT;
	return 0;
}

static struct follow_bpf *attach(struct blkdev *devs, int n)
{
	libbpf_set_print(NULL); // our own words say what failed
	struct follow_bpf *b = follow_bpf__open();

	if (!b)
		die_errno("follow: open programs");
	b->rodata->nranges = (uint32_t)n;
	for (int i = 0; i < n; i++) {
		const struct blkdev *d = &devs[i];
		struct follow_range r = {.disk = kernel_dev(d->disk_major, d->disk_minor),
					 .start = d->start >> SECTOR_SHIFT,
					 .end = d->partition ? (d->start + d->size) >> SECTOR_SHIFT
							     : UINT64_MAX};
		memcpy((void *)&b->rodata->ranges[i], &r, sizeof(r));
	}
	if (follow_bpf__load(b))
		die_errno("follow: load programs%s", geteuid() ? " (run as root)" : "");
	if (follow_bpf__attach(b))
		die_errno("follow: attach");
	return b;
}

static int64_t wall_minus_monotonic(void)
{
	struct timespec w, m;

	clock_gettime(CLOCK_REALTIME, &w);
	clock_gettime(CLOCK_MONOTONIC, &m);
	return (int64_t)(w.tv_sec - m.tv_sec) * 1000000000 + w.tv_nsec - m.tv_nsec;
}

static int catch_end(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		die_errno("follow: block signals");
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		die_errno("follow: signalfd");
	return fd;
}

static void flush(void)
{
	if (fflush(stdout))
		die_errno("write to standard output");
}

static void loop(struct ring_buffer *ring, struct follow_bpf *b)
{
	struct pollfd p[3] = {{.fd = catch_end(), .events = POLLIN},
			      {.fd = ring_buffer__epoll_fd(ring), .events = POLLIN},
			      {.fd = STDOUT_FILENO}};
	uint64_t said = 0;

	while (!p[0].revents) {
		if (poll(p, 3, 1000) < 0 && errno != EINTR)
			die_errno("follow: poll");
		if (p[2].revents & (POLLERR | POLLHUP | POLLNVAL))
			die(BLX_SYSTEM, "standard output: Broken pipe");
		if (ring_buffer__consume(ring) < 0)
			die(BLX_SYSTEM, "follow: read events");
		flush();
		if (b->bss->dropped != said) {
			said = b->bss->dropped;
			warn("%" PRIu64 " writes were not shown: the reader is too slow", said);
		}
	}
}

int cmd_follow(int argc, char **argv)
{
	struct blkdev devs[FOLLOW_RANGES];
	struct fault f;

	parse_options(argc, argv);
	int n = argc - optind;
	for (int i = 0; i < n; i++)
		if (blkdev_identify(argv[optind + i], &devs[i], &f))
			die_fault(&f);
	signal(SIGPIPE, SIG_IGN);
	struct follow_bpf *b = attach(devs, n);
	struct printer printer = {.devs = devs, .wall_ns = wall_minus_monotonic()};
	struct ring_buffer *ring =
		ring_buffer__new(bpf_map__fd(b->maps.events), print_event, &printer, NULL);
	if (!ring)
		die_errno("follow: ring buffer");
	printf("# blx-follow 1\n# OFFSET LENGTH OP TIME PID COMM DEV\n");
	flush();
	loop(ring, b);
	follow_bpf__detach(b);
	ring_buffer__consume(ring);
	printf("# end: %" PRIu64 " %" PRIu64 " lost=%" PRIu64 "\n", printer.count, printer.bytes,
	       (uint64_t)b->bss->dropped);
	ring_buffer__free(ring);
	follow_bpf__destroy(b);
	return BLX_OK;
}
