// SPDX-License-Identifier: BSD-2-Clause
// blxread's command line.
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "die.h"
#include "head.h"
#include "num.h"
#include "options.h"

static void usage(void)
{
	puts("usage: blxread [options] [DEV] <extents >stream\n"
	     "       blxread [options] LIST... >streams\n"
	     "       blxread -a --plain [options] DEV <ranges >stream\n"
	     "       blxread -a --whole [options] DEV >stream\n"
	     "Read the ranges of an extent list from its device and write a block stream; of LIST\n"
	     "files a stream of each.\n"
	     "\n"
	     "  -a, --anonymous    the stream is of no tracked device; DEV may be a file\n"
	     "  -p, --plain        the list is hand-written: OFFSET LENGTH lines, any order\n"
	     "  -w, --whole        no list: all of DEV\n"
	     "  -l, --label NAME   a name for the stream\n"
	     "  -r, --rate R       at most R bytes of data a second (K, M, G, T)\n"
	     "  -P, --progress     show progress even if stderr is no terminal\n"
	     "  -o, --output FILE  write there (-: standard output)\n"
	     "      --skip-bad FILE\n"
	     "                     leave out what cannot be read, and list it in FILE\n"
	     "      --used         a first copy: zeroes for what the file system does not use\n"
	     "      --no-uring     read with threads, not with io_uring\n"
	     "  -h, --help         this text\n"
	     "      --version      the version");
}

static void print_and_exit(void (*print)(void))
{
	print();
	close_stdout();
	exit(BLX_OK);
}

static void parse_option(struct options *o, int c)
{
	switch (c) {
	case 'a':
		o->anonymous = true;
		break;
	case 'p':
		o->plain = true;
		break;
	case 'w':
		o->whole = true;
		break;
	case 'l':
		if (!head_name_ok(optarg))
			die_usage("--label '%s': not a name (1 to %d of A-Z a-z 0-9 . _ : -)",
				  optarg, HEAD_NAME_MAX);
		o->label = optarg;
		break;
	case 'r':
		if (num_size(optarg, &o->rate) || !o->rate)
			die_usage("--rate '%s': not a number of bytes", optarg);
		break;
	case 'P':
		o->progress = true;
		break;
	case 'o':
		if (!*optarg)
			die_usage("--output '': a file's name is expected");
		o->out = strcmp(optarg, "-") ? optarg : NULL;
		break;
	case 'S':
		if (!*optarg || !strcmp(optarg, "-"))
			die_usage("--skip-bad '%s': a file's name is expected", optarg);
		o->skip = optarg;
		break;
	case 'E':
		o->used = true;
		break;
	case 'U':
		o->threads = true;
		break;
	case 'h':
		print_and_exit(usage);
		break;
	case 'V':
		print_and_exit(print_version);
		break;
	default: // the library has refused the rest
		break;
	}
}

// A pipe, or a file that begins as a list does; or an empty one, which is none, and no device
// either.
static bool is_list(const char *path)
{
	struct stat st;
	char first = '#';

	if (stat(path, &st) || !S_ISREG(st.st_mode))
		return !stat(path, &st) && S_ISFIFO(st.st_mode);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool yes = fd >= 0 && read(fd, &first, 1) >= 0 && first == '#';
	if (fd >= 0)
		close(fd);
	return yes;
}

static void parse_operands(struct options *o, int n, char **names)
{
	if (!n)
		return;
	if (o->anonymous || !is_list(names[0])) {
		o->path = names[0];
		if (n > 1)
			die_usage("'%s': one device only", names[1]);
		return;
	}
	o->lists = names;
	o->nlists = n;
}

void parse_options(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {{"anonymous", 0, 0, 'a'},
					      {"plain", 0, 0, 'p'},
					      {"whole", 0, 0, 'w'},
					      {"label", 1, 0, 'l'},
					      {"rate", 1, 0, 'r'},
					      {"progress", 0, 0, 'P'},
					      {"output", 1, 0, 'o'},
					      {"skip-bad", 1, 0, 'S'},
					      {"used", 0, 0, 'E'},
					      {"no-uring", 0, 0, 'U'},
					      {"help", 0, 0, 'h'},
					      {"version", 0, 0, 'V'},
					      {0}};

	for (int c; (c = getopt_or_die(argc, argv, "apwl:r:Po:h", longs)) != -1;)
		parse_option(o, c);
	parse_operands(o, argc - optind, argv + optind);
	if (o->path && !*o->path)
		die_usage("'': a device is expected");
	if (o->plain && o->whole)
		die_usage("--plain and --whole exclude each other");
	if ((o->plain || o->whole) && !o->anonymous)
		die_usage("--%s makes a stream of no tracked device: it needs -a",
			  o->plain ? "plain" : "whole");
	if (o->anonymous && o->used)
		die_usage("--used is for lists of tracked devices; for others see blxused(1)");
	if (o->anonymous && !o->path)
		die_usage("-a needs the device or file to read");
	if (o->out && o->skip && !strcmp(o->out, o->skip))
		die_usage("--skip-bad '%s': is the output", o->skip);
	if (o->nlists > 1 && o->label)
		die_usage("--label: several lists would get the same one");
	if (!o->whole && !o->nlists && isatty(STDIN_FILENO))
		die_usage("no extent list: standard input is a terminal");
}
