// SPDX-License-Identifier: BSD-2-Clause
// blxtrack status: for people, for machines, for monitors.
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blxtrack.h"
#include "die.h"
#include "json.h"
#include "num.h"
#include "saved.h"

enum format { TEXT, JSON, PROMETHEUS, CHECK };

struct options {
	enum format format;
	uint64_t warn, crit;
};

struct report {
	struct tracked *t;
	struct consumer *consumers;
	size_t n;
	uint64_t *lacks; // bytes, a consumer each
	uint64_t *again; // bytes of them that could not be read, or are wrong on the other side
	uint64_t *age;   // seconds since the epoch it acked was cut
	size_t deltas;
};

static void usage(FILE *to)
{
	fputs("usage: blxtrack status [--json | --prometheus | --check --warn AGE --crit AGE] "
	      "[DEV...]\n"
	      "      --json        one JSON object\n"
	      "      --prometheus  metrics in Prometheus' text format\n"
	      "      --check       one line and 0 ok, 1 warning, 2 critical or incomplete, 3 "
	      "unknown\n"
	      "      --warn AGE    warn when a consumer's last acked epoch is older (s, m, h, d)\n"
	      "      --crit AGE    critical when it is older\n"
	      "  -h, --help        this text\n",
	      to);
}

static uint64_t age_option(const char *name, const char *text)
{
	uint64_t v;

	if (num_seconds(text, &v) || !v)
		usage_error("--%s %s: not an age", name, text);
	return v;
}

static struct options parse_options(int argc, char **argv)
{
	static const struct option longs[] = {{"json", no_argument, NULL, 'j'},
					      {"prometheus", no_argument, NULL, 'p'},
					      {"check", no_argument, NULL, 'k'},
					      {"warn", required_argument, NULL, 'w'},
					      {"crit", required_argument, NULL, 'c'},
					      {"help", no_argument, NULL, 'h'},
					      {0}};
	struct options o = {0};
	int c, formats = 0;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 'j':
		case 'p':
		case 'k':
			o.format = c == 'j' ? JSON : c == 'p' ? PROMETHEUS : CHECK;
			formats++;
			break;
		case 'w':
			o.warn = age_option("warn", optarg);
			break;
		case 'c':
			o.crit = age_option("crit", optarg);
			break;
		case 'h':
			usage(stdout);
			close_stdout();
			exit(BLX_OK);
		default:
			usage_error(NULL);
		}
	}
	if (formats > 1 || ((o.warn || o.crit) && o.format != CHECK))
		usage_error("status: one of --json, --prometheus and --check; --warn and --crit go "
			    "with --check");
	if (o.warn && o.crit && o.warn > o.crit)
		usage_error("status: --warn must not be older than --crit");
	return o;
}

// ---- gathering

// A device's health now, not as it was at the last drain. What is found incomplete is remembered.
static void refresh(const struct session *s, struct tracked *t)
{
	struct fault f;

	if (!t->starting)
		prove(&s->k, t, &f);
}

static int gather(const struct session *s, struct tracked *t, struct report *r, struct fault *f)
{
	*r = (struct report){.t = t};
	refresh(s, t);
	if (consumer_all(t, &r->consumers, &r->n, f) || delta_count(t, &r->deltas, f))
		return -1;
	r->lacks = calloc(r->n + 1, sizeof(*r->lacks));
	r->again = calloc(r->n + 1, sizeof(*r->again));
	r->age = calloc(r->n + 1, sizeof(*r->age));
	if (!r->lacks || !r->again || !r->age)
		return fault_errno(f, "status");
	for (size_t i = 0; i < r->n; i++) {
		const struct consumer *c = &r->consumers[i];
		struct changes ch;
		int64_t since = c->acked ? c->acked : c->added, now = time(NULL);
		r->age[i] = now > since ? (uint64_t)(now - since) : 0;
		if (t->starting || t->lost[0])
			continue;
		if (changes_preview(&ch, &s->k, t, c, f))
			return -1;
		int bad = changes_bytes(&ch, &r->lacks[i], f);
		if (ch.extra[EXTRA_AGAIN].fd >= 0)
			r->again[i] = ch.extra[EXTRA_AGAIN].set * t->block;
		changes_close(&ch);
		if (bad)
			return -1;
	}
	return 0;
}

static void release(struct report *r)
{
	free(r->consumers);
	free(r->lacks);
	free(r->again);
	free(r->age);
}

static const char *state_word(const struct tracked *t)
{
	return t->starting   ? "interrupted"
	       : t->lost[0]  ? "incomplete"
	       : saved_is(t) ? "saved"
			     : "tracking";
}

static const char *proof_word(enum proof p)
{
	switch (p) {
	case PROOF_SUMS:
		return "sums";
	case PROOF_DEPTH:
		return "depth";
	case PROOF_NONE:
		return "unproven";
	case PROOF_RUNS:
		return "runs";
	}
	return "?";
}

static const char *proof_text(enum proof p)
{
	switch (p) {
	case PROOF_SUMS:
		return "proven by the disk's statistics";
	case PROOF_DEPTH:
		return "every instance was skipped at times: by the depth of nesting";
	case PROOF_NONE:
		return "unproven, the disk's statistics are off (queue/iostats) or stood still";
	case PROOF_RUNS:
		return "all instances of the programs counted the same events; such devices' "
		       "statistics prove no sums";
	}
	return "?";
}

static const char *way_text(enum way w)
{
	switch (w) {
	case WAY_HEAD:
		return "request completion on all NVMe paths";
	case WAY_BIO:
		return "bio, from submission to completion";
	default:
		return "request completion";
	}
}

static const char *const way_words[WAYS] = {"request", "nvme-head", "bio"};

// What a consumer lacks is known only while no write was missed.
static bool is_known(const struct report *r, size_t i)
{
	return !r->t->starting && !r->t->lost[0] && !r->consumers[i].lost;
}

static const char *position_word(const struct report *r, size_t i)
{
	const struct consumer *c = &r->consumers[i];

	return !is_known(r, i)  ? "lost"
	       : !c->has_base   ? "first copy"
	       : c->resync      ? "resync"
	       : c->has_partial ? "partial"
				: "whole";
}

// ---- printing

// Does this kernel, by name (Documentation/admin-guide/pm/sleep-states.rst)?
static bool can_hibernate(void)
{
	FILE *in = fopen("/sys/power/disk", "re");
	char modes[128];
	bool yes = in && fgets(modes, sizeof(modes), in) && !strstr(modes, "[disabled]");

	if (in)
		fclose(in);
	return yes;
}

static void print_text(const struct report *r)
{
	const struct tracked *t = r->t;
	char lineage[UUID_TEXT];

	uuid_format(&t->lineage, lineage);
	printf("%s (%u:%u): %s%s%s\n", t->dev.name, t->dev.major, t->dev.minor, state_word(t),
	       t->lost[0] ? ": " : "", t->lost);
	printf("  label %s, lineage %s, epoch %" PRIu64 ", %" PRIu64
	       " bytes in blocks of %u, %" PRIu64 " KiB of kernel memory\n",
	       t->label, lineage, t->epoch, t->dev.size, t->block,
	       (kernel_bitmap_bytes(tracked_blocks(t)) + 1023) / 1024);
	printf("  by %s; coverage: %s%s; %zu deltas kept\n", way_text(t->way), proof_text(t->proof),
	       t->ignore_passthrough ? ", passthrough ignored" : "", r->deltas);
	if (!strncmp(t->backing, "table ", 6) && !kernel_has(SIDE_TABLES))
		printf("  this kernel shows no change of a device-mapper table that is changed "
		       "back\n");
	if (!kernel_has(SIDE_HIBERNATE) && can_hibernate())
		printf("  hibernation would not be noticed: this kernel shows no image that is "
		       "made\n");
	if (t->unseen)
		printf("  %" PRIu64
		       " sectors were completed unseen; they were marked when submitted\n",
		       t->unseen);
	for (size_t i = 0; i < r->n; i++) {
		printf("  consumer %s: %s, epoch %" PRIu64 ", age %" PRIu64 " s",
		       r->consumers[i].name, position_word(r, i), consumer_acked(&r->consumers[i]),
		       r->age[i]);
		if (is_known(r, i))
			printf(", lacks %" PRIu64 " bytes", r->lacks[i]);
		if (r->again[i])
			printf(", of them %" PRIu64 " unread or to come again", r->again[i]);
		putchar('\n');
	}
}

static void print_json(const struct report *r, bool first)
{
	const struct tracked *t = r->t;
	char lineage[UUID_TEXT];

	uuid_format(&t->lineage, lineage);
	printf("%s{\"device\":\"%u:%u\",\"name\":", first ? "" : ",", t->dev.major, t->dev.minor);
	json_string(stdout, t->dev.name);
	printf(",\"state\":\"%s\",\"lost\":", state_word(t));
	json_string(stdout, t->lost);
	printf(",\"lineage\":\"%s\",\"epoch\":%" PRIu64 ",\"size\":%" PRIu64
	       ",\"block\":%u,\"way\":\"%s\",\"proof\":\"%s\",\"label\":\"%s\","
	       "\"kernel_bytes\":%" PRIu64 ",\"deltas\":%zu,\"started\":%" PRId64
	       ",\"unseen\":%" PRIu64 ",\"consumers\":[",
	       lineage, t->epoch, t->dev.size, t->block, way_words[t->way], proof_word(t->proof),
	       t->label, kernel_bitmap_bytes(tracked_blocks(t)), r->deltas, t->started,
	       t->unseen * 512);
	for (size_t i = 0; i < r->n; i++) {
		printf("%s{\"name\":\"%s\",\"position\":\"%s\",\"epoch\":%" PRIu64
		       ",\"acked\":%" PRId64 ",\"age\":%" PRIu64 ",\"lacks\":",
		       i ? "," : "", r->consumers[i].name, position_word(r, i),
		       consumer_acked(&r->consumers[i]), r->consumers[i].acked, r->age[i]);
		if (is_known(r, i))
			printf("%" PRIu64, r->lacks[i]);
		else
			printf("null");
		printf(",\"again\":%" PRIu64 "}", r->again[i]);
	}
	printf("]}");
}

struct metric {
	const char *name, *help;
	uint64_t (*value)(const struct report *r, size_t consumer);
	bool per_consumer, if_known;
};

static uint64_t is_whole(const struct report *r, size_t i)
{
	(void)i;
	return !r->t->starting && !r->t->lost[0];
}

static uint64_t is_proven(const struct report *r, size_t i)
{
	(void)i;
	return is_whole(r, 0) && r->t->proof == PROOF_SUMS;
}

static uint64_t epoch_of(const struct report *r, size_t i)
{
	(void)i;
	return r->t->epoch;
}

static uint64_t lacks_of(const struct report *r, size_t i)
{
	return r->lacks[i];
}

static uint64_t again_of(const struct report *r, size_t i)
{
	return r->again[i];
}

static uint64_t is_lost(const struct report *r, size_t i)
{
	return !is_known(r, i);
}

static uint64_t age_of(const struct report *r, size_t i)
{
	return r->age[i];
}

static const struct metric metrics[] = {
	{"blx_tracking_whole", "1 while no write was missed", is_whole, false, false},
	{"blx_tracking_proven", "1 while the disk's statistics prove it", is_proven, false, false},
	{"blx_epoch", "number of the last epoch", epoch_of, false, false},
	{"blx_consumer_lacks_bytes", "bytes that the consumer has not acked", lacks_of, true, true},
	{"blx_consumer_again_bytes", "of them unread at the source, or wrong on the other side",
	 again_of, true, true},
	{"blx_consumer_lost", "1 when it needs a reset or a resync: what it lacks is not known",
	 is_lost, true, false},
	{"blx_consumer_age_seconds", "seconds since the acked epoch was cut", age_of, true, false},
};

static void print_metrics(const struct report *reports, size_t n)
{
	for (size_t m = 0; m < sizeof(metrics) / sizeof(metrics[0]); m++) {
		printf("# HELP %s %s\n# TYPE %s gauge\n", metrics[m].name, metrics[m].help,
		       metrics[m].name);
		for (size_t i = 0; i < n; i++) {
			const struct report *r = &reports[i];
			if (!metrics[m].per_consumer)
				printf("%s{device=\"%s\"} %" PRIu64 "\n", metrics[m].name,
				       r->t->dev.name, metrics[m].value(r, 0));
			for (size_t c = 0; c < r->n && metrics[m].per_consumer; c++) {
				if (metrics[m].if_known && !is_known(r, c))
					continue;
				printf("%s{device=\"%s\",consumer=\"%s\"} %" PRIu64 "\n",
				       metrics[m].name, r->t->dev.name, r->consumers[c].name,
				       metrics[m].value(r, c));
			}
		}
	}
	printf("# HELP blx_devices devices that are tracked\n# TYPE blx_devices gauge\n"
	       "blx_devices %zu\n",
	       n);
}

// Monitors' own codes: 0 ok, 1 warning, 2 critical, 3 unknown.
static int print_check(const struct report *reports, size_t n, const struct options *o)
{
	static const char *const words[] = {"OK", "WARNING", "CRITICAL"};
	int worst = 0;
	char why[256] = "";
	uint64_t oldest = 0;

	if (!n) { // after a reboot, say
		printf("BLX UNKNOWN - nothing is tracked\n");
		return 3;
	}
	for (size_t i = 0; i < n; i++) {
		const struct report *r = &reports[i];
		if (!is_whole(r, 0)) {
			worst = 2;
			snprintf(why, sizeof(why), "%s %s: %.150s", r->t->dev.name,
				 state_word(r->t), r->t->lost);
			break;
		}
		for (size_t c = 0; c < r->n; c++) {
			int level = r->consumers[c].lost || (o->crit && r->age[c] > o->crit) ? 2
				    : (o->warn && r->age[c] > o->warn)                       ? 1
											     : 0;
			oldest = r->age[c] > oldest ? r->age[c] : oldest;
			if (level <= worst)
				continue;
			worst = level;
			snprintf(why, sizeof(why), "%s consumer %s %s %" PRIu64 " s old",
				 r->t->dev.name, r->consumers[c].name,
				 r->consumers[c].lost ? "is lost, last ack" : "is", r->age[c]);
		}
	}
	if (!worst)
		snprintf(why, sizeof(why), "%zu device%s, oldest consumer %" PRIu64 " s", n,
			 n == 1 ? "" : "s", oldest);
	printf("BLX %s - %s\n", words[worst], why);
	return worst;
}

static int print_all(const struct report *reports, size_t n, const struct options *o)
{
	int worst = BLX_OK;

	if (o->format == CHECK)
		return print_check(reports, n, o);
	if (o->format == PROMETHEUS)
		print_metrics(reports, n);
	if (o->format == JSON)
		printf("{\"devices\":[");
	for (size_t i = 0; i < n; i++) {
		if (o->format == TEXT)
			print_text(&reports[i]);
		else if (o->format == JSON)
			print_json(&reports[i], !i);
		if (!is_whole(&reports[i], 0))
			worst = BLX_RESYNC;
	}
	if (o->format == JSON)
		printf("]}\n");
	return worst;
}

_Noreturn static void give_up(const struct options *o, const struct fault *f)
{
	bool lost = f->code == BLX_RESYNC;

	if (o->format == CHECK) {
		printf("BLX %s - %s\n", lost ? "CRITICAL" : "UNKNOWN", f->text);
		close_stdout();
		exit(lost ? 2 : 3);
	}
	die_fault(f);
}

int cmd_status(int argc, char **argv)
{
	const struct options o = parse_options(argc, argv);
	struct session s;
	struct fault f;
	size_t n = 0;

	if (session_open_any(&s, argv + optind, (size_t)(argc - optind), &f))
		give_up(&o, &f);
	if (state_gone(&f))
		give_up(&o, &f);
	struct report *reports = calloc(s.n + 1, sizeof(*reports));
	if (!reports)
		die_errno("status");
	for (size_t i = 0; i < s.n; i++)
		if ((optind == argc || s.wanted[i]) && gather(&s, &s.all[i], &reports[n++], &f))
			give_up(&o, &f);
	int code = print_all(reports, n, &o);
	for (size_t i = 0; i < n; i++)
		release(&reports[i]);
	free(reports);
	session_close(&s);
	return code;
}
