// SPDX-License-Identifier: BSD-2-Clause
// blxtls: a pipe over TLS 1.3, each end of which knows the other.
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "blxtls.h"
#include "die.h"
#include "user.h"

static enum blx_exit connect_to(const struct options *o)
{
	int64_t end = net_now_ms() + (int64_t)o->connect_timeout * 1000;
	struct remote r = {.o = o};
	struct fault f;
	struct tls_context *x = make_context(o, &f);
	int fd = x ? net_connect(&o->to, o->bind, o->family, end, r.address, &f) : -1;

	if (fd < 0)
		die_fault(&f);
	net_tune(fd, o->keepalive);
	// words name the host as it was asked for
	snprintf(r.address, sizeof(r.address), "%.*s:%s", NET_TEXT - NET_PORT - 1, o->to.host,
		 o->to.port);
	struct tls *t = tls_new(x, fd, o->to.host, &r);
	if (!t)
		die_errno("%s", r.address);
	if (shake_hands(t, fd, end, &f))
		die(f.code, "%s: %s", r.address, f.text);
	enum blx_exit code = serve(&r, t, fd);
	tls_free(t);
	tls_context_free(x);
	return code;
}

// ---- inetd, whose connection is standard error too: words are not for the other end

static ssize_t to_syslog(void *cookie, const char *line, size_t n)
{
	(void)cookie;
	syslog(LOG_DAEMON | LOG_NOTICE, "%.*s", (int)n, line);
	return (ssize_t)n;
}

static void keep_words_here(void)
{
	struct stat in, err;
	int null;

	if (fstat(STDIN_FILENO, &in) || fstat(STDERR_FILENO, &err) || !S_ISSOCK(in.st_mode) ||
	    in.st_dev != err.st_dev || in.st_ino != err.st_ino)
		return;
	FILE *log = fopencookie(NULL, "w", (cookie_io_functions_t){.write = to_syslog});
	if (!log || (null = open("/dev/null", O_RDWR)) < 0)
		_exit(BLX_SYSTEM);
	dup2(null, STDERR_FILENO);
	close(null);
	setvbuf(log, NULL, _IOLBF, 0);
	openlog("blxtls", LOG_PID, LOG_DAEMON);
	stderr = log;
}

static enum blx_exit serve_one(const struct options *o, int from)
{
	struct remote r = {.o = o};
	struct fault f;
	struct tls_context *x = make_context(o, &f);
	int fd = x ? fcntl(from, F_DUPFD_CLOEXEC, STDERR_FILENO + 1) : -1, null;

	if (!x || (o->user && user_become(o->user, &f)))
		die_fault(&f);
	if (fd < 0 || (null = open("/dev/null", O_RDWR | O_CLOEXEC)) < 0)
		die_errno("standard input");
	net_peer(fd, r.address);
	net_tune(fd, o->keepalive);
	if (from == STDIN_FILENO && (dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0))
		die_errno("/dev/null");
	struct tls *t = tls_new(x, fd, NULL, &r);
	if (!t)
		die_errno("%s", r.address);
	if (shake_hands(t, fd, net_now_ms() + (int64_t)o->connect_timeout * 1000, &f)) {
		net_drain(fd);
		die(f.code, "%s: %s", r.address, f.text);
	}
	enum blx_exit code = serve(&r, t, fd);
	tls_free(t);
	tls_context_free(x);
	return code;
}

static enum blx_exit serve_inetd(const struct options *o)
{
	struct fault f;
	int listens = net_is_listening(STDIN_FILENO, &f);

	if (listens < 0)
		die_usage("--inetd: standard input is not a connection");
	if (listens)
		die_usage("--inetd: standard input waits for connections: 'nowait' (inetd), "
			  "Accept=yes (systemd)");
	return serve_one(o, STDIN_FILENO);
}

// systemd passes on what listens, or (Accept=yes) a connection.
static enum blx_exit listen_to_systemd(const struct options *o)
{
	int fds[LISTEN_MAX], n, listens;
	struct fault f;

	if ((n = net_activated(fds, LISTEN_MAX, &f)) < 0 ||
	    (listens = net_is_listening(fds[0], &f)) < 0)
		die_fault(&f);
	if (listens)
		return listen_and_serve(o, fds, n);
	if (n > 1 || o->nat || !o->cmd)
		die_usage("--listen systemd: with Accept=yes it has one connection, and needs a "
			  "command");
	return serve_one(o, fds[0]);
}

int main(int argc, char **argv)
{
	// keys are in memory: no core, and nobody but root looks in
	prctl(PR_SET_DUMPABLE, 0);
	keep_words_here(); // those on the command line, too
	if (argc > 1 && !strcmp(argv[1], "keygen"))
		cmd_keygen(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "fingerprint"))
		cmd_fingerprint(argc - 1, argv + 1);
	struct options o = parse_options(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL); // ignored, it would keep the end of a child from us
	enum blx_exit code = o.inetd     ? serve_inetd(&o)
			     : o.systemd ? listen_to_systemd(&o)
			     : o.listens ? listen_and_serve(&o, NULL, 0)
					 : connect_to(&o);
	peers_free(&o.peers);
	return code;
}
