// SPDX-License-Identifier: BSD-2-Clause
// TLS 1.3 (RFC 8446) over a connected stream socket, never without knowing who is at the other end:
// connections, and the keys and certificates that they need (tls_key.h). The only module that sees
// libssl. Nothing here blocks, waits, or writes to a socket that is gone with SIGPIPE (the program
// ignores that). No resumption, no early data, no renegotiation.
#ifndef BLX_TLS_H
#define BLX_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "fault.h"
#include "tls_key.h"

// The protocol of both ends being ours (ALPN, RFC 7301).
#define TLS_OURS "blx/1"

// Who may be at the other end. ARG is tls_new's. CERT has proved to hold its key, is in its time,
// and, with a CA, was issued by it for this use. 0, or -1 with the fault: not this one, then the
// handshake fails with it.
typedef int tls_judge(void *arg, const struct tls_cert *cert, struct fault *f);

struct tls_config {
	bool server;
	const char *key;  // path
	const char *cert; // path; NULL: in the key's file
	const char *ca;   // path; NULL: certificates are known by themselves
	const char *crl;  // path or NULL
	bool ktls;        // let the kernel encrypt what is sent, if it can
	tls_judge *judge;
	uint64_t rekey; // bytes sent with one key; 0: what RFC 8446 5.5 allows
};

struct tls_context; // for any number of connections

// NULL with the fault, which names the file.
struct tls_context *tls_context_new(const struct tls_config *c, struct fault *f);
// No new ones.
void tls_context_free(struct tls_context *x);
// Of our own key.
const char *tls_context_fingerprint(const struct tls_context *x);

struct tls;

// FD stays the caller's; O_NONBLOCK is set on it. HOST (a client's, may be NULL): who is asked for
// (SNI, if it is a name). X lives as long as its connections. NULL: no memory.
struct tls *tls_new(struct tls_context *x, int fd, const char *host, void *arg);
// Says nothing to the other end.
void tls_free(struct tls *t);

// TLS_AGAIN: not now; tls_events() says what to wait for.
enum { TLS_AGAIN = -2 };
short tls_events(const struct tls *t); // POLLIN or POLLOUT

// 0 when it is done, TLS_AGAIN, or -1: the judge's fault; BLX_TARGET: the other end refuses us, or
// has no certificate that can be taken; BLX_SYSTEM: it does not speak TLS 1.3, or went away.
int tls_handshake(struct tls *t, struct fault *f);

// Bytes, 1 at the least; 0: the other end has said that nothing follows (close_notify); TLS_AGAIN;
// -1: cut, or not TLS (BLX_CORRUPT); BLX_TARGET: it refuses our key, as a client hears only after
// its handshake. Having got AGAIN, reading may go on when the socket can be read; before, there may
// be bytes that no poll shows.
ssize_t tls_read(struct tls *t, void *buf, size_t n, struct fault *f);

// How many of N bytes went, 1 at the least; TLS_AGAIN: none, and the same bytes must come again
// next; -1.
ssize_t tls_write(struct tls *t, const void *buf, size_t n, struct fault *f);

// Say that nothing follows from us. Reading goes on. 0, TLS_AGAIN, -1.
int tls_close(struct tls *t, struct fault *f);

// Both ends agreed on TLS_OURS. After the handshake.
bool tls_is_ours(const struct tls *t);

enum { TLS_WORDS = 96 };
// Version and cipher, and whether the kernel encrypts.
void tls_describe(const struct tls *t, char words[TLS_WORDS]);

#endif
