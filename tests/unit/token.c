// SPDX-License-Identifier: BSD-2-Clause
// lib/token: names of 128 bits.
#include <string.h>

#include "tap.h"
#include "token.h"

int main(void)
{
	static const char hex[] = "0123456789abcdef0011223344556677";
	static const char dashed[] = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
	static const char *const wrong_hex[] = {"", "0123", "0123456789ABCDEF0011223344556677",
						"0123456789abcdef00112233445566770",
						"0123456789abcdef001122334455667g"};
	static const char *const wrong_uuid[] = {"",
						 "6ba7b8109dad11d180b400c04fd430c8",
						 "6ba7b810-9dad-11d1-80b4-00c04fd430c80",
						 "6ba7b810-9dad-11d1-80b4-00c04fd430c",
						 "6BA7B810-9dad-11d1-80b4-00c04fd430c8",
						 "6ba7b810+9dad-11d1-80b4-00c04fd430c8"};
	struct token t, u;
	char text[TOKEN_TEXT], uuid[UUID_TEXT];

	ok(token_parse(hex, &t) == 0 && t.b[0] == 1 && t.b[15] == 0x77, "32 digits are 16 bytes");
	token_format(&t, text);
	ok(!strcmp(text, hex), "and back");
	for (size_t i = 0; i < sizeof(wrong_hex) / sizeof(*wrong_hex); i++)
		ok(token_parse(wrong_hex[i], &u) == -1, "'%s' is no token", wrong_hex[i]);
	ok(uuid_parse(dashed, &u) == 0 && u.b[0] == 0x6b && u.b[15] == 0xc8, "a UUID is 16 bytes");
	uuid_format(&u, uuid);
	ok(!strcmp(uuid, dashed), "and back");
	for (size_t i = 0; i < sizeof(wrong_uuid) / sizeof(*wrong_uuid); i++)
		ok(uuid_parse(wrong_uuid[i], &u) == -1, "'%s' is no UUID", wrong_uuid[i]);
	ok(token_make(&t, NULL, 0) == 0 && token_make(&u, "salt", 4) == 0 && !token_equal(&t, &u),
	   "two fresh tokens differ");
	ok(uuid_make(&t) == 0 && t.b[6] >> 4 == 4 && t.b[8] >> 6 == 2,
	   "a fresh UUID is of version 4");
	ok(token_equal(&t, &t), "a token equals itself");
	return done();
}
