// SPDX-License-Identifier: BSD-2-Clause
// What the parts of blxtls share: its options, and who is at the other end.
#ifndef BLXTLS_H
#define BLXTLS_H

#include <sys/types.h>

#include "net.h"
#include "peers.h"
#include "session.h"
#include "tls.h"

enum { LISTEN_MAX = 16 };

struct options {
	bool listens, systemd, inetd, once, verbose, progress, ktls;
	int family;
	struct net_address to, at[LISTEN_MAX];
	int nat;
	const char *key, *cert, *ca, *crl, *allow;
	struct peers peers; // of --peer
	uint64_t max, per_peer;
	const char *user;
	const char *bind;
	uint64_t connect_timeout, timeout, keepalive; // seconds
	uint64_t rate;                                // bytes a second
	char **cmd;                                   // NULL: standard input and output
};

struct options parse_options(int argc, char **argv);

// Subcommands. They end the program.
_Noreturn void cmd_keygen(int argc, char **argv);
_Noreturn void cmd_fingerprint(int argc, char **argv);

// A connection's other end.
struct remote {
	const struct options *o;
	char address[NET_TEXT];
	char name[PEER_NAME]; // as in --allow; "": none
	char id[TLS_ID_MAX];  // what it was known by
};

// tls_judge of both sides; ARG is a struct remote, whose name and id it fills in.
int remote_judge(void *arg, const struct tls_cert *cert, struct fault *f);
// Those of --allow, which the caller frees also after -1. Names in certificates need --ca: without
// it anyone can make a certificate for any name.
int load_allowed(struct peers *p, const struct options *o, struct fault *f);
struct tls_context *make_context(const struct options *o, struct fault *f);

// The handshake, until END_MS. 0 or -1.
int shake_hands(struct tls *t, int fd, int64_t end_ms, struct fault *f);

// From the handshake to the end of the connection: its exit code, with words unless they are said
// already.
enum blx_exit serve(const struct remote *r, struct tls *t, int fd);

// Wait for connections at o->at and the N sockets of MORE, for ever, or for one: its exit code.
enum blx_exit listen_and_serve(const struct options *o, const int *more, int n);

#endif
