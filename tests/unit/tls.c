// SPDX-License-Identifier: BSD-2-Clause
// lib/tls, lib/tls_key: two ends in one process, on a pair of sockets.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tap.h"
#include "tls.h"

static char dir[] = "/tmp/blx-tls.XXXXXX";
static char prints[2][TLS_FINGERPRINT];

struct end {
	struct tls_context *x;
	struct tls *t;
	int fd;
	const char *expected; // a fingerprint
};

static int judge(void *arg, const struct tls_cert *cert, struct fault *f)
{
	const struct end *e = arg;

	return tls_cert_is(cert, e->expected) ? 0 : fault_set(f, BLX_TARGET, "somebody else");
}

static const char *path(const char *name)
{
	static char text[2][64];
	static int which;

	which = !which;
	snprintf(text[which], sizeof(text[which]), "%s/%s", dir, name);
	return text[which];
}

// KEYS: the client's, the server's.
static void connect_ends(struct end e[2], const char *const keys[2], uint64_t rekey)
{
	int fds[2];
	struct fault f = {.text = ""};

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		abort();
	for (int i = 0; i < 2; i++) {
		struct tls_config c = {
			.server = i, .key = path(keys[i]), .judge = judge, .rekey = rekey};
		e[i].x = tls_context_new(&c, &f);
		e[i].fd = fds[i];
		e[i].t = e[i].x ? tls_new(e[i].x, fds[i], i ? NULL : "there", &e[i]) : NULL;
		if (!e[i].t) {
			printf("# %s\n", f.text);
			abort();
		}
	}
}

static void disconnect(struct end e[2])
{
	for (int i = 0; i < 2; i++) {
		tls_free(e[i].t);
		tls_context_free(e[i].x);
		close(e[i].fd);
	}
}

// Both handshakes, as far as they go; what the server and then the client says of it.
static int shake(struct end e[2], struct fault f[2])
{
	int r[2] = {TLS_AGAIN, TLS_AGAIN};

	for (int i = 0; i < 20; i++)
		for (int k = 0; k < 2; k++)
			if (r[k] == TLS_AGAIN)
				r[k] = tls_handshake(e[k].t, &f[k]);
	return r[0] || r[1] ? -1 : 0;
}

// N bytes of a pattern from one end to the other, by pieces.
static bool pass(struct end *from, struct end *to, size_t n)
{
	static uint8_t out[50000], in[70000];
	size_t sent = 0, got = 0;
	struct fault f;

	for (int stuck = 0; got < n && stuck < 100; stuck++) {
		size_t m = n - sent < sizeof(out) ? n - sent : sizeof(out);
		for (size_t i = 0; i < m; i++)
			out[i] = (uint8_t)((sent + i) * 31 >> 3);
		ssize_t r = m ? tls_write(from->t, out, m, &f) : 0;
		if (r < 0 && r != TLS_AGAIN)
			return false;
		sent += r > 0 ? (size_t)r : 0;
		while ((r = tls_read(to->t, in, sizeof(in), &f)) > 0) {
			for (ssize_t i = 0; i < r; i++)
				if (in[i] != (uint8_t)((got + (size_t)i) * 31 >> 3))
					return false;
			got += (size_t)r;
			stuck = 0;
		}
		if (r != TLS_AGAIN)
			return false;
	}
	return got == n;
}

static void both_ways(void)
{
	struct end e[2] = {{.expected = prints[1]}, {.expected = prints[0]}};
	struct fault f[2] = {{.text = ""}, {.text = ""}}, why = {.text = ""};
	char words[TLS_WORDS], byte;

	connect_ends(e, (const char *const[]){"a", "b"}, 0);
	ok(!shake(e, f), "two ends that know each other: %s%s", f[0].text, f[1].text);
	ok(tls_is_ours(e[0].t) && tls_is_ours(e[1].t), "both know that they are of one kind");
	tls_describe(e[0].t, words);
	ok(!strncmp(words, "TLSv1.3, TLS_", 13), "described: %s", words);
	ok(pass(&e[0], &e[1], 3000000) && pass(&e[1], &e[0], 1000000), "data goes both ways");
	ok(!tls_close(e[0].t, &why) && tls_read(e[1].t, &byte, 1, &why) == 0, "an end is an end");
	ok(pass(&e[1], &e[0], 100000), "and the other direction goes on");
	close(e[1].fd);
	ok(tls_read(e[0].t, &byte, 1, &why) == -1 && why.code == BLX_CORRUPT &&
		   !strncmp(why.text, "cut: ", 5),
	   "a socket that ends is a cut: %s", why.text);
	e[1].fd = -1;
	disconnect(e);
}

// A new key after each 10,000 bytes, both ways.
static void keys_change(void)
{
	struct end e[2] = {{.expected = prints[1]}, {.expected = prints[0]}};
	struct fault f[2] = {{.text = ""}, {.text = ""}};

	connect_ends(e, (const char *const[]){"a", "b"}, 10000);
	ok(!shake(e, f) && pass(&e[0], &e[1], 5000000) && pass(&e[1], &e[0], 5000000),
	   "data goes through changes of keys");
	disconnect(e);
}

// Each sends all that goes before it reads: both come to a change of keys with full buffers.
static void keys_change_at_once(uint64_t rekey)
{
	enum { ALL = 20000000, STUCK = 1000 };
	static uint8_t bytes[100000];
	struct end e[2] = {{.expected = prints[1]}, {.expected = prints[0]}};
	struct fault f[2] = {{.text = ""}, {.text = ""}}, why;
	size_t sent[2] = {0}, got[2] = {0};
	ssize_t r = TLS_AGAIN;

	connect_ends(e, (const char *const[]){"a", "b"}, rekey);
	bool good = !shake(e, f);
	for (int stuck = 0; good && (got[0] < ALL || got[1] < ALL) && stuck < STUCK; stuck++) {
		for (int i = 0; i < 2; i++)
			while (sent[i] < ALL &&
			       (r = tls_write(e[i].t, bytes, sizeof(bytes), &why)) > 0)
				sent[i] += (size_t)r;
		for (int i = 0; i < 2; i++)
			for (; (r = tls_read(e[i].t, bytes, sizeof(bytes), &why)) > 0; stuck = 0)
				got[i] += (size_t)r;
		good = r == TLS_AGAIN;
	}
	ok(good && got[0] >= ALL && got[1] >= ALL,
	   "both change their keys at once, every %llu bytes: %zu and %zu of %d",
	   (unsigned long long)rekey, got[0], got[1], ALL);
	disconnect(e);
}

static void strangers(void)
{
	struct end e[2] = {{.expected = prints[0]}, {.expected = prints[0]}};
	struct fault f[2] = {{.text = ""}, {.text = ""}}, why = {.text = ""};
	char byte;

	connect_ends(e, (const char *const[]){"a", "b"}, 0);
	ok(shake(e, f) && f[0].code == BLX_TARGET && !strcmp(f[0].text, "somebody else"),
	   "a server that is somebody else: %s", f[0].text);
	ok(f[1].code == BLX_TARGET && strstr(f[1].text, prints[1]),
	   "hears that it is not taken: %s", f[1].text);
	disconnect(e);

	e[0].expected = e[1].expected = prints[1];
	connect_ends(e, (const char *const[]){"a", "b"}, 0);
	ok(shake(e, f) && f[1].code == BLX_TARGET && !strcmp(f[1].text, "somebody else"),
	   "a client that is somebody else: %s", f[1].text);
	ok(tls_read(e[0].t, &byte, 1, &why) == -1 && why.code == BLX_TARGET &&
		   strstr(why.text, prints[0]),
	   "hears of it when it reads: %s", why.text);
	disconnect(e);
}

static void identities(void)
{
	static const char *const good[] = {"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
					   "DNS:a.example",
					   "DNS:x",
					   "IP:192.0.2.1",
					   "IP:2001:db8::1",
					   "URI:spiffe://example.org/a"};
	static const char *const bad[] = {"",
					  "SHA256:",
					  "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuF",
					  "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFUU",
					  "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV",
					  "sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
					  "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuF=",
					  "DNS:",
					  "DNS:.a",
					  "DNS:a b",
					  "DNS:a,DNS:b",
					  "DNS:*.a",
					  "IP:",
					  "IP:1.2.3",
					  "IP:x",
					  "URI:",
					  "URI:x",
					  "URI:a: b",
					  "MD5:x",
					  "x"};
	struct fault f;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		ok(!tls_id_check(good[i], &f), "taken: %s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ok(tls_id_check(bad[i], &f) && f.code == BLX_USAGE, "refused: '%s'", bad[i]);
}

static void key_files(void)
{
	static const mode_t modes[] = {0604, 0602, 0601, 0660, 0644, 0620, 0610};
	struct tls_config c = {.key = path("a"), .judge = judge};
	char again[TLS_FINGERPRINT];
	struct stat st;
	struct fault f;

	ok(!stat(c.key, &st) && (st.st_mode & 0777) == 0600, "a new key is its owner's");
	ok(tls_keygen(c.key, "x", again, &f) && strstr(f.text, "File exists"),
	   "a key is not overwritten: %s", f.text);
	ok(!tls_fingerprint_of(c.key, again, &f) && !strcmp(again, prints[0]),
	   "its fingerprint is that of its certificate");
	for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
		chmod(c.key, modes[i]);
		ok(!tls_context_new(&c, &f) && strstr(f.text, "lets others at the key"),
		   "refused: %s", f.text);
	}
	chmod(c.key, geteuid() ? 0400 : 0640);
	struct tls_context *x = tls_context_new(&c, &f);
	ok(x && !strcmp(tls_context_fingerprint(x), prints[0]), "taken: mode %s",
	   geteuid() ? "400" : "640 of root");
	tls_context_free(x);
	chmod(c.key, 0600);
	c.cert = path("b");
	ok(!tls_context_new(&c, &f) && strstr(f.text, "is not of this key"),
	   "another key's certificate: %s", f.text);
	ok(tls_keygen(path("none/k"), "x", again, &f) &&
		   tls_keygen(path("k"), "a,DNS:b", again, &f) && access(path("k"), F_OK),
	   "no directory, or no name: no key");
}

int main(void)
{
	struct fault f = {.text = ""};

	if (!mkdtemp(dir))
		return 1;
	ok(!tls_keygen(path("a"), "a.example", prints[0], &f) &&
		   !tls_keygen(path("b"), "b", prints[1], &f) && strcmp(prints[0], prints[1]),
	   "two keys: %s", f.text);
	both_ways();
	keys_change();
	keys_change_at_once(1000);
	keys_change_at_once(100000);
	keys_change_at_once(3333333);
	strangers();
	identities();
	key_files();
	unlink(path("a"));
	unlink(path("b"));
	rmdir(dir);
	return done();
}
