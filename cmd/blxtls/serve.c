// SPDX-License-Identifier: BSD-2-Clause
// Who is at the other end, and a connection from its handshake to its end.
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blxtls.h"
#include "command.h"
#include "die.h"
#include "offspring.h"

// ---- who

// 0; 1: it is none of them; -1: with the fault.
static int take_if(struct remote *r, const struct peers *p, const struct tls_cert *cert,
		   struct fault *f)
{
	const struct peer *also, *found = peers_find(p, cert, &also);

	if (!found)
		return 1;
	if (also)
		return fault_set(f, BLX_TARGET, "refused: it is both %s (%.60s) and %s (%.60s)",
				 found->name, found->id, also->name, also->id);
	strcpy(r->name, found->name);
	snprintf(r->id, sizeof(r->id), "%s", found->id);
	return 0;
}

// Nobody was named: then it is the host that was asked for.
static int expect_host(struct peers *p, const char *host, struct fault *f)
{
	char id[TLS_ID_MAX];
	struct fault no;

	snprintf(id, sizeof(id), "IP:%s", host);
	if (tls_id_check(id, &no))
		snprintf(id, sizeof(id), "DNS:%s", host);
	return peers_add(p, NULL, id, f);
}

int load_allowed(struct peers *p, const struct options *o, struct fault *f)
{
	if (peers_load(p, o->allow, f))
		return -1;
	for (size_t i = 0; i < p->n; i++)
		if (!o->ca && !tls_id_is_key(p->all[i].id))
			return fault_set(f, BLX_SYSTEM,
					 "%s: '%s': a name is believed with --ca only", o->allow,
					 p->all[i].id);
	return 0;
}

int remote_judge(void *arg, const struct tls_cert *cert, struct fault *f)
{
	struct remote *r = arg;
	const struct options *o = r->o;
	char seen[TLS_FINGERPRINT];
	struct peers p = {0};
	int bad = 0;

	tls_cert_fingerprint(cert, seen);
	if (o->peers.n) {
		if (take_if(r, &o->peers, cert, f))
			bad = fault_set(
				f, BLX_TARGET, "refused: it is %s; expected is %s%s (--peer)", seen,
				o->peers.all[0].id, o->peers.n > 1 ? ", or another one" : "");
		return bad;
	}
	bad = o->allow ? load_allowed(&p, o, f) : expect_host(&p, o->to.host, f);
	if (!bad)
		bad = take_if(r, &p, cert, f);
	if (bad > 0)
		bad = o->allow
			      ? fault_set(f, BLX_TARGET, "refused: %s is not in %s", seen, o->allow)
			      : fault_set(f, BLX_TARGET,
					  "refused: it is %s, which has no certificate for %s",
					  seen, p.all[0].id);
	peers_free(&p);
	return bad;
}

struct tls_context *make_context(const struct options *o, struct fault *f)
{
	struct tls_config c = {
		.server = o->listens || o->inetd,
		.key = o->key,
		.cert = o->cert,
		.ca = o->ca,
		.crl = o->crl,
		.ktls = o->ktls,
		.judge = remote_judge,
	};

	return tls_context_new(&c, f);
}

int shake_hands(struct tls *t, int fd, int64_t end_ms, struct fault *f)
{
	int r;

	while ((r = tls_handshake(t, f)) == TLS_AGAIN) {
		struct pollfd p = {.fd = fd, .events = tls_events(t)};
		int64_t left = end_ms - net_now_ms();
		if (left <= 0)
			return fault_set(f, BLX_SYSTEM, "no answer in time (--connect-timeout)");
		if (poll(&p, 1, left < INT32_MAX ? (int)left : INT32_MAX) < 0 && errno != EINTR)
			return fault_errno(f, "poll");
	}
	return r;
}

// ---- serving

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
	stop = sig;
}

// They interrupt nothing but waiting.
static void hold_signals(struct session *s)
{
	static const int signals[] = {SIGHUP, SIGINT, SIGTERM};
	struct sigaction act = {.sa_handler = on_signal};
	sigset_t held;

	sigemptyset(&held);
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		sigaddset(&held, signals[i]);
		sigaction(signals[i], &act, NULL);
	}
	sigprocmask(SIG_BLOCK, &held, NULL);
	sigemptyset(&s->waiting);
	s->stop = &stop;
}

static int start_command(struct session *s, const struct remote *r, struct fault *f)
{
	char **words = command_words(r->o->cmd, *r->name ? r->name : NULL, f);
	int bad = words ? 0 : -1;

	if (!bad && offspring_adopt())
		bad = fault_errno(f, "PR_SET_CHILD_SUBREAPER");
	if (!bad)
		bad = command_start(words, *r->name ? r->name : r->id, r->address, &s->in, &s->out,
				    &s->command, f);
	command_free_words(words);
	return bad;
}

static void log_end(const struct remote *r, const struct session *s, int64_t begun,
		    enum blx_exit code, const struct fault *f)
{
	int64_t ms = net_now_ms() - begun;

	warn("%s %s: %s: %" PRIu64 " bytes in, %" PRIu64 " out, %" PRId64 ".%" PRId64 " s",
	     r->address, *r->name ? r->name : r->id, code ? f->text : "done", s->received, s->sent,
	     ms / 1000, ms % 1000 / 100);
}

static void say_whom(const struct remote *r, const struct tls *t)
{
	char words[TLS_WORDS];

	tls_describe(t, words);
	warn("%s %s%s%s: connected, %s%s", r->address, r->name, *r->name ? " " : "", r->id, words,
	     tls_is_ours(t) ? "" : "; not blxtls at the other end");
}

enum blx_exit serve(const struct remote *r, struct tls *t, int fd)
{
	const struct options *o = r->o;
	int64_t begun = net_now_ms();
	struct progress progress;
	struct fault f = {.code = BLX_OK};
	struct rate rate;
	struct session s = {.tls = t,
			    .socket = fd,
			    .in = STDIN_FILENO,
			    .out = STDOUT_FILENO,
			    .timeout_ms = (int64_t)o->timeout * 1000,
			    .silence_ms = (int64_t)o->keepalive * 2000,
			    .rate = &rate,
			    .serves = o->cmd};

	rate_init(&rate, o->rate);
	if (o->verbose)
		say_whom(r, t);
	if (o->progress) {
		progress_init(&progress, true, 0);
		s.progress = &progress;
	}
	if (o->cmd) {
		hold_signals(&s);
		if (start_command(&s, r, &f))
			warn("%s", f.text);
	}
	enum blx_exit code = session_run(&s, &f);
	if (o->progress)
		progress_end(&progress);
	if (o->cmd)
		log_end(r, &s, begun, code, &f);
	else if (code)
		warn("%s: %s", r->address, f.text);
	return code;
}
