// SPDX-License-Identifier: BSD-2-Clause
// blxtrack: track in the kernel which blocks of a disk change, and list them for those who
// replicate it.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blxtrack.h"
#include "die.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *synopsis;
} commands[] = {
	{"start", cmd_start, "[-b BLOCK] [--restore[=FILE]] DEV...       begin to track"},
	{"stop", cmd_stop, "[--force] DEV...|--all               end it"},
	{"save", cmd_save,
	 "[-o FILE] [--pending PATH] DEV...|--all  keep the history over a reboot"},
	{"drain", cmd_drain,
	 "[-c C] [-n] [--max SIZE] [--every SECONDS] DEV | -o DIR DEV...   list what changed"},
	{"commit", cmd_commit, "[-c C] [--timeout SECONDS] DEV...    take acks"},
	{"run", cmd_run,
	 "[-c C] [--max SIZE] [--timeout SECONDS] DEV... -- CMD...   drain to CMD, commit from "
	 "CMD"},
	{"consumer", cmd_consumer, "add|remove|reset NAME DEV, list DEV  who replicates a device"},
	{"resync", cmd_resync, "[-c C] DEV < EXTENTS               take what a comparison found"},
	{"follow", cmd_follow, "DEV...                               print writes as they happen"},
	{"status", cmd_status, "[DEV...] [--json|--prometheus|--check --warn AGE --crit AGE]"},
	{"upgrade", cmd_upgrade,
	 "                                     take over what an older version tracks"},
};

static const char *running = ""; // the command's name

void usage_error(const char *fmt, ...)
{
	char words[256];
	va_list ap;

	if (fmt) {
		va_start(ap, fmt);
		vsnprintf(words, sizeof(words), fmt, ap);
		va_end(ap);
		warn("%s", words);
	}
	fprintf(stderr, "Try 'blxtrack %s%s--help'.\n", running, *running ? " " : "");
	exit(BLX_USAGE);
}

static void usage(FILE *to)
{
	fputs("usage: blxtrack COMMAND ...\n", to);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(to, "  %-9s%s\n", commands[i].name, commands[i].synopsis);
	fputs("  -h, --help     this text; blxtrack COMMAND --help: of a command\n"
	      "      --version  which version\n"
	      "See blxtrack(8).\n",
	      to);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		usage_error(
			"which command? start, stop, save, drain, commit, run, consumer, resync, "
			"follow, status or upgrade");
	if (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help")) {
		usage(stdout);
		close_stdout();
		return BLX_OK;
	}
	if (!strcmp(argv[1], "--version")) {
		print_version();
		close_stdout();
		return BLX_OK;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], commands[i].name))
			continue;
		running = commands[i].name;
		argv[1] = argv[0]; // for getopt's messages
		int code = commands[i].run(argc - 1, argv + 1);
		close_stdout();
		return code;
	}
	usage_error("%s: no such command", argv[1]);
}
