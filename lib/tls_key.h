// SPDX-License-Identifier: BSD-2-Clause
// Keys and certificates. A key is known by the SHA-256 of its public half (SubjectPublicKeyInfo,
// DER), as OpenSSH writes such: "SHA256:" and base64 without padding.
#ifndef BLX_TLS_KEY_H
#define BLX_TLS_KEY_H

#include <stdbool.h>

#include "fault.h"

enum { TLS_FINGERPRINT = 7 + 43 + 1 };

// An identity in text: a fingerprint, or a name in a certificate as DNS:, IP: or URI: and the name.
enum { TLS_ID_MAX = 512 };
// 0, or -1 with the fault (BLX_USAGE): it is none.
int tls_id_check(const char *id, struct fault *f);
bool tls_id_is_key(const char *id); // a fingerprint

struct tls_cert; // X509 of OpenSSL

// The certificate's key has the fingerprint ID, or the certificate the name ID (subjectAltName; RFC
// 6125: a wildcard for the leftmost label only; the subject's common name does not count).
bool tls_cert_is(const struct tls_cert *cert, const char *id);
void tls_cert_fingerprint(const struct tls_cert *cert, char text[TLS_FINGERPRINT]);

// Make a key (Ed25519, RFC 8410) and a certificate signed by itself, for NAME and without an end,
// in the new file PATH, mode 600, on disk when this returns; and the key's fingerprint. 0, or -1
// and no file; the fault names it.
int tls_keygen(const char *path, const char *name, char fingerprint[TLS_FINGERPRINT],
	       struct fault *f);

// Of the first certificate in the file PATH, PEM. 0, or -1 with the fault.
int tls_fingerprint_of(const char *path, char fingerprint[TLS_FINGERPRINT], struct fault *f);

// ---- between this module and tls.c

struct evp_pkey_st; // EVP_PKEY, X509, STACK_OF(X509) of OpenSSL
struct x509_st;
struct stack_st_X509;
struct stack_st_X509_CRL;

// The private key in PATH. It must be a file that nobody but its owner may read, us or root; if
// root owns it, its group may.
struct evp_pkey_st *tls_key_load(const char *path, struct fault *f);
// All certificates in PATH, one at the least; the same for revocation lists.
struct stack_st_X509 *tls_certs_load(const char *path, struct fault *f);
struct stack_st_X509_CRL *tls_crls_load(const char *path, struct fault *f);
// The reason of OpenSSL's last error, without what is secret; its queue is empty afterwards.
const char *tls_reason(void);

#endif
