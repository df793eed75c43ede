// SPDX-License-Identifier: BSD-2-Clause
// blxapply: apply a block stream to an image or a block device; all of an epoch, or nothing.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apply.h"
#include "die.h"
#include "io.h"
#include "num.h"

static const char USAGE[] =
	"usage: blxapply [--ack] [--in-place] [--digests] [--spool DIR] [--timeout T] "
	"[--progress] TARGET < STREAM\n"
	"       blxapply [--ack] [--digests] [--spool DIR] [--timeout T] [--progress] --into DIR < "
	"STREAMS\n"
	"       blxapply --restore [--timeout T] [--progress] TARGET < STREAM\n"
	"       blxapply --allow init|resync [--keep[=FILE]] TARGET\n"
	"       blxapply --promote TARGET\n"
	"       blxapply --status [--ack | --json] TARGET\n"
	"       blxapply --recover TARGET | --into DIR\n"
	"Apply a block stream to an image file or a block device: all of an epoch, or nothing.\n"
	"\n"
	"  -a, --ack           write acks on standard output, for blxtrack commit\n"
	"  -A, --allow WHAT    permit once: init (overwrite what is there), resync (take a resync "
	"list;\n"
	"                      what is no replica becomes one, as it is)\n"
	"  -k, --keep[=FILE]   with --allow resync: a copy first (default: "
	"TARGET.kept-EPOCH-or-time)\n"
	"  -p, --promote       TARGET is no replica any more: it takes no streams\n"
	"  -i, --in-place      write straight into the target; it is incomplete meanwhile\n"
	"  -I, --into DIR      streams in succession, each to the image in DIR that its label "
	"names; "
	"those of\n"
	"                      one instant all or none\n"
	"  -d, --digests       from now on keep digests beside the image, for a scrub\n"
	"      --no-digests    no longer, and remove them\n"
	"  -S, --spool DIR     collect an epoch in DIR before it is applied (default: beside the "
	"target)\n"
	"  -t, --timeout T     give up when no input came for T seconds (or 5m, 2h)\n"
	"  -s, --status        print what the replica holds; with --ack as an ack\n"
	"  -j, --json          --status for programs\n"
	"  -r, --recover       finish what a crash left pending\n"
	"  -R, --restore       write a whole stream onto TARGET and keep no state\n"
	"      --confine WHEN  reach nothing but the target's directory: try (default), must, no\n"
	"  -P, --progress      show progress even if standard error is no terminal\n"
	"  -h, --help          this text\n"
	"      --version       version\n";

enum { VERSION = 256, NO_DIGESTS, CONFINE }; // have no letter

static const struct option LONG[] = {
	{"ack", no_argument, NULL, 'a'},
	{"allow", required_argument, NULL, 'A'},
	{"in-place", no_argument, NULL, 'i'},
	{"into", required_argument, NULL, 'I'},
	{"spool", required_argument, NULL, 'S'},
	{"timeout", required_argument, NULL, 't'},
	{"status", no_argument, NULL, 's'},
	{"json", no_argument, NULL, 'j'},
	{"recover", no_argument, NULL, 'r'},
	{"restore", no_argument, NULL, 'R'},
	{"digests", no_argument, NULL, 'd'},
	{"no-digests", no_argument, NULL, NO_DIGESTS},
	{"keep", optional_argument, NULL, 'k'},
	{"promote", no_argument, NULL, 'p'},
	{"progress", no_argument, NULL, 'P'},
	{"help", no_argument, NULL, 'h'},
	{"confine", required_argument, NULL, CONFINE},
	{"version", no_argument, NULL, VERSION},
	{NULL, 0, NULL, 0},
};

static int timeout(const char *s)
{
	uint64_t t;

	if (num_seconds(s, &t) || !t || t > INT_MAX / 1000)
		die_usage("--timeout: '%s' is no time in seconds (1 to %d)", s, INT_MAX / 1000);
	return (int)t * 1000;
}

static const char *kind(const char *s)
{
	if (strcmp(s, "init") && strcmp(s, "resync"))
		die_usage("--allow: '%s' is neither init nor resync", s);
	return s;
}

// It is named in the state, for a later run that may start elsewhere.
static int resolve(const char *option, const char **dir, struct fault *f)
{
	const char *given = *dir;

	if (!given)
		return 0;
	*dir = realpath(given, NULL);
	if (!*dir)
		return fault_errno(f, "%s: %s", option, given);
	if (strchr(*dir, '\n'))
		return fault_set(f, BLX_USAGE, "%s: a newline in the name of the directory",
				 option);
	return 0;
}

static _Noreturn void help(void)
{
	fputs(USAGE, stdout);
	close_stdout();
	exit(BLX_OK);
}

static void check(const struct options *o)
{
	int modes = o->status + o->recover + o->restore + o->promote + !!o->allow;
	bool applying = o->in_place || o->spool || o->digests || o->no_digests;

	if (o->into && (o->in_place || o->status || o->restore || o->promote || o->allow))
		die_usage("--into is for applying and for --recover, and never --in-place");
	if (modes > 1)
		die_usage(
			"--allow, --promote, --status, --recover and --restore exclude each other");
	if (o->keep && (!o->allow || strcmp(o->allow, "resync")))
		die_usage("--keep goes with --allow resync only");
	if (modes && applying)
		die_usage("--in-place, --spool and --digests are for applying only");
	if (o->digests && o->no_digests)
		die_usage("--digests and --no-digests exclude each other");
	if (o->ack && modes && !o->status)
		die_usage("--ack goes with applying or with --status only");
	if (o->timeout_ms >= 0 && modes && !o->restore)
		die_usage("--timeout is for reading a stream only");
	if (o->json && (!o->status || o->ack))
		die_usage("--json goes with --status alone");
	if (modes && !o->restore)
		return;
	if (isatty(STDIN_FILENO))
		die_usage("a stream is wanted on standard input, not a terminal");
}

static void parse_options(struct options *o, int argc, char **argv)
{
	int c;

	*o = (struct options){.timeout_ms = -1};
	while ((c = getopt_or_die(argc, argv, "aA:diI:k::pS:t:sjrRPh", LONG)) != -1) {
		switch (c) {
		case 'a':
			o->ack = true;
			break;
		case 'A':
			o->allow = kind(optarg);
			break;
		case 'd':
			o->digests = true;
			break;
		case NO_DIGESTS:
			o->no_digests = true;
			break;
		case 'i':
			o->in_place = true;
			break;
		case 'I':
			o->into = optarg;
			break;
		case 'k':
			o->keep = true;
			o->kept = optarg;
			break;
		case 'p':
			o->promote = true;
			break;
		case 'S':
			o->spool = optarg;
			break;
		case 't':
			o->timeout_ms = timeout(optarg);
			break;
		case 's':
			o->status = true;
			break;
		case 'j':
			o->json = true;
			break;
		case 'r':
			o->recover = true;
			break;
		case 'R':
			o->restore = true;
			break;
		case 'P':
			o->progress = true;
			break;
		case CONFINE:
			if (confine_when(optarg, &o->confine))
				die_usage("--confine: '%s' is none of try, must and no", optarg);
			break;
		case 'h':
			help();
		case VERSION:
			print_version();
			close_stdout();
			exit(BLX_OK);
		}
	}
	if (o->into && optind < argc)
		die_usage("--into: the streams' labels name the images, not '%s' too",
			  argv[optind]);
	if (!o->into && optind == argc)
		die_usage("no TARGET given");
	if (optind + 1 < argc)
		die_usage("one TARGET only, not '%s' too", argv[optind + 1]);
	o->target = argv[optind];
	check(o);
}

static int read_stream(struct job *j, struct fault *f)
{
	const struct options *o = j->o;

	j->in = stream_reader_new(STDIN_FILENO);
	if (!j->in)
		return fault_errno(f, "standard input");
	stream_reader_watch(j->in, o->ack ? STDOUT_FILENO : -1, o->timeout_ms);
	progress_init(&j->progress, o->progress, 0);
	int bad = o->restore ? restore(j, f) : receive(j, f);
	if (j->progress.done)
		progress_end(&j->progress);
	return bad;
}

static int recover_now(struct job *j, struct fault *f)
{
	struct replica was;

	if (target_open_dir(&j->t, false, f))
		return -1;
	if (j->t.dirfd < 0 || job_read(j, REPLICA_STATE, &was, f) == 0)
		return fault_set(f, BLX_TARGET, "%s: no replica here", j->t.path);
	if (job_load(j, f))
		return -1;
	return recover_check(j, f);
}

static int run(struct job *j, enum blx_exit *code, struct fault *f)
{
	const struct options *o = j->o;

	if (!o->into && target_find(&j->t, o->target, f))
		return -1;
	if (confine_job(j, f))
		return -1;
	if (o->into)
		return o->recover ? into_recover(o, f) : into(o, f);
	if (o->allow)
		return allow(j, f);
	if (o->promote)
		return promote(j, f);
	if (o->status)
		return status(j, code, f);
	if (o->recover)
		return recover_now(j, f);
	return read_stream(j, f);
}

// The source's side of the pipe hears why, too.
static void say_failed(struct job *j, const struct fault *f)
{
	struct fault ignored;
	struct ack a;

	if (j->o->status)
		return;
	ack_for(&a, ACK_FAILED, j->h);
	a.code = f->code;
	fault_fit(a.why, sizeof(a.why), f->text);
	job_ack(j, &a, &ignored);
}

int main(int argc, char **argv)
{
	struct options o;
	struct job j;
	enum blx_exit code = BLX_OK;
	struct fault f = {.code = BLX_SYSTEM};

	parse_options(&o, argc, argv);
	signal(SIGPIPE, SIG_IGN);
	job_init(&j, &o);
	if (resolve("--into", &o.into, &f) || resolve("--spool", &o.spool, &f)) {
		say_failed(&j, &f);
		die_fault(&f);
	}
	int bad = run(&j, &code, &f);
	if (bad && !o.into) // into() says it of each stream
		say_failed(&j, &f);
	stream_reader_free(j.in);
	job_free(&j);
	free((char *)o.spool);
	free((char *)o.into);
	if (bad)
		die_fault(&f);
	close_stdout();
	return code;
}
