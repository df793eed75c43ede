// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "io.h"
#include "tls_key.h"

#define FINGERPRINT "SHA256:"
enum { PEM_MAX = 4 << 20, SERIAL_BITS = 127 };

// ---- words

const char *tls_reason(void)
{
	unsigned long e = ERR_peek_last_error();
	const char *s =
		ERR_SYSTEM_ERROR(e) ? strerror(ERR_GET_REASON(e)) : ERR_reason_error_string(e);

	ERR_clear_error();
	return s ? s : "no reason given";
}

static int fault_ssl(struct fault *f, const char *what)
{
	return fault_set(f, BLX_SYSTEM, "%s: %s", what, tls_reason());
}

// ---- identities

static const char *after(const char *s, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(s, prefix, n) ? NULL : s + n;
}

static bool all_of(const char *s, const char *set)
{
	return *s && !s[strspn(s, set)];
}

#define ALNUM "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// 43 digits of base64, the last with two bits that are not used.
static bool is_fingerprint(const char *digits)
{
	return strlen(digits) == TLS_FINGERPRINT - 1 - strlen(FINGERPRINT) &&
	       all_of(digits, ALNUM "+/") && strchr("AEIMQUYcgkosw048", digits[42]);
}

static bool is_address(const char *s)
{
	ASN1_OCTET_STRING *a = a2i_IPADDRESS(s);

	ERR_clear_error();
	ASN1_OCTET_STRING_free(a);
	return a;
}

static bool is_uri(const char *s)
{
	const char *colon = strchr(s, ':');

	for (const char *p = s; *p; p++)
		if (*p <= ' ' || *p > '~')
			return false;
	return colon && colon > s && colon[1];
}

int tls_id_check(const char *id, struct fault *f)
{
	const char *name;

	if (strlen(id) >= TLS_ID_MAX)
		return fault_set(f, BLX_USAGE, "'%.20s...': too long", id);
	if ((name = after(id, FINGERPRINT)) && !is_fingerprint(name))
		return fault_set(f, BLX_USAGE,
				 "'%s': " FINGERPRINT " and 43 digits of base64 are expected", id);
	if (name || ((name = after(id, "DNS:")) && all_of(name, ALNUM ".-_") && name[0] != '.') ||
	    ((name = after(id, "IP:")) && is_address(name)) ||
	    ((name = after(id, "URI:")) && is_uri(name)))
		return 0;
	return fault_set(f, BLX_USAGE,
			 "'%s': a fingerprint (" FINGERPRINT
			 "...) is expected, or DNS:NAME, IP:ADDRESS or URI:NAME",
			 id);
}

bool tls_id_is_key(const char *id)
{
	return after(id, FINGERPRINT);
}

static void fingerprint_of_key(const uint8_t *spki, size_t n, char text[TLS_FINGERPRINT])
{
	uint8_t digest[SHA256_DIGEST_LENGTH], digits[48];

	SHA256(spki, n, digest);
	EVP_EncodeBlock(digits, digest, sizeof(digest));
	snprintf(text, TLS_FINGERPRINT, FINGERPRINT "%.43s", (const char *)digits);
}

void tls_cert_fingerprint(const struct tls_cert *cert, char text[TLS_FINGERPRINT])
{
	uint8_t *spki = NULL;
	int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY((const X509 *)cert), &spki);

	// none of what may be asked for is like this
	strcpy(text, "none");
	if (n > 0)
		fingerprint_of_key(spki, (size_t)n, text);
	OPENSSL_free(spki);
}

static bool has_uri(X509 *cert, const char *uri)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	size_t n = strlen(uri);
	bool is = false;

	for (int i = 0; i < sk_GENERAL_NAME_num(names) && !is; i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
		is = g->type == GEN_URI &&
		     (size_t)ASN1_STRING_length(g->d.uniformResourceIdentifier) == n &&
		     !memcmp(ASN1_STRING_get0_data(g->d.uniformResourceIdentifier), uri, n);
	}
	GENERAL_NAMES_free(names);
	return is;
}

bool tls_cert_is(const struct tls_cert *cert, const char *id)
{
	char fingerprint[TLS_FINGERPRINT];
	X509 *x = (X509 *)cert;
	const char *name;
	bool is = false;

	if (tls_id_is_key(id)) {
		tls_cert_fingerprint(cert, fingerprint);
		return !strcmp(fingerprint, id);
	}
	if ((name = after(id, "DNS:")))
		is = X509_check_host(x, name, 0,
				     X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
					     X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
				     NULL) > 0;
	else if ((name = after(id, "IP:")))
		is = X509_check_ip_asc(x, name, 0) > 0;
	else if ((name = after(id, "URI:")))
		is = has_uri(x, name);
	ERR_clear_error();
	return is;
}

// ---- files

// Its bytes, for a BIO in memory, with a NUL; NULL with the fault. SECRET: who else may read it is
// looked at.
static char *read_pem(const char *path, bool secret, size_t *n, struct fault *f)
{
	struct stat st;
	char *text = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), bad = 0;

	if (fd < 0 || fstat(fd, &st)) {
		bad = fault_errno(f, "%s", path);
	} else if (!S_ISREG(st.st_mode)) {
		bad = fault_set(f, BLX_SYSTEM, "%s: not a file", path);
	} else if (secret && (st.st_mode & (st.st_uid ? 077 : 037))) {
		bad = fault_set(f, BLX_SYSTEM, "%s: mode %03o lets others at the key: chmod 600",
				path, st.st_mode & 0777);
	} else if (st.st_size > PEM_MAX) {
		bad = fault_set(f, BLX_SYSTEM, "%s: too large", path);
	} else if (!(text = malloc((size_t)st.st_size + 1))) {
		bad = fault_errno(f, "%s", path);
	} else {
		ssize_t got = io_read_full(fd, text, (size_t)st.st_size);
		if (got < 0)
			bad = fault_errno(f, "%s: read", path);
		else
			text[ *n = (size_t)got] = 0;
	}
	if (fd >= 0)
		close(fd);
	if (!bad)
		return text;
	free(text);
	return NULL;
}

static int no_passphrase(char *buf, int size, int writing, void *asked)
{
	(void)buf;
	(void)size;
	(void)writing;
	*(bool *)asked = true;
	return -1;
}

EVP_PKEY *tls_key_load(const char *path, struct fault *f)
{
	bool asked = false;
	size_t n;
	char *text = read_pem(path, true, &n, f);

	if (!text)
		return NULL;
	BIO *b = BIO_new_mem_buf(text, (int)n);
	EVP_PKEY *key = b ? PEM_read_bio_PrivateKey(b, NULL, no_passphrase, &asked) : NULL;
	BIO_free(b);
	OPENSSL_cleanse(text, n);
	free(text);
	if (!key && asked)
		fault_set(f, BLX_SYSTEM, "%s: the key has a passphrase, and nobody is asked for it",
			  path);
	else if (!key)
		fault_set(f, BLX_SYSTEM, "%s: no private key (PEM) can be read from it", path);
	ERR_clear_error();
	return key;
}

// Is it the end of the file, rather than something that cannot be read?
static bool at_end(void)
{
	unsigned long e = ERR_peek_last_error();

	ERR_clear_error();
	return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
}

STACK_OF(X509) * tls_certs_load(const char *path, struct fault *f)
{
	bool asked = false;
	STACK_OF(X509) *all = sk_X509_new_null();
	size_t n;
	char *text = read_pem(path, false, &n, f);
	BIO *b = text ? BIO_new_mem_buf(text, (int)n) : NULL;
	X509 *one;

	while (b && (one = PEM_read_bio_X509(b, NULL, no_passphrase, &asked)))
		if (sk_X509_push(all, one) <= 0)
			X509_free(one);
	bool good = b && at_end() && sk_X509_num(all) > 0;
	if (b && !good)
		fault_set(f, BLX_SYSTEM, "%s: %s (PEM) can be read from it", path,
			  sk_X509_num(all) > 0 ? "not every certificate" : "no certificate");
	else if (text && !b)
		fault_set(f, BLX_SYSTEM, "%s: no memory", path);
	BIO_free(b);
	if (text)
		OPENSSL_cleanse(text, n);
	free(text);
	if (good)
		return all;
	sk_X509_pop_free(all, X509_free);
	return NULL;
}

STACK_OF(X509_CRL) * tls_crls_load(const char *path, struct fault *f)
{
	STACK_OF(X509_CRL) *all = sk_X509_CRL_new_null();
	size_t n;
	char *text = read_pem(path, false, &n, f);
	BIO *b = text ? BIO_new_mem_buf(text, (int)n) : NULL;
	X509_CRL *one;

	while (b && (one = PEM_read_bio_X509_CRL(b, NULL, NULL, NULL)))
		if (sk_X509_CRL_push(all, one) <= 0)
			X509_CRL_free(one);
	bool good = b && at_end() && sk_X509_CRL_num(all) > 0;
	if (b && !good)
		fault_set(f, BLX_SYSTEM, "%s: %s (PEM) can be read from it", path,
			  sk_X509_CRL_num(all) > 0 ? "not every revocation list"
						   : "no revocation list");
	else if (text && !b)
		fault_set(f, BLX_SYSTEM, "%s: no memory", path);
	BIO_free(b);
	free(text);
	if (good)
		return all;
	sk_X509_CRL_pop_free(all, X509_CRL_free);
	return NULL;
}

int tls_fingerprint_of(const char *path, char fingerprint[TLS_FINGERPRINT], struct fault *f)
{
	STACK_OF(X509) *all = tls_certs_load(path, f);

	if (!all)
		return -1;
	tls_cert_fingerprint((const struct tls_cert *)sk_X509_value(all, 0), fingerprint);
	sk_X509_pop_free(all, X509_free);
	return 0;
}

// ---- making one

static int add_extension(X509 *cert, int nid, const char *value)
{
	X509V3_CTX ctx;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	int good = e && X509_add_ext(cert, e, -1);
	X509_EXTENSION_free(e);
	return good ? 0 : -1;
}

static int set_serial(X509 *cert)
{
	BIGNUM *n = BN_new();
	int good = n && BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) &&
		   BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));

	BN_free(n);
	return good ? 0 : -1;
}

// "No well-defined end": RFC 5280 4.1.2.5. It begins where no clock is.
static X509 *make_cert(EVP_PKEY *key, const char *name, const char *san)
{
	X509 *cert = X509_new();
	X509_NAME *subject = cert ? X509_get_subject_name(cert) : NULL;

	if (cert && X509_set_version(cert, X509_VERSION_3) && !set_serial(cert) &&
	    ASN1_TIME_set_string(X509_getm_notBefore(cert), "19700101000000Z") &&
	    ASN1_TIME_set_string(X509_getm_notAfter(cert), "99991231235959Z") &&
	    X509_set_pubkey(cert, key) &&
	    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const uint8_t *)name, -1, -1,
				       0) &&
	    X509_set_issuer_name(cert, subject) &&
	    !add_extension(cert, NID_subject_alt_name, san) &&
	    !add_extension(cert, NID_basic_constraints, "critical,CA:FALSE") &&
	    !add_extension(cert, NID_key_usage, "critical,digitalSignature") &&
	    !add_extension(cert, NID_ext_key_usage, "serverAuth,clientAuth") &&
	    X509_sign(cert, key, NULL))
		return cert;
	X509_free(cert);
	return NULL;
}

// All of MADE to a file that was not there, on disk.
static int write_new(const char *path, BIO *made, struct fault *f)
{
	char *text, *dir = strdup(path), *slash = dir ? strrchr(dir, '/') : NULL;
	long n = BIO_get_mem_data(made, &text);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600), bad = 0;

	if (fd < 0) {
		bad = fault_errno(f, "%s", path);
		free(dir);
		return bad;
	}
	if (slash)
		slash[slash == dir] = 0;
	if (io_write_full(fd, text, (size_t)n))
		bad = fault_errno(f, "%s: write", path);
	else if (fsync(fd) || !dir || file_sync_dir(slash ? dir : "."))
		bad = fault_errno(f, "%s: fsync", path);
	if (close(fd) && !bad)
		bad = fault_errno(f, "%s: close", path);
	if (bad)
		unlink(path);
	free(dir);
	return bad;
}

int tls_keygen(const char *path, const char *name, char fingerprint[TLS_FINGERPRINT],
	       struct fault *f)
{
	char id[TLS_ID_MAX];

	snprintf(id, sizeof(id), "DNS:%s", name);
	if (tls_id_check(id, f))
		return -1;
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	X509 *cert = key ? make_cert(key, name, id) : NULL;
	BIO *made = BIO_new(BIO_s_secmem());
	int bad;

	if (!cert || !made ||
	    !PEM_write_bio_PKCS8PrivateKey(made, key, NULL, NULL, 0, NULL, NULL) ||
	    !PEM_write_bio_X509(made, cert))
		bad = fault_ssl(f, path);
	else
		bad = write_new(path, made, f);
	if (!bad)
		tls_cert_fingerprint((const struct tls_cert *)cert, fingerprint);
	BIO_free(made);
	X509_free(cert);
	EVP_PKEY_free(key);
	return bad;
}
