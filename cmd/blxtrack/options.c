// SPDX-License-Identifier: BSD-2-Clause
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "blxtrack.h"
#include "die.h"
#include "num.h"
#include "options.h"

static const struct option all[] = {
	{"consumer", required_argument, NULL, 'c'}, {"dry-run", no_argument, NULL, 'n'},
	{"output", required_argument, NULL, 'o'},   {"max", required_argument, NULL, 'm'},
	{"every", required_argument, NULL, 'e'},    {"timeout", required_argument, NULL, 't'},
	{"help", no_argument, NULL, 'h'},
};

enum { ALL = sizeof(all) / sizeof(*all), SECONDS_MAX = 1 << 30 };

static uint64_t seconds(const char *name, const char *s)
{
	uint64_t v;

	if (num_seconds(s, &v) || !v || v > SECONDS_MAX)
		usage_error("--%s %s: not a number of seconds", name, s);
	return v;
}

static void take(struct options *o, int c)
{
	switch (c) {
	case 'c':
		o->consumer = optarg;
		break;
	case 'n':
		o->preview = true;
		break;
	case 'o':
		if (!*optarg || !strcmp(optarg, "-"))
			usage_error("-o '%s': a directory is expected", optarg);
		o->output = optarg;
		break;
	case 'm':
		if (num_size(optarg, &o->max) || !o->max)
			usage_error("--max %s: not a size", optarg);
		break;
	case 'e':
		o->every = seconds("every", optarg);
		break;
	case 't':
		o->timeout = seconds("timeout", optarg);
		break;
	}
}

struct options parse_options(int argc, char **argv, const char *takes, void (*usage)(FILE *to))
{
	struct options o = {.consumer = DEFAULT_CONSUMER};
	struct option longs[ALL + 1] = {0};
	char shorts[32];
	size_t n = 0;
	int c;

	strcpy(shorts, *takes == '+' ? "+h" : "h");
	for (size_t i = 0; i < ALL; i++) {
		if (all[i].val != 'h' && !strchr(takes, all[i].val))
			continue;
		longs[n++] = all[i];
		if (strchr("cno", all[i].val)) // the others have no letter
			snprintf(shorts + strlen(shorts), 4, "%c%s", all[i].val,
				 all[i].has_arg ? ":" : "");
	}
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		if (c == '?')
			usage_error(NULL);
		if (c == 'h') {
			usage(stdout);
			close_stdout();
			exit(BLX_OK);
		}
		take(&o, c);
	}
	return o;
}
