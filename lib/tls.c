// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tls.h"

enum { READ_AHEAD = 256 << 10 };
static const uint64_t REKEY = (uint64_t)256 << 30; // 2^24 records of 16 KiB; RFC 8446 5.5: 2^24.5
static const uint8_t alpn_ours[] = "\x05" TLS_OURS;

struct tls_context {
	SSL_CTX *ctx;
	BIO_METHOD *reader;
	tls_judge *judge;
	bool server, chains;
	size_t users; // its connections, and who made it
	uint64_t rekey;
	char fingerprint[TLS_FINGERPRINT];
};

struct tls {
	SSL *ssl;
	struct tls_context *x;
	void *arg;
	short events;
	bool shaken;        // the handshake is done
	bool ktls;          // the kernel encrypts
	uint64_t since_key; // bytes sent with it
	bool judged;        // and found wanting, for this:
	struct fault fault;
};

// ---- what is read comes through a BIO of our own

// OpenSSL's socket BIO would let the kernel decrypt too, where both can (from 3.2 on). A kernel
// before 6.14 cannot follow when the other end changes its keys then, and the connection breaks.
static int reader_read(BIO *b, char *buf, int n)
{
	ssize_t got = recv((int)(intptr_t)BIO_get_data(b), buf, (size_t)n, 0);

	BIO_clear_retry_flags(b);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_read(b);
	return (int)got;
}

static long reader_ctrl(BIO *b, int cmd, long num, void *ptr)
{
	(void)b;
	(void)num;
	(void)ptr;
	return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP;
}

static BIO_METHOD *reader_new(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "socket");

	if (m && BIO_meth_set_read(m, reader_read) && BIO_meth_set_ctrl(m, reader_ctrl))
		return m;
	BIO_meth_free(m);
	return NULL;
}

// ---- who it is

static int in_its_time(X509 *cert, X509_STORE_CTX *s)
{
	int begun = X509_cmp_current_time(X509_get0_notBefore(cert));
	int over = X509_cmp_current_time(X509_get0_notAfter(cert));

	X509_STORE_CTX_set_error(s, begun >= 0  ? X509_V_ERR_CERT_NOT_YET_VALID
				    : over <= 0 ? X509_V_ERR_CERT_HAS_EXPIRED
						: X509_V_OK);
	return begun < 0 && over > 0;
}

static void refuse(struct tls *t, const struct fault *f)
{
	t->judged = true;
	t->fault = *f;
}

static bool is_of_lists(int error)
{
	return error == X509_V_ERR_UNABLE_TO_GET_CRL || error == X509_V_ERR_CRL_HAS_EXPIRED ||
	       error == X509_V_ERR_CRL_NOT_YET_VALID || error == X509_V_ERR_CRL_SIGNATURE_FAILURE;
}

// OpenSSL asks this once a certificate is there, instead of looking itself.
static int verify(X509_STORE_CTX *s, void *arg)
{
	struct tls *t = SSL_get_app_data(
		X509_STORE_CTX_get_ex_data(s, SSL_get_ex_data_X509_STORE_CTX_idx()));
	X509 *cert = X509_STORE_CTX_get0_cert(s);
	char fingerprint[TLS_FINGERPRINT];
	struct fault f;

	(void)arg;
	tls_cert_fingerprint((struct tls_cert *)cert, fingerprint);
	if (t->x->chains ? X509_verify_cert(s) <= 0 : !in_its_time(cert, s)) {
		fault_set(&f, BLX_TARGET, "refused: %s: %s", fingerprint,
			  X509_verify_cert_error_string(X509_STORE_CTX_get_error(s)));
		refuse(t, &f);
		// what is wrong with our lists is not the other end's fault
		if (is_of_lists(X509_STORE_CTX_get_error(s)))
			X509_STORE_CTX_set_error(s, X509_V_ERR_UNSPECIFIED);
		return 0;
	}
	if (!t->x->judge(t->arg, (struct tls_cert *)cert, &f))
		return 1;
	refuse(t, &f);
	X509_STORE_CTX_set_error(s, X509_V_ERR_CERT_REJECTED);
	return 0;
}

// ---- contexts

static int choose_ours(SSL *ssl, const uint8_t **out, uint8_t *n, const uint8_t *offered,
		       unsigned int len, void *arg)
{
	(void)ssl;
	(void)arg;
	uint8_t *chosen;
	int r = SSL_select_next_proto(&chosen, n, alpn_ours, sizeof(alpn_ours) - 1, offered, len);

	*out = chosen;
	return r == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

// Our certificate, and those between it and its authority.
static int use_certs(struct tls_context *x, const struct tls_config *c, struct fault *f)
{
	const char *path = c->cert ? c->cert : c->key;
	STACK_OF(X509) *all = tls_certs_load(path, f);
	EVP_PKEY *key = all ? tls_key_load(c->key, f) : NULL;
	int bad = key ? 0 : -1;

	if (key && SSL_CTX_use_certificate(x->ctx, sk_X509_value(all, 0)) <= 0)
		bad = fault_set(f, BLX_SYSTEM, "%s: %s", path, tls_reason());
	for (int i = 1; i < sk_X509_num(all) && !bad; i++)
		if (!SSL_CTX_add1_chain_cert(x->ctx, sk_X509_value(all, i)))
			bad = fault_set(f, BLX_SYSTEM, "%s: %s", path, tls_reason());
	if (!bad &&
	    (SSL_CTX_use_PrivateKey(x->ctx, key) <= 0 || !SSL_CTX_check_private_key(x->ctx)))
		bad = fault_set(f, BLX_SYSTEM, "%s: the first certificate in %s is not of this key",
				c->key, path);
	if (!bad)
		tls_cert_fingerprint((struct tls_cert *)sk_X509_value(all, 0), x->fingerprint);
	EVP_PKEY_free(key);
	sk_X509_pop_free(all, X509_free);
	return bad;
}

static int use_authorities(struct tls_context *x, const struct tls_config *c, struct fault *f)
{
	X509_STORE *store = SSL_CTX_get_cert_store(x->ctx);
	STACK_OF(X509) *all = tls_certs_load(c->ca, f);
	STACK_OF(X509_CRL) *lists = all && c->crl ? tls_crls_load(c->crl, f) : NULL;
	int bad = !all || (c->crl && !lists) ? -1 : 0;

	for (int i = 0; i < sk_X509_num(all) && !bad; i++)
		if (!X509_STORE_add_cert(store, sk_X509_value(all, i)) ||
		    (x->server && !SSL_CTX_add_client_CA(x->ctx, sk_X509_value(all, i))))
			bad = fault_set(f, BLX_SYSTEM, "%s: %s", c->ca, tls_reason());
	for (int i = 0; i < sk_X509_CRL_num(lists) && !bad; i++)
		if (!X509_STORE_add_crl(store, sk_X509_CRL_value(lists, i)))
			bad = fault_set(f, BLX_SYSTEM, "%s: %s", c->crl, tls_reason());
	// what is named is believed, be it an intermediate one
	X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
	if (lists)
		X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
	sk_X509_CRL_pop_free(lists, X509_CRL_free);
	sk_X509_pop_free(all, X509_free);
	return bad;
}

static int set_up(struct tls_context *x, const struct tls_config *c, struct fault *f)
{
	SSL_CTX *ctx = x->ctx;

	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
#ifdef SSL_OP_ENABLE_KTLS
	if (c->ktls)
		SSL_CTX_set_options(ctx, SSL_OP_ENABLE_KTLS);
#endif
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_cert_verify_callback(ctx, verify, NULL);
	SSL_CTX_set_alpn_select_cb(ctx, choose_ours, NULL);
	if (!SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) ||
	    !SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) ||
	    SSL_CTX_set_alpn_protos(ctx, alpn_ours, sizeof(alpn_ours) - 1))
		return fault_set(f, BLX_SYSTEM, "TLS 1.3: %s", tls_reason());
	if (use_certs(x, c, f) || (c->ca && use_authorities(x, c, f)))
		return -1;
	return 0;
}

struct tls_context *tls_context_new(const struct tls_config *c, struct fault *f)
{
	struct tls_context *x = calloc(1, sizeof(*x));

	if (!x) {
		fault_errno(f, "TLS");
		return NULL;
	}
	x->users = 1;
	x->judge = c->judge;
	x->server = c->server;
	x->chains = c->ca;
	x->rekey = c->rekey ? c->rekey : REKEY;
	x->ctx = SSL_CTX_new(c->server ? TLS_server_method() : TLS_client_method());
	x->reader = reader_new();
	if (!x->ctx || !x->reader)
		fault_set(f, BLX_SYSTEM, "OpenSSL: %s", tls_reason());
	else if (!set_up(x, c, f))
		return x;
	tls_context_free(x);
	return NULL;
}

void tls_context_free(struct tls_context *x)
{
	if (!x || --x->users)
		return;
	SSL_CTX_free(x->ctx);
	BIO_meth_free(x->reader);
	free(x);
}

const char *tls_context_fingerprint(const struct tls_context *x)
{
	return x->fingerprint;
}

// ---- connections

static bool is_name(const char *host)
{
	return host && host[strspn(host, "0123456789.")] && !strchr(host, ':');
}

static int plug(struct tls *t, int fd, const char *host)
{
	BIO *in = BIO_new(t->x->reader), *out = BIO_new_socket(fd, BIO_NOCLOSE);

	if (!in || !out || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK)) {
		BIO_free(in);
		BIO_free(out);
		return -1;
	}
	BIO_set_data(in, (void *)(intptr_t)fd);
	BIO_set_init(in, 1);
	SSL_set_bio(t->ssl, in, out);
	SSL_set_app_data(t->ssl, t);
	SSL_set_read_ahead(t->ssl, 1);
	if (t->x->server)
		SSL_set_accept_state(t->ssl);
	else
		SSL_set_connect_state(t->ssl);
	return !t->x->server && is_name(host) && !SSL_set_tlsext_host_name(t->ssl, host) ? -1 : 0;
}

struct tls *tls_new(struct tls_context *x, int fd, const char *host, void *arg)
{
	struct tls *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->x = x;
	x->users++;
	t->arg = arg;
	t->ssl = SSL_new(x->ctx);
	if (t->ssl && !plug(t, fd, host))
		return t;
	tls_free(t);
	ERR_clear_error();
	errno = ENOMEM;
	return NULL;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	SSL_free(t->ssl);
	tls_context_free(t->x);
	free(t);
}

short tls_events(const struct tls *t)
{
	return t->events;
}

static bool is_refusal(int reason)
{
	switch (reason - SSL_AD_REASON_OFFSET) {
	case SSL_AD_BAD_CERTIFICATE:
	case SSL_AD_UNSUPPORTED_CERTIFICATE:
	case SSL_AD_CERTIFICATE_REVOKED:
	case SSL_AD_CERTIFICATE_EXPIRED:
	case SSL_AD_CERTIFICATE_UNKNOWN:
	case SSL_AD_UNKNOWN_CA:
	case SSL_AD_ACCESS_DENIED:
	case TLS13_AD_CERTIFICATE_REQUIRED:
		return true;
	}
	return false;
}

static bool speaks_no_tls(int reason)
{
	switch (reason) {
	case SSL_R_WRONG_VERSION_NUMBER: // a record's
	case SSL_R_UNEXPECTED_MESSAGE:
	case SSL_R_BAD_RECORD_TYPE:
	case SSL_R_PACKET_LENGTH_TOO_LONG:
	case SSL_R_HTTP_REQUEST:
	case SSL_R_HTTPS_PROXY_REQUEST:
		return true;
	}
	return false;
}

static bool speaks_no_tls13(int reason)
{
	return reason == SSL_R_UNSUPPORTED_PROTOCOL ||
	       reason == SSL_AD_REASON_OFFSET + SSL_AD_PROTOCOL_VERSION;
}

// The words for a call that returned R, with a clean queue before it. FAULT: the code, if it is
// none of those that have one of their own.
static int explain(struct tls *t, int r, enum blx_exit code, struct fault *f)
{
	int kind = SSL_get_error(t->ssl, r), saved = errno;
	unsigned long e = ERR_peek_error();
	int reason = ERR_GET_LIB(e) == ERR_LIB_SSL ? ERR_GET_REASON(e) : 0;

	t->events = kind == SSL_ERROR_WANT_WRITE ? POLLOUT : POLLIN;
	if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE)
		return TLS_AGAIN;
	if (t->judged) {
		*f = t->fault;
	} else if (is_refusal(reason)) {
		fault_set(f, BLX_TARGET, "the other side does not take our key %s: %s",
			  t->x->fingerprint,
			  SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET));
	} else if (!t->shaken && speaks_no_tls(reason)) {
		fault_set(f, code, "it does not speak TLS (%s)", ERR_reason_error_string(e));
	} else if (!t->shaken && speaks_no_tls13(reason)) {
		fault_set(f, code, "it does not speak TLS 1.3 (%s)", ERR_reason_error_string(e));
	} else if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
		fault_set(f, BLX_TARGET, "the other side shows no certificate");
	} else if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING ||
		   (kind == SSL_ERROR_SYSCALL && !saved && !e)) {
		fault_set(f, code,
			  t->shaken ? "cut: the connection ended without close_notify"
				    : "it went away during the handshake");
	} else if (saved && (kind == SSL_ERROR_SYSCALL || kind == SSL_ERROR_ZERO_RETURN)) {
		// the latter where writing fails once the other end has said close_notify
		fault_set(f, code, "cut: %s", strerror(saved));
	} else {
		fault_set(f, code, "TLS: %s", tls_reason());
	}
	ERR_clear_error();
	return -1;
}

int tls_handshake(struct tls *t, struct fault *f)
{
	ERR_clear_error();
	errno = 0;
	int r = SSL_do_handshake(t->ssl);

	if (r <= 0)
		return explain(t, r, BLX_SYSTEM, f);
	t->shaken = true;
	SSL_set_default_read_buffer_len(t->ssl, READ_AHEAD); // not for those who are nobody yet
#ifdef SSL_OP_ENABLE_KTLS
	t->ktls = BIO_get_ktls_send(SSL_get_wbio(t->ssl));
#endif
	return 0;
}

ssize_t tls_read(struct tls *t, void *buf, size_t n, struct fault *f)
{
	size_t got;

	ERR_clear_error();
	errno = 0;
	int r = SSL_read_ex(t->ssl, buf, n, &got);
	if (r > 0)
		return (ssize_t)got;
	if (SSL_get_error(t->ssl, r) == SSL_ERROR_ZERO_RETURN)
		return 0;
	return explain(t, r, BLX_CORRUPT, f);
}

// Have a new key, if it is time, or the other end has asked for it. While that cannot be said,
// OpenSSL reads nothing either, and two ends that have to say it at once would wait for each other:
// only if there is room. 0, or TLS_AGAIN.
static int change_key(struct tls *t)
{
	bool asked = SSL_get_key_update_type(t->ssl) != SSL_KEY_UPDATE_NONE;
	struct pollfd p = {.fd = SSL_get_wfd(t->ssl), .events = POLLOUT};

	// the kernel cannot change keys
	if (!asked && (t->since_key < t->x->rekey || t->ktls))
		return 0;
	if (poll(&p, 1, 0) <= 0) {
		t->events = POLLOUT;
		return TLS_AGAIN;
	}
	// while a record is half written nobody can
	if (!asked && SSL_key_update(t->ssl, SSL_KEY_UPDATE_NOT_REQUESTED))
		t->since_key = 0;
	ERR_clear_error();
	return 0;
}

ssize_t tls_write(struct tls *t, const void *buf, size_t n, struct fault *f)
{
	size_t sent;

	ERR_clear_error();
	errno = 0;
	if (change_key(t))
		return TLS_AGAIN;
	int r = SSL_write_ex(t->ssl, buf, n, &sent);
	if (r <= 0)
		return explain(t, r, BLX_CORRUPT, f);
	t->since_key += sent;
	return (ssize_t)sent;
}

int tls_close(struct tls *t, struct fault *f)
{
	ERR_clear_error();
	errno = 0;
	int r = SSL_shutdown(t->ssl);

	return r >= 0 ? 0 : explain(t, r, BLX_CORRUPT, f);
}

bool tls_is_ours(const struct tls *t)
{
	const uint8_t *name;
	unsigned int n;

	SSL_get0_alpn_selected(t->ssl, &name, &n);
	return n == strlen(TLS_OURS) && !memcmp(name, TLS_OURS, n);
}

void tls_describe(const struct tls *t, char words[TLS_WORDS])
{
	snprintf(words, TLS_WORDS, "%s, %s%s", SSL_get_version(t->ssl), SSL_get_cipher_name(t->ssl),
		 t->ktls ? ", sent by the kernel's TLS" : "");
}
