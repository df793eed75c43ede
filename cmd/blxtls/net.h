// SPDX-License-Identifier: BSD-2-Clause
// TCP connections: made, waited for, and watched over.
#ifndef BLX_NET_H
#define BLX_NET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fault.h"

enum { NET_HOST = 256, NET_PORT = 32, NET_TEXT = 80 };

struct net_address {
	char host[NET_HOST]; // "": all of this machine's
	char port[NET_PORT]; // a number, or a service's name
};

// HOST:PORT, [HOST]:PORT, :PORT. -1: it is none (BLX_USAGE).
int net_parse(struct net_address *a, const char *text, struct fault *f);

int64_t net_now_ms(void); // CLOCK_MONOTONIC

// Connect to the first of A's addresses (FAMILY: AF_UNSPEC, AF_INET, AF_INET6) that answers before
// END_MS, each having an even share of the time that is left; from the address FROM, unless it is
// NULL. A socket, or -1 with what the last one said.
int net_connect(const struct net_address *a, const char *from, int family, int64_t end_ms,
		char peer[NET_TEXT], struct fault *f);

// Listen at all of A's addresses: sockets to FDS, MAX at the most. How many; -1.
int net_listen(const struct net_address *a, int family, int *fds, int max, struct fault *f);

// The sockets that systemd passes on (sd_listen_fds(3)), non-blocking, close-on-exec. How many; -1:
// none.
int net_activated(int *fds, int max, struct fault *f);

// FD accepts connections, rather than being one. -1 with the fault: it is no stream socket.
int net_is_listening(int fd, struct fault *f);

// The address of the other end: "192.0.2.7:40312", "[2001:db8::7]:40312".
void net_peer(int fd, char text[NET_TEXT]);
// That of this end.
void net_own(int fd, char text[NET_TEXT]);

// Nothing more is to be said: read, for a while, what the other end still sends. With that unread
// the connection would be reset, and what was said before be lost.
void net_drain(int fd);

// What connections have: no delay, and if KEEPALIVE (seconds) is not 0 questions after so long
// without a word, and an end after twice as long. A socket that is not of TCP stays as it is.
void net_tune(int fd, uint64_t keepalive);

// What was sent was sent again, or questions for room were not answered, and nothing has been heard
// for MS: nobody is there. That is what keepalive does not see, as it asks only if there is nothing
// to send. (TCP_USER_TIMEOUT would also end a connection to who is there but has no room:
// tcp_probe_timer(), net/ipv4/tcp_timer.c.)
bool net_unanswered(int fd, int64_t ms);

#endif
