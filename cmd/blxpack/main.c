// SPDX-License-Identifier: BSD-2-Clause
// blxpack: a block stream in, the same stream out with its frames in compressed packs, or without.
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "die.h"
#include "num.h"
#include "stream.h"

enum { LEVEL_MAX = 19, THREADS_MAX = 64, THREADS_BY_DEFAULT = 4 };

struct options {
	int level;
	int threads;
	bool unpack;
	uint64_t rate; // bytes a second, 0: no limit
};

static const char usage[] =
	"usage: blxpack [-1..-19] [-T N] [-d] [--rate R]\n"
	"Compress the block streams on standard input, to standard output; what is compressed "
	"already, anew.\n"
	"\n"
	"  -1 .. -19            zstd level, fast to small (3)\n"
	"  -T, --threads N      compress with N threads, 1 to 64 (as many as CPUs, 4 at most)\n"
	"  -d, --decompress     write the frames unpacked\n"
	"      --rate R         write R bytes a second at most; K, M, G, T are powers of 1024\n"
	"  -h, --help           this text\n"
	"      --version        name and version\n"
	"\n"
	"The output is the same whatever N is. See blxpack(1).\n";

static int threads_by_default(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : n > THREADS_BY_DEFAULT ? THREADS_BY_DEFAULT : (int)n;
}

static void parse_rest(struct options *o, int c)
{
	uint64_t v;

	if (c == 'd') {
		o->unpack = true;
	} else if (c == 'T') {
		if (num_u64(optarg, &v) || v < 1 || v > THREADS_MAX)
			die_usage("--threads '%s': a number from 1 to %d is expected", optarg,
				  THREADS_MAX);
		o->threads = (int)v;
	} else if (num_size(optarg, &o->rate) || !o->rate) {
		die_usage("--rate '%s': bytes a second are expected, such as 500K or 20M", optarg);
	}
}

static struct options parse_options(int argc, char **argv)
{
	enum { RATE = 256, VERSION };
	static const struct option longs[] = {
		{"threads", required_argument, NULL, 'T'}, {"decompress", no_argument, NULL, 'd'},
		{"rate", required_argument, NULL, RATE},   {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, VERSION},   {NULL, 0, NULL, 0},
	};
	struct options o = {.level = 3, .threads = threads_by_default()};
	int c, digit_in = 0; // the argument that the digit before stood in: -19 is one level, two
			     // digits

	for (int in = optind; (c = getopt_or_die(argc, argv, "0123456789T:dh", longs)) != -1;
	     in = optind) {
		if (c >= '0' && c <= '9') {
			o.level = (digit_in == in ? o.level * 10 : 0) + c - '0';
			digit_in = in;
			if (o.level < 1 || o.level > LEVEL_MAX)
				die_usage("level -%d: -1 to -%d is expected", o.level, LEVEL_MAX);
		} else if (c == 'h') {
			fputs(usage, stdout);
			close_stdout();
			_exit(BLX_OK);
		} else if (c == VERSION) {
			print_version();
			close_stdout();
			_exit(BLX_OK);
		} else {
			parse_rest(&o, c);
		}
	}
	if (optind < argc)
		die_usage("'%s': no file is expected, the stream comes on standard input",
			  argv[optind]);
	return o;
}

// Tell the next stage, then say it ourselves.
static _Noreturn void fail(struct stream_writer *w, const struct fault *f)
{
	stream_writer_next(w);                   // if one has ended
	stream_write_abort(w, f->code, f->text); // if it cannot be told, it sees a cut stream
	die_fault(f);
}

static void pass(struct stream_reader *r, struct stream_writer *w)
{
	struct frame fr;
	struct fault f;
	int n;

	do {
		stream_writer_next(w); // but for the first
		while ((n = stream_read(r, &fr, &f)) > 0)
			if (stream_write_frame(w, &fr, stream_reader_head(r)))
				die_stdout();
		if (!n && (n = stream_reader_next(r, &f)) < 0 && errno == EPIPE)
			return; // who read us has all that it wants
	} while (n > 0);
	if (n < 0)
		fail(w, &f);
}

int main(int argc, char **argv)
{
	struct options o = parse_options(argc, argv);

	signal(SIGPIPE, SIG_IGN);
	if (isatty(STDIN_FILENO))
		die_usage("standard input is a terminal: a stream is expected");
	if (isatty(STDOUT_FILENO))
		die_usage("standard output is a terminal: a stream is binary");
	struct stream_reader *r = stream_reader_new(STDIN_FILENO);
	struct stream_writer *w = stream_writer_new(STDOUT_FILENO);
	if (!r || !w)
		die_errno("memory");
	stream_reader_watch(r, STDOUT_FILENO, -1);
	stream_writer_rate(w, o.rate);
	if (!o.unpack && stream_writer_pack(w, o.level, o.threads))
		die_errno("%d threads", o.threads);
	pass(r, w);
	stream_writer_free(w);
	stream_reader_free(r);
	close_stdout();
	return BLX_OK;
}
