// SPDX-License-Identifier: BSD-2-Clause
// lib/digest: the digests are those of the standard tools, whole or by pieces.
#include <string.h>

#include "digest.h"
#include "tap.h"

// The digest of TEXT, as text.
static const char *of(enum digest_algorithm a, const char *text, bool pieces)
{
	static char out[DIGEST_TEXT];
	uint8_t digest[DIGEST_MAX];
	static struct fault f;
	struct digest *d = digest_new(a, &f);

	if (!d)
		return f.text;
	if (pieces) {
		digest_begin(d);
		for (const char *c = text; *c; c++)
			digest_add(d, c, 1);
		digest_end(d, digest);
	} else {
		digest_of(d, text, strlen(text), digest);
	}
	digest_free(d);
	digest_format(digest, digest_size(a), out);
	return out;
}

static void vectors(void)
{
	static const struct {
		enum digest_algorithm a;
		const char *text, *digest;
	} known[] = {
		// xxhsum -H128
		{DIGEST_XXH128, "", "99aa06d3014798d86001c324468d497f"},
		{DIGEST_XXH128, "abc", "06b05ab6733a618578af5f94892f3950"},
		// FIPS 180-4's examples
		{DIGEST_SHA256, "",
		 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{DIGEST_SHA256, "abc",
		 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		const char *got = of(known[i].a, known[i].text, false);
		ok(!strcmp(got, known[i].digest), "%s of '%s': %s", digest_name(known[i].a),
		   known[i].text, got);
		ok(!strcmp(of(known[i].a, known[i].text, true), known[i].digest), "by pieces");
	}
}

static void text(void)
{
	uint8_t digest[DIGEST_MAX];
	enum digest_algorithm a;

	ok(!digest_parse("00ff10", 3, digest) && !memcmp(digest, "\0\377\20", 3), "hex digits");
	ok(digest_parse("00ff1", 3, digest) && digest_parse("00ff100", 3, digest), "not so many");
	ok(digest_parse("00FF10", 3, digest) && digest_parse("00fg10", 3, digest), "no others");
	ok(!digest_parse_algorithm("sha256", &a) && a == DIGEST_SHA256, "an algorithm's name");
	ok(digest_parse_algorithm("md5", &a), "not one");
}

static void zeroes(void)
{
	uint8_t b[100] = {0};
	int good = 1;

	for (size_t n = 0; n <= sizeof(b); n++)
		good &= digest_is_zero(b, n);
	ok(good, "zeroes of any length are");
	for (size_t i = 0; i < sizeof(b); i++) {
		b[i] = 1;
		good &= !digest_is_zero(b, sizeof(b)) && digest_is_zero(b, i);
		b[i] = 0;
	}
	ok(good, "one byte anywhere makes a difference");
}

int main(void)
{
	vectors();
	text();
	zeroes();
	return done();
}
