// SPDX-License-Identifier: BSD-2-Clause
// blxsum: digests of a device's blocks, and what differs between two.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blxsum.h"
#include "die.h"
#include "num.h"

enum { DEFAULT_BLOCK = 1 << 20, TIMEOUT_MAX = 86400, DEFAULT_ROUNDS = 5 };

enum { // of options that have no letter
	OPT_TREE = 256,
	OPT_SERVE,
	OPT_LIVE,
	OPT_ONLY,
	OPT_USED,
	OPT_TIMEOUT,
	OPT_ROUNDS,
	OPT_CONSUMER,
	OPT_SCRUB,
	OPT_BUDGET,
	OPT_NO_URING,
	OPT_VERSION,
};

static void usage(void)
{
	puts("usage: blxsum [options] [-b BLOCK] [-A ALGORITHM] DEV|IMAGE >digests\n"
	     "       blxsum -c [-q] [options] DEV|IMAGE <digests >extents\n"
	     "       blxsum --tree [-q] [options] DEV|IMAGE -- CMD... >extents\n"
	     "       blxsum --serve [options] IMAGE|DEV\n"
	     "       blxsum --live [--consumer NAME] [options] DEV -- CMD... >extents\n"
	     "       blxsum --scrub [--budget SIZE] [options] IMAGE|DEV >extents\n"
	     "Print digests of all blocks; or what differs from digests, or from what CMD serves\n"
	     "(ssh backup blxsum --serve IMAGE), as an extent list.\n"
	     "\n"
	     "  -b, --block SIZE      of the blocks: a power of two, 4K to 1M (1M)\n"
	     "  -A, --algorithm NAME  xxh128 (default) or sha256\n"
	     "  -c, --check           compare with the digests on standard input\n"
	     "  -q, --quiet           print no list; exit status 1: something differs\n"
	     "      --tree            compare with what CMD serves; little is sent\n"
	     "      --serve           be the other end of --tree, on standard input and output\n"
	     "      --live            verify a replica while DEV is written\n"
	     "      --scrub           check a replica against the digests that blxapply keeps\n"
	     "                        beside it\n"
	     "      --budget SIZE     --scrub: the next SIZE bytes only (K, M, G, T)\n"
	     "      --only FILE       look at these ranges only (an extent list, or OFFSET LENGTH\n"
	     "                        lines)\n"
	     "      --used            look only at what the file system uses (blxused)\n"
	     "      --consumer NAME   --live: who replicates to IMAGE (default)\n"
	     "      --rounds N        --live: look N times at what is being written (5)\n"
	     "      --timeout T       give up when the far end is silent for so long\n"
	     "  -r, --rate R          read at most R bytes a second (K, M, G, T)\n"
	     "  -P, --progress        show progress even if stderr is no terminal\n"
	     "      --no-uring        read with threads, not with io_uring\n"
	     "  -h, --help            this text\n"
	     "      --version         the version");
}

static void print_and_exit(void (*print)(void))
{
	print();
	close_stdout();
	exit(BLX_OK);
}

static void set_mode(struct options *o, int mode)
{
	if (o->mode != LIST && (int)o->mode != mode)
		die_usage("-c, --tree, --serve, --live and --scrub exclude each other");
	o->mode = mode;
}

static void parse_block(struct options *o)
{
	uint64_t v;

	if (num_size(optarg, &v) || v < SUMS_BLOCK_MIN || v > SUMS_BLOCK_MAX || v & (v - 1))
		die_usage("--block '%s': not a power of two from 4K to 1M", optarg);
	o->block = (uint32_t)v;
}

static void parse_timeout(struct options *o)
{
	uint64_t v;

	if (num_seconds(optarg, &v) || !v || v > TIMEOUT_MAX)
		die_usage("--timeout '%s': not a number of seconds from 1 to %d", optarg,
			  TIMEOUT_MAX);
	o->timeout_ms = (int)v * 1000;
}

static void parse_number(const char *name, int (*parse)(const char *, uint64_t *), uint64_t *to)
{
	if (parse(optarg, to) || !*to)
		die_usage("--%s '%s': not a number above 0", name, optarg);
}

static void parse_name(const char *name, const char **to)
{
	if (!*optarg)
		die_usage("--%s '': a name is expected", name);
	*to = optarg;
}

static void parse_option(struct options *o, int c)
{
	switch (c) {
	case 'b':
		parse_block(o);
		break;
	case 'A':
		if (digest_parse_algorithm(optarg, &o->algorithm))
			die_usage("--algorithm '%s': neither xxh128 nor sha256", optarg);
		break;
	case 'c':
		set_mode(o, CHECK);
		break;
	case 'q':
		o->quiet = true;
		break;
	case OPT_TREE:
		set_mode(o, TREE);
		break;
	case OPT_SERVE:
		set_mode(o, SERVE);
		break;
	case OPT_LIVE:
		set_mode(o, LIVE);
		break;
	case OPT_SCRUB:
		set_mode(o, SCRUB);
		break;
	case OPT_BUDGET:
		parse_number("budget", num_size, &o->budget);
		break;
	case OPT_ONLY:
		parse_name("only", &o->only);
		break;
	case OPT_USED:
		o->used = true;
		break;
	case OPT_TIMEOUT:
		parse_timeout(o);
		break;
	case OPT_ROUNDS:
		parse_number("rounds", num_u64, &o->rounds);
		break;
	case OPT_CONSUMER:
		if (!head_name_ok(optarg))
			die_usage("--consumer '%s': not a consumer's name", optarg);
		o->consumer = optarg;
		break;
	case 'r':
		parse_number("rate", num_size, &o->rate);
		break;
	case 'P':
		o->progress = true;
		break;
	case OPT_NO_URING:
		o->threads = true;
		break;
	case 'h':
		print_and_exit(usage);
		break;
	case OPT_VERSION:
		print_and_exit(print_version);
		break;
	default: // the library has refused the rest
		break;
	}
}

// DEV, and with --tree and --live `-- CMD...`.
static void parse_operands(struct options *o, int argc, char **argv)
{
	bool far = o->mode == TREE || o->mode == LIVE;
	int n = argc - optind;

	if (n < 1 || !*argv[optind])
		die_usage("a device or image is expected");
	o->path = argv[optind];
	if (!far && n > 1)
		die_usage("'%s': one device or image only", argv[optind + 1]);
	if (far && (n < 3 || strcmp(argv[optind + 1], "--")))
		die_usage("--%s: DEV -- CMD... is expected", o->mode == TREE ? "tree" : "live");
	o->cmd = far ? argv + optind + 2 : NULL;
}

static void check_options(const struct options *o)
{
	bool compares = o->mode == CHECK || o->mode == TREE;

	if (o->block && o->mode != LIST)
		die_usage("-b: only where digests are printed");
	if (o->algorithm && o->mode != LIST && o->mode != TREE && o->mode != LIVE)
		die_usage("-A: only where digests are printed, --tree and --live");
	if (o->quiet && !compares)
		die_usage("-q: only with -c and --tree");
	if ((o->only && !compares) || (o->used && !compares && o->mode != LIVE))
		die_usage("--only and --used: only with -c and --tree, --used with --live too");
	if (o->only && o->used)
		die_usage("--only and --used exclude each other");
	if ((o->consumer || o->rounds) && o->mode != LIVE)
		die_usage("--consumer and --rounds: only with --live");
	if (o->budget && o->mode != SCRUB)
		die_usage("--budget: only with --scrub");
	if (o->timeout_ms >= 0 && (o->mode < TREE || o->mode == SCRUB))
		die_usage("--timeout: only with --tree, --serve and --live");
	if (o->mode == CHECK && isatty(STDIN_FILENO))
		die_usage("no digest list: standard input is a terminal");
	if (o->mode == SERVE && (isatty(STDIN_FILENO) || isatty(STDOUT_FILENO)))
		die_usage("--serve: standard input and output must be pipes, not a terminal");
}

static void parse_options(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {{"block", 1, 0, 'b'},
					      {"algorithm", 1, 0, 'A'},
					      {"check", 0, 0, 'c'},
					      {"quiet", 0, 0, 'q'},
					      {"tree", 0, 0, OPT_TREE},
					      {"serve", 0, 0, OPT_SERVE},
					      {"live", 0, 0, OPT_LIVE},
					      {"scrub", 0, 0, OPT_SCRUB},
					      {"budget", 1, 0, OPT_BUDGET},
					      {"only", 1, 0, OPT_ONLY},
					      {"used", 0, 0, OPT_USED},
					      {"timeout", 1, 0, OPT_TIMEOUT},
					      {"rounds", 1, 0, OPT_ROUNDS},
					      {"consumer", 1, 0, OPT_CONSUMER},
					      {"rate", 1, 0, 'r'},
					      {"progress", 0, 0, 'P'},
					      {"no-uring", 0, 0, OPT_NO_URING},
					      {"help", 0, 0, 'h'},
					      {"version", 0, 0, OPT_VERSION},
					      {0}};

	for (int c; (c = getopt_or_die(argc, argv, "+b:A:cqr:Ph", longs)) != -1;)
		parse_option(o, c);
	parse_operands(o, argc, argv);
	check_options(o);
	if (!o->block)
		o->block = DEFAULT_BLOCK;
	if (!o->algorithm)
		o->algorithm = DIGEST_XXH128;
	if (!o->rounds)
		o->rounds = DEFAULT_ROUNDS;
	if (!o->consumer)
		o->consumer = "default";
}

int main(int argc, char **argv)
{
	static int (*const modes[])(const struct options *) = {
		[LIST] = list_digests, [CHECK] = check_digests, [TREE] = tree_compare,
		[SERVE] = serve,       [LIVE] = live,           [SCRUB] = scrub,
	};
	struct options o = {.timeout_ms = -1};

	signal(SIGPIPE, SIG_IGN);
	parse_options(&o, argc, argv);
	int code = modes[o.mode](&o);
	close_stdout();
	return code;
}
