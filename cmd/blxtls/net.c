// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net.h"
#include "num.h"

enum { DRAIN_MS = 2000, DRAIN_MAX = 1 << 20 };
enum { BACKLOG = 4096, ACTIVATED_FIRST = 3, PROBES = 6, PORT_MAX = 65535 };

int64_t net_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int net_parse(struct net_address *a, const char *text, struct fault *f)
{
	const char *colon = strrchr(text, ':'), *host = text;
	uint64_t number;

	if (!colon)
		return fault_set(f, BLX_USAGE, "'%s': HOST:PORT is expected", text);
	size_t n = (size_t)(colon - text), m = strlen(colon + 1);
	if (*host == '[' && n > 2 && host[n - 1] == ']') {
		host++;
		n -= 2;
	} else if (memchr(host, ':', n) || memchr(host, '[', n) || memchr(host, ']', n)) {
		return fault_set(f, BLX_USAGE,
				 "'%s': an IPv6 address stands in brackets: [ADDRESS]:PORT", text);
	}
	if (n >= NET_HOST || !m || m >= NET_PORT ||
	    (!num_u64(colon + 1, &number) && number > PORT_MAX))
		return fault_set(f, BLX_USAGE, "'%s': no such port", text);
	memcpy(a->host, host, n);
	a->host[n] = 0;
	strcpy(a->port, colon + 1);
	return 0;
}

static int resolve(const struct net_address *a, int family, int flags, struct addrinfo **all,
		   struct fault *f)
{
	struct addrinfo hints = {
		.ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
	int bad = getaddrinfo(*a->host ? a->host : NULL, a->port, &hints, all);

	if (bad == EAI_SYSTEM)
		return fault_errno(f, "%s:%s", a->host, a->port);
	return bad ? fault_set(f, BLX_SYSTEM, "%s:%s: %s", a->host, a->port, gai_strerror(bad)) : 0;
}

static void format(const struct sockaddr *a, socklen_t n, char text[NET_TEXT])
{
	const struct sockaddr_in6 *a6 = (const struct sockaddr_in6 *)a;
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	char host[64], port[16];

	// IPv4 through a socket that is for both
	if (a->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a6->sin6_addr)) {
		v4.sin_port = a6->sin6_port;
		memcpy(&v4.sin_addr, &a6->sin6_addr.s6_addr[12], sizeof(v4.sin_addr));
		a = (const struct sockaddr *)&v4;
		n = sizeof(v4);
	}
	if (getnameinfo(a, n, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(text, NET_TEXT, "local");
	else
		snprintf(text, NET_TEXT, a->sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host,
			 port);
}

// ---- the near side

// Until END. 0, or -1 with errno.
static int connect_until(int fd, const struct addrinfo *to, int64_t end)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	int64_t left;
	int n = 0, bad = 0;
	socklen_t size = sizeof(bad);

	if (!connect(fd, to->ai_addr, to->ai_addrlen))
		return 0;
	if (errno != EINPROGRESS)
		return -1;
	while (n <= 0 && (left = end - net_now_ms()) > 0)
		if ((n = poll(&p, 1, (int)(left < INT32_MAX ? left : INT32_MAX))) < 0 &&
		    errno != EINTR)
			return -1;
	if (n <= 0)
		errno = ETIMEDOUT;
	else if (!getsockopt(fd, SOL_SOCKET, SO_ERROR, &bad, &size))
		errno = bad;
	return n <= 0 || bad ? -1 : 0;
}

// Connect from FROM, a name or an address, of that family.
static int bind_to(int fd, int family, const char *from)
{
	struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM}, *all;

	if (getaddrinfo(from, NULL, &hints, &all)) {
		errno = EADDRNOTAVAIL;
		return -1;
	}
	int bad = bind(fd, all->ai_addr, all->ai_addrlen), keep = errno;
	freeaddrinfo(all);
	errno = keep;
	return bad;
}

int net_connect(const struct net_address *a, const char *from, int family, int64_t end_ms,
		char peer[NET_TEXT], struct fault *f)
{
	struct addrinfo *all = NULL;
	int fd = -1, left = 0;

	if (resolve(a, family, 0, &all, f))
		return -1;
	for (const struct addrinfo *i = all; i; i = i->ai_next)
		left++;
	for (const struct addrinfo *i = all; i && fd < 0; i = i->ai_next, left--) {
		int64_t now = net_now_ms();
		format(i->ai_addr, i->ai_addrlen, peer);
		fd = socket(i->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		bool bound = fd >= 0 && (!from || !bind_to(fd, i->ai_family, from));
		if (bound && !connect_until(fd, i, now + (end_ms - now) / left))
			break;
		if (fd < 0 || bound)
			fault_errno(f, "%s:%s: connect to %s", a->host, a->port, peer);
		else
			fault_errno(f, "%s:%s: connect to %s from %s", a->host, a->port, peer,
				    from);
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(all);
	return fd;
}

// ---- the listening side

static int listen_at(const struct addrinfo *i)
{
	int on = 1, fd = socket(i->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	if (!setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) &&
	    (i->ai_family != AF_INET6 ||
	     !setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on))) &&
	    !bind(fd, i->ai_addr, i->ai_addrlen) && !listen(fd, BACKLOG))
		return fd;
	int keep = errno;
	close(fd);
	errno = keep;
	return -1;
}

// A name may have an address twice.
static bool was_before(const struct addrinfo *all, const struct addrinfo *i)
{
	while (all != i && (all->ai_addrlen != i->ai_addrlen ||
			    memcmp(all->ai_addr, i->ai_addr, i->ai_addrlen)))
		all = all->ai_next;
	return all != i;
}

int net_listen(const struct net_address *a, int family, int *fds, int max, struct fault *f)
{
	struct addrinfo *all = NULL;
	char text[NET_TEXT];
	int n = 0, bad = 0;

	if (resolve(a, family, AI_PASSIVE, &all, f))
		return -1;
	for (const struct addrinfo *i = all; i && n < max && !bad; i = i->ai_next) {
		if (was_before(all, i))
			continue;
		// not every kernel that has a family has it switched on
		if ((fds[n] = listen_at(i)) >= 0) {
			n++;
		} else if ((errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL) ||
			   (!i->ai_next && !n)) {
			format(i->ai_addr, i->ai_addrlen, text);
			bad = fault_errno(f, "listen at %s", text);
		}
	}
	freeaddrinfo(all);
	while (bad && n)
		close(fds[--n]);
	return bad ? -1 : n;
}

int net_activated(int *fds, int max, struct fault *f)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	uint64_t of, n;

	if (!pid || !count || num_u64(pid, &of) || of != (uint64_t)getpid() || num_u64(count, &n) ||
	    !n)
		return fault_set(f, BLX_SYSTEM, "--listen systemd: systemd passed no socket on");
	if (n > (uint64_t)max)
		return fault_set(f, BLX_SYSTEM, "--listen systemd: more than %d sockets", max);
	for (int i = 0; i < (int)n; i++) {
		fds[i] = ACTIVATED_FIRST + i;
		if (fcntl(fds[i], F_SETFD, FD_CLOEXEC) ||
		    fcntl(fds[i], F_SETFL, fcntl(fds[i], F_GETFL) | O_NONBLOCK))
			return fault_errno(f, "--listen systemd: descriptor %d", fds[i]);
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return (int)n;
}

int net_is_listening(int fd, struct fault *f)
{
	int type = 0, listening = 0;
	socklen_t n = sizeof(type), m = sizeof(listening);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &m))
		return fault_errno(f, "descriptor %d", fd);
	return type == SOCK_STREAM
		       ? listening
		       : fault_set(f, BLX_SYSTEM, "descriptor %d: not a stream socket", fd);
}

void net_peer(int fd, char text[NET_TEXT])
{
	struct sockaddr_storage a = {0};
	socklen_t n = sizeof(a);

	if (getpeername(fd, (struct sockaddr *)&a, &n))
		snprintf(text, NET_TEXT, "gone");
	else
		format((struct sockaddr *)&a, n, text);
}

void net_own(int fd, char text[NET_TEXT])
{
	struct sockaddr_storage a = {0};
	socklen_t n = sizeof(a);

	if (getsockname(fd, (struct sockaddr *)&a, &n))
		snprintf(text, NET_TEXT, "nowhere");
	else
		format((struct sockaddr *)&a, n, text);
}

void net_drain(int fd)
{
	int64_t end = net_now_ms() + DRAIN_MS, left;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t n = 1, all = 0;
	char sink[4096];

	shutdown(fd, SHUT_WR);
	for (; n > 0 && all < DRAIN_MAX && (left = end - net_now_ms()) > 0; all += n)
		if (poll(&p, 1, (int)left) <= 0 ||
		    (n = recv(fd, sink, sizeof(sink), MSG_DONTWAIT)) <= 0)
			return;
}

void net_tune(int fd, uint64_t keepalive)
{
	int on = 1, idle = (int)keepalive, step = keepalive < PROBES ? 1 : (int)keepalive / PROBES,
	    probes = PROBES;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (!keepalive)
		return;
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &step, sizeof(step));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

bool net_unanswered(int fd, int64_t ms)
{
	struct tcp_info i;
	socklen_t n = sizeof(i);

	return !getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &n) && i.tcpi_last_ack_recv >= ms &&
	       ((i.tcpi_unacked && i.tcpi_retransmits) || i.tcpi_probes >= PROBES / 2);
}
