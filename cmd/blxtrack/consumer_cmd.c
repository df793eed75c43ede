// SPDX-License-Identifier: BSD-2-Clause
// blxtrack consumer: who replicates a device, and how far each is.
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blxtrack.h"
#include "die.h"
#include "num.h"

static void usage(FILE *to)
{
	fputs("usage: blxtrack consumer add [--now] NAME DEV\n"
	      "       blxtrack consumer remove NAME DEV\n"
	      "       blxtrack consumer reset NAME DEV\n"
	      "       blxtrack consumer list DEV\n"
	      "  add     a new consumer, which lacks the whole device\n"
	      "    --now   which lacks nothing yet: only what is written from now on\n"
	      "  remove  forget it and what is kept for it\n"
	      "  reset   its replica is lost: it lacks the whole device again\n"
	      "  list    NAME, acked epoch, time of that epoch, bytes it lacks\n"
	      "  -h, --help  this text\n",
	      to);
}

static int add(struct session *s, const char *name, bool now, struct fault *f)
{
	struct tracked *t = s->want[0];
	struct consumer c = {.added = time(NULL)};
	size_t len = strlen(name);

	if (!head_name_ok(name) || (len > 4 && !strcmp(name + len - 4, ".new")))
		return fault_set(f, BLX_USAGE,
				 "'%s' is no name for a consumer: letters, digits and ._:- only, "
				 "not .new at the end",
				 name);
	if (consumer_exists(t, name))
		return fault_set(f, BLX_USAGE, "%s has a consumer '%s' already", t->dev.name, name);
	snprintf(c.name, sizeof(c.name), "%s", name);
	c.epoch = t->epoch;
	if (now) {
		if (session_flip(s, f))
			return -1;
		const struct stamp *stamp = session_stamp(s, t);
		c.epoch = stamp->epoch;
		c.has_base = true;
		c.base = stamp->token;
		c.cursor = stamp->size;
		c.acked = stamp->time;
	}
	return consumer_save(t, &c, f);
}

// Its name, to C. Its record may be damaged.
static int known(const struct tracked *t, const char *name, struct consumer *c, struct fault *f)
{
	struct consumer old;

	if (consumer_load(t, name, &old, f) && f->code != BLX_RESYNC)
		return -1;
	snprintf(c->name, sizeof(c->name), "%s", name);
	return 0;
}

static int reset(struct session *s, const char *name, struct fault *f)
{
	struct consumer c = {0};

	if (known(s->want[0], name, &c, f))
		return -1;
	c.epoch = s->want[0]->epoch;
	c.added = time(NULL);
	return consumer_save(s->want[0], &c, f) || extra_tidy(s->want[0], &c, f) ? -1 : 0;
}

static int remove_one(struct session *s, const char *name, struct fault *f)
{
	struct consumer none = {0};

	if (known(s->want[0], name, &none, f) || consumer_remove(s->want[0], name, f))
		return -1;
	return extra_tidy(s->want[0], &none, f);
}

static int list(struct session *s, struct fault *f)
{
	struct consumer *c;
	size_t n;
	int bad = 0;

	if (consumer_all(s->want[0], &c, &n, f))
		return -1;
	for (size_t i = 0; i < n && !bad; i++) {
		char when[NUM_TIME_TEXT] = "never";
		struct changes ch;
		uint64_t bytes;
		if (c[i].acked)
			num_time_text(c[i].acked, when);
		if (c[i].lost || s->want[0]->lost[0]) {
			printf("%s %" PRIu64 " %s lost\n", c[i].name, consumer_acked(&c[i]), when);
			continue;
		}
		bad = changes_preview(&ch, &s->k, s->want[0], &c[i], f);
		if (bad)
			break;
		bad = changes_bytes(&ch, &bytes, f);
		changes_close(&ch);
		printf("%s %" PRIu64 " %s %" PRIu64 "\n", c[i].name, consumer_acked(&c[i]), when,
		       bytes);
	}
	free(c);
	return bad;
}

int cmd_consumer(int argc, char **argv)
{
	static const struct option longs[] = {
		{"now", no_argument, NULL, 'n'}, {"help", no_argument, NULL, 'h'}, {0}};
	bool now = false;
	struct session s;
	struct fault f;
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'h') {
			usage(stdout);
			return BLX_OK;
		}
		if (c != 'n')
			usage_error(NULL);
		now = true;
	}
	const char *verb = optind < argc ? argv[optind] : "";
	bool listing = !strcmp(verb, "list"), adding = !strcmp(verb, "add");
	if (!listing && !adding && strcmp(verb, "remove") && strcmp(verb, "reset"))
		usage_error("consumer: add, remove, reset or list");
	if (argc - optind != (listing ? 2 : 3) || (now && !adding))
		usage_error("consumer %s: %s", verb,
			    listing  ? "DEV"
			    : adding ? "[--now] NAME DEV"
				     : "NAME DEV");
	const char *name = argv[optind + 1];
	if ((listing ? session_open_any : session_open)(&s, argv + argc - 1, 1, &f))
		die_fault(&f);
	int bad = listing                  ? list(&s, &f)
		  : adding                 ? add(&s, name, now, &f)
		  : !strcmp(verb, "reset") ? reset(&s, name, &f)
					   : remove_one(&s, name, &f);
	if (bad)
		die_fault(&f);
	session_close(&s);
	return BLX_OK;
}
