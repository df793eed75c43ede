// SPDX-License-Identifier: BSD-2-Clause
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "blxtls.h"
#include "command.h"
#include "die.h"
#include "num.h"

enum {
	NEAR_TIMEOUT = 30,
	LISTENER_TIMEOUT = 10,
	KEEPALIVE = 60,
	KEEPALIVE_MAX = 32767,
	MAX = 64,
	MAX_MAX = 4096
};
static const uint64_t TIMEOUT_MAX = 1000000000; // seconds

static const char usage[] =
	"usage: blxtls --key FILE --peer ID [options] HOST:PORT\n"
	"       blxtls --listen ADDRESS --key FILE --allow FILE | --peer ID [options] -- CMD...\n"
	"       blxtls --listen ADDRESS --once --key FILE --allow FILE | --peer ID [options]\n"
	"       blxtls --inetd --key FILE --allow FILE | --peer ID [options] -- CMD...\n"
	"       blxtls keygen [--name NAME] FILE\n"
	"       blxtls fingerprint FILE...\n"
	"Connect standard input and output with those of a program on another host, by TLS 1.3, "
	"each\n"
	"end knowing the other.\n"
	"\n"
	"      --key FILE           private key and certificate (keygen makes them), mode 600\n"
	"      --cert FILE          the certificate, if it is not there\n"
	"      --peer ID            the other side must be ID: SHA256:..., or with --ca DNS:NAME,\n"
	"                           IP:ADDRESS, URI:NAME; several times: one of them\n"
	"      --allow FILE         it must be in FILE, with lines NAME ID\n"
	"      --ca FILE            its certificate must come from one of these authorities\n"
	"      --crl FILE           and not be on their lists\n"
	"      --connect-timeout T  until it has proved who it is (30s; --listen 10s)\n"
	"      --timeout T          give up when nothing goes either way for T (never)\n"
	"      --keepalive T        ask whether the other host is there after T idle (60s; 0: "
	"never)\n"
	"      --rate R             send R bytes a second at most; K, M, G, T are powers of 1024\n"
	"      --no-ktls            do not let the kernel encrypt\n"
	"  -4, -6                   IPv4 only, IPv6 only\n"
	"      --bind ADDRESS       connect from ADDRESS\n"
	"  -v, --verbose            say whom the connection is with, and how it is encrypted\n"
	"      --progress           show how much has gone\n"
	"  -h, --help               this text\n"
	"      --version            name and version\n"
	"Listening:\n"
	"      --listen ADDRESS     at HOST:PORT, :PORT, or 'systemd'; several times\n"
	"      --inetd              serve the connection that is standard input\n"
	"      --once               serve one connection, exit as it does\n"
	"      --max N              connections at once (64)\n"
	"      --per-peer N         of these from one peer (1)\n"
	"      --user USER[:GROUP]  become USER after the addresses are bound and the key is read\n"
	"\n"
	"In CMD %p is the peer's NAME, %% a percent sign. T is in seconds, or with s, m, h, d.\n"
	"See blxtls(1).\n";

static uint64_t duration(const char *name, uint64_t least, uint64_t most)
{
	uint64_t v;

	if (num_seconds(optarg, &v) || v < least || v > most)
		die_usage("--%s '%s': a time from %llus to %llus is expected, such as 30s or 5m",
			  name, optarg, (unsigned long long)least, (unsigned long long)most);
	return v;
}

static uint64_t count(const char *name, uint64_t most)
{
	uint64_t v;

	if (num_u64(optarg, &v) || !v || v > most)
		die_usage("--%s '%s': a number from 1 to %llu is expected", name, optarg,
			  (unsigned long long)most);
	return v;
}

static void add_address(struct options *o)
{
	struct fault f;

	if (!strcmp(optarg, "systemd")) {
		o->systemd = true;
	} else {
		if (o->nat == LISTEN_MAX)
			die_usage("--listen: %d addresses at most", LISTEN_MAX);
		if (net_parse(&o->at[o->nat++], optarg, &f))
			die_usage("--listen %s", f.text);
	}
	o->listens = true;
}

enum {
	KEY = 256,
	CERT,
	PEER,
	ALLOW,
	CA,
	CRL,
	CONNECT_TIMEOUT,
	TIMEOUT,
	KEEP,
	RATE,
	NO_KTLS,
	BIND,
	PROGRESS,
	VERSION,
	LISTEN,
	INETD,
	ONCE,
	MAX_AT_ONCE,
	PER_PEER,
	USER
};

static void take_limit(struct options *o, int c)
{
	if (c == CONNECT_TIMEOUT)
		o->connect_timeout = duration("connect-timeout", 1, TIMEOUT_MAX);
	else if (c == TIMEOUT)
		o->timeout = duration("timeout", 1, TIMEOUT_MAX);
	else if (c == KEEP)
		o->keepalive = duration("keepalive", 0, KEEPALIVE_MAX);
	else if (c == MAX_AT_ONCE)
		o->max = count("max", MAX_MAX);
	else if (c == PER_PEER)
		o->per_peer = count("per-peer", MAX_MAX);
	else if (c == RATE && (num_size(optarg, &o->rate) || !o->rate))
		die_usage("--rate '%s': bytes a second are expected, such as 500K or 20M", optarg);
}

static void take(struct options *o, int c)
{
	struct fault f;

	switch (c) {
	case KEY:
		o->key = optarg;
		break;
	case CERT:
		o->cert = optarg;
		break;
	case PEER:
		if (peers_add(&o->peers, NULL, optarg, &f))
			die_usage("--peer %s", f.text);
		break;
	case ALLOW:
		o->allow = optarg;
		break;
	case CA:
		o->ca = optarg;
		break;
	case CRL:
		o->crl = optarg;
		break;
	case BIND:
		o->bind = optarg;
		break;
	case NO_KTLS:
		o->ktls = false;
		break;
	case PROGRESS:
		o->progress = true;
		break;
	case '4':
	case '6':
		o->family = c == '4' ? AF_INET : AF_INET6;
		break;
	case 'v':
		o->verbose = true;
		break;
	case LISTEN:
		add_address(o);
		break;
	case INETD:
		o->inetd = true;
		break;
	case ONCE:
		o->once = true;
		break;
	case USER:
		o->user = optarg;
		break;
	case 'h':
		fputs(usage, stdout);
		close_stdout();
		_exit(BLX_OK);
	case VERSION:
		print_version();
		close_stdout();
		_exit(BLX_OK);
	default:
		take_limit(o, c);
	}
}

static void check_command(const struct options *o)
{
	struct fault f;

	if (!o->cmd)
		return;
	char **words = command_words(o->cmd, o->allow ? "name" : NULL, &f);
	if (!words)
		die_usage("%s", f.text);
	command_free_words(words);
}

static void check_listener(const struct options *o, int operands, char **argv)
{
	if (o->listens && o->inetd)
		die_usage("--listen and --inetd: one of them");
	if (operands)
		die_usage("'%s': with %s, only CMD is expected, behind '--'", *argv,
			  o->inetd ? "--inetd" : "--listen");
	if (!o->cmd && (o->inetd || !o->once))
		die_usage("a command is expected behind '--'%s", o->inetd ? "" : ", or --once");
	if (o->bind)
		die_usage("--bind is for the near side; --listen HOST:PORT has an address");
	if (o->inetd && (o->max || o->per_peer || o->once))
		die_usage("--max, --per-peer and --once are for --listen: inetd has limits of its "
			  "own");
}

static void check_near(struct options *o, int operands, char **argv)
{
	struct fault f;

	// "--" may as well be the end of options that it is elsewhere
	if (!operands && o->cmd && !o->cmd[1]) {
		argv = o->cmd;
		operands = 1;
		o->cmd = NULL;
	}
	if (operands != 1 || o->cmd)
		die_usage(operands ? "one HOST:PORT is expected, and nothing else"
				   : "HOST:PORT is expected, or --listen");
	if (net_parse(&o->to, *argv, &f))
		die_usage("%s", f.text);
	if (!*o->to.host)
		die_usage("'%s': a host is expected in front of the colon", *argv);
	if (o->once || o->allow || o->user || o->max || o->per_peer)
		die_usage("--once, --allow, --user, --max and --per-peer are for --listen");
}

static void check_identities(const struct options *o, bool serves)
{
	if (!o->key)
		die_usage("--key FILE is expected; 'blxtls keygen FILE' makes one");
	if (o->crl && !o->ca)
		die_usage("--crl needs --ca");
	if (o->allow && o->peers.n)
		die_usage("--allow and --peer: one of them");
	if (serves && !o->allow && !o->peers.n)
		die_usage("--allow FILE or --peer ID is expected: nobody else is let in");
	if (!serves && !o->peers.n && !o->ca)
		die_usage("--peer ID is expected: who must be there ('blxtls fingerprint FILE' "
			  "prints it)");
	for (size_t i = 0; i < o->peers.n; i++)
		if (!o->ca && !tls_id_is_key(o->peers.all[i].id))
			die_usage("--peer '%s': a name is believed with --ca only",
				  o->peers.all[i].id);
}

struct options parse_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{"key", required_argument, NULL, KEY},
		{"cert", required_argument, NULL, CERT},
		{"peer", required_argument, NULL, PEER},
		{"allow", required_argument, NULL, ALLOW},
		{"ca", required_argument, NULL, CA},
		{"crl", required_argument, NULL, CRL},
		{"timeout", required_argument, NULL, TIMEOUT},
		{"keepalive", required_argument, NULL, KEEP},
		{"rate", required_argument, NULL, RATE},
		{"no-ktls", no_argument, NULL, NO_KTLS},
		{"bind", required_argument, NULL, BIND},
		{"progress", no_argument, NULL, PROGRESS},
		{"verbose", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, VERSION},
		{"listen", required_argument, NULL, LISTEN},
		{"inetd", no_argument, NULL, INETD},
		{"once", no_argument, NULL, ONCE},
		{"max", required_argument, NULL, MAX_AT_ONCE},
		{"per-peer", required_argument, NULL, PER_PEER},
		{"user", required_argument, NULL, USER},
		{"connect-timeout", required_argument, NULL, CONNECT_TIMEOUT},
		{NULL, 0, NULL, 0},
	};
	struct options o = {.family = AF_UNSPEC, .keepalive = KEEPALIVE, .ktls = true};
	int c, end = 0;

	// what stands behind "--" is not ours, and stays in its order
	while (end < argc && strcmp(argv[end], "--"))
		end++;
	while ((c = getopt_or_die(end, argv, "46vh", longs)) != -1)
		take(&o, c);
	if (end + 1 < argc)
		o.cmd = argv + end + 1;
	bool serves = o.listens || o.inetd;
	if (serves)
		check_listener(&o, end - optind, argv + optind);
	else
		check_near(&o, end - optind, argv + optind);
	check_identities(&o, serves);
	check_command(&o);
	if (!o.max)
		o.max = MAX;
	if (!o.per_peer)
		o.per_peer = 1;
	if (!o.connect_timeout)
		o.connect_timeout = serves ? LISTENER_TIMEOUT : NEAR_TIMEOUT;
	return o;
}
