// SPDX-License-Identifier: BSD-2-Clause
// blxls: show and check a block stream.
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "confine.h"
#include "die.h"
#include "view.h"

struct options {
	const struct view *view;
	bool ack;
	enum confine_when confine;
	const char *file; // NULL: standard input
};

static const char usage[] =
	"usage: blxls [-v | --json | --check [--ack]] [--confine WHEN] [FILE]\n"
	"Show the block streams in FILE or on standard input: their extents, as lists that blxread "
	"takes.\n"
	"\n"
	"  -v, --verbose  one line per frame instead\n"
	"      --json     a summary for machines instead\n"
	"      --check    only verify; say nothing if all is well\n"
	"      --ack      with --check: print the ack of each stream's last epoch if all is well\n"
	"      --confine WHEN\n"
	"                 reach nothing but FILE and standard output: try (default), must, no\n"
	"  -h, --help     this text\n"
	"      --version  name and version\n"
	"\n"
	"A stream that is not whole and sound to its last byte: exit 4. See blxls(1).\n";

static void set_view(struct options *o, const struct view *v)
{
	if (o->view && o->view != v)
		die_usage("only one of -v, --json and --check");
	o->view = v;
}

static struct options parse_options(int argc, char **argv)
{
	enum { JSON = 256, CHECK, ACK, CONFINE, VERSION };
	static const struct option longs[] = {
		{"verbose", no_argument, NULL, 'v'},           {"json", no_argument, NULL, JSON},
		{"check", no_argument, NULL, CHECK},           {"ack", no_argument, NULL, ACK},
		{"confine", required_argument, NULL, CONFINE}, {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, VERSION},       {NULL, 0, NULL, 0},
	};
	struct options o = {0};
	int c;

	while ((c = getopt_or_die(argc, argv, "vh", longs)) != -1) {
		switch (c) {
		case 'v':
			set_view(&o, &view_verbose);
			break;
		case JSON:
			set_view(&o, &view_json);
			break;
		case CHECK:
			set_view(&o, &view_check);
			break;
		case ACK:
			o.ack = true;
			break;
		case CONFINE:
			if (confine_when(optarg, &o.confine))
				die_usage("--confine: '%s' is none of try, must and no", optarg);
			break;
		case 'h':
			fputs(usage, stdout);
			close_stdout();
			_exit(BLX_OK);
		case VERSION:
			print_version();
			close_stdout();
			_exit(BLX_OK);
		}
	}
	if (argc - optind > 1)
		die_usage("more than one file: '%s'", argv[optind + 1]);
	if (optind < argc && !*argv[optind])
		die_usage("'': a file's name is expected");
	if (o.ack && o.view != &view_check)
		die_usage("--ack needs --check");
	if (!o.view)
		o.view = &view_list;
	if (optind < argc && strcmp(argv[optind], "-"))
		o.file = argv[optind];
	return o;
}

// An aborted stream is not whole, whatever the reason that its sender gave: BLX_CORRUPT.
static int aborted(const struct frame *fr, struct fault *f)
{
	return fault_set(f, BLX_CORRUPT, "at byte %llu: ABORT (code %llu): %.*s",
			 (unsigned long long)fr->position, (unsigned long long)fr->offset,
			 (int)fr->payload_len, (const char *)fr->payload);
}

// 0: it was whole.
static int show_one(const struct options *o, struct show *s, struct stream_reader *r,
		    struct fault *f)
{
	struct frame fr;
	int n;

	s->begins = true;
	s->start = stream_reader_position(r);
	while ((n = stream_read(r, &fr, f)) > 0) {
		if (fr.type == FRAME_BAD) {
			s->bad++;
			s->bad_bytes += fr.length;
		}
		o->view->frame(s, &fr, stream_reader_head(r));
		s->begins = false;
		if (ferror(stdout))
			die_stdout();
		if (fr.type == FRAME_ABORT)
			return aborted(&fr, f);
	}
	return n;
}

// 0: the streams are whole and have been shown.
static int show(const struct options *o, struct stream_reader *r, struct fault *f)
{
	struct show s = {.want_ack = o->ack};
	int n;

	do {
		n = show_one(o, &s, r, f);
		if (!n && (n = stream_reader_next(r, f)) < 0 && errno == EPIPE)
			n = 0; // who read us has all that it wants
	} while (n > 0);
	if (n < 0 && f->code == BLX_SYSTEM && errno == EPIPE)
		die_stdout();
	if (n < 0)
		o->view->failed(&s, stream_reader_position(r), f);
	if (s.bad)
		warn("%s: %llu ranges, %llu bytes in all, could not be read at the source",
		     o->file ? o->file : "standard input", (unsigned long long)s.bad,
		     (unsigned long long)s.bad_bytes);
	return n < 0 ? -1 : o->view->done(&s, stream_reader_position(r), f);
}

int main(int argc, char **argv)
{
	struct options o = parse_options(argc, argv);
	int fd = o.file ? open(o.file, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
	struct fault f;

	signal(SIGPIPE, SIG_IGN);
	if (fd < 0)
		die_errno("%s: open", o.file);
	if (isatty(fd))
		die_usage("%s is a terminal: a stream is expected",
			  o.file ? o.file : "standard input");
	if (confine(o.confine, CONFINE_FILTER, NULL, 0, &f))
		die_fault(&f);
	struct stream_reader *r = stream_reader_new(fd);
	if (!r)
		die_errno("memory");
	stream_reader_watch(r, STDOUT_FILENO, -1);
	if (o.view->packs)
		stream_reader_show_packs(r);
	int bad = show(&o, r, &f);
	stream_reader_free(r);
	close_stdout();
	if (bad)
		die(f.code, "%s: %s", o.file ? o.file : "standard input", f.text);
	return BLX_OK;
}
