// SPDX-License-Identifier: BSD-2-Clause
// lib/head: the header of lists and streams.
#include <errno.h>

#include "head.h"
#include "input.h"
#include "tap.h"

#define T1 "0123456789abcdef0011223344556677"
#define T2 "0123456789abcdef0011223344556678"
#define T3 "0123456789abcdef0011223344556679"
#define FIRST "# blx-extents 1\n"
#define LINEAGE "# lineage: 6ba7b810-9dad-11d1-80b4-00c04fd430c8\n"
#define DEVICE "# device: 7:3\n"
#define SIZE "# size: 1048576\n"
#define BLOCK "# block: 4096\n"
#define CONSUMER "# consumer: default\n"
#define BASE "# base: 11 " T1 "\n"
#define CURSOR "# cursor: 1048576\n"
#define EPOCH "# epoch: 13 " T3 "\n"
#define CHAIN "# chain: " T1 "\n# chain: " T2 "\n# chain: " T3 "\n"
#define REPLICA "01234567-89ab-4cde-8f01-23456789abcd"
#define WHOLE FIRST LINEAGE DEVICE SIZE BLOCK CONSUMER BASE CURSOR EPOCH CHAIN

static void takes(const char *text, const char *what)
{
	struct head h;
	struct fault f = {.text = ""};

	head_init(&h);
	ok(head_parse(&h, text, strlen(text), &f) == 0, "taken: %s (%s)", what, f.text);
	head_free(&h);
}

static void refuses(const char *text, const char *words)
{
	struct head h;
	struct fault f = {.text = ""};

	head_init(&h);
	ok(head_parse(&h, text, strlen(text), &f) == -1 && f.code == BLX_CORRUPT &&
		   strstr(f.text, words),
	   "refused: %s (%s)", words, f.text);
	head_free(&h);
}

// The header of the golden stream of that name, parsed, formatted again and copied.
static void golden(const char *name)
{
	struct head h, copy;
	struct fault f = {.text = ""};
	size_t n, back_n = 0, i;
	char *list = data_file(name, &n);

	for (i = 0; list[i] == '#'; i += strcspn(list + i, "\n") + 1)
		;
	head_init(&h);
	ok(head_parse(&h, list, i, &f) == 0, "%s: its header is taken (%s)", name, f.text);
	char *back = head_format(&h, &back_n);
	ok(back && back_n == i && !memcmp(back, list, i), "%s: and formatted to the same bytes",
	   name);
	free(back);
	ok(head_copy(&copy, &h) == 0 && (copy.chain != h.chain || !h.chain) &&
		   copy.chain_len == h.chain_len,
	   "%s: a copy has a chain of its own", name);
	head_free(&h);
	ok(head_chain_find(&copy, &copy.token) == (long)copy.chain_len - 1,
	   "%s: the epoch is last in the chain", name);
	head_free(&copy);
	free(list);
}

static void groups(void)
{
	struct head h;
	struct fault f = {.text = ""};
	size_t n;
	const char *text = FIRST LINEAGE DEVICE SIZE BLOCK CONSUMER BASE CURSOR EPOCH CHAIN
		"# group: 2/3 " T1 "\n";

	head_init(&h);
	ok(head_parse(&h, text, strlen(text), &f) == 0 && h.group_at == 2 && h.group_of == 3,
	   "a list is the second of three (%s)", f.text);
	char *back = head_format(&h, &n);
	ok(back && !strcmp(back, text), "and says so again");
	free(back);
	head_free(&h);
	takes(WHOLE "# group: 1/1 " T1 "\n", "a group of one");
	takes(WHOLE "# group: 1024/1024 " T1 "\n", "a large group");
	refuses(WHOLE "# group: 0/3 " T1 "\n", "bad value");
	refuses(WHOLE "# group: 4/3 " T1 "\n", "bad value");
	refuses(WHOLE "# group: 1/1025 " T1 "\n", "bad value");
	refuses(WHOLE "# group: 0/0 " T1 "\n", "bad value");
	refuses(WHOLE "# group: 1/2\n", "bad value");
	refuses(WHOLE "# group: 1 " T1 "\n", "bad value");
	refuses(WHOLE "# group: -1/2 " T1 "\n", "bad value");
	refuses(WHOLE "# group: 1/2 short\n", "bad value");
	refuses(FIRST SIZE "# group: 1/2 " T1 "\n", "without 'lineage'");
}

static void lines_refused(void)
{
	refuses("", "empty");
	refuses("Welcome to backup\n", "not an extent list");
	refuses(SIZE FIRST, "not an extent list");
	refuses("# blx-extents 2\n" SIZE, "not an extent list");
	refuses(FIRST FIRST SIZE, "not a '# key: value' line");
	refuses(FIRST "# size: 1", "cut");
	refuses(FIRST "size: 1\n", "not a '# key: value' line");
	refuses(FIRST "# size 1\n", "not a '# key: value' line");
	refuses(FIRST "# size: \n", "not a '# key: value' line");
	refuses(FIRST SIZE "# colour: red\n", "unknown key");
	refuses(FIRST SIZE "# end: 0 0\n", "unknown key");
	refuses(FIRST SIZE SIZE, "line 3: this key was there before");
	refuses(FIRST "# size: 0x10\n", "bad value");
	refuses(FIRST "# size: 01\n", "bad value");
	refuses(FIRST "# size: 18446744073709551616\n", "bad value");
	refuses(FIRST SIZE "# label: a b\n", "bad value");
	refuses(FIRST SIZE "# label: .hidden\n", "bad value");
	refuses(FIRST SIZE "# label: -r\n", "bad value");
	refuses(FIRST SIZE "# label: ../x\n", "bad value");
	refuses(FIRST SIZE "# time: 2026-02-31T00:00:00Z\n", "bad value");
	refuses(FIRST SIZE "# time: 2026-01-02 03:04:05\n", "bad value");
	refuses(FIRST SIZE "# time: 2026-01-02T03:04:05+01:00\n", "bad value");
	refuses(WHOLE "# partial: 12 " T2 "\n", "bad value");
	refuses(WHOLE "# resync: yes\n", "bad value");
	refuses(WHOLE "# resync: " REPLICA "\n", "bad value");
	refuses(FIRST SIZE "# since: " REPLICA "\n", "bad value");
	refuses(WHOLE "# name: a b\n", "bad value");
	refuses(WHOLE "# serial:  x\n", "bad value");
	refuses(FIRST LINEAGE "# device: 7\n", "bad value");
	refuses(FIRST LINEAGE "# device: 4096:1\n", "bad value");
	refuses(FIRST LINEAGE "# device: 7:1048576\n", "bad value");
}

static void back_again(const char *text, const char *what)
{
	struct head h, copy;
	struct fault f = {.text = ""};
	size_t n = 0;

	head_init(&h);
	ok(head_parse(&h, text, strlen(text), &f) == 0, "taken: %s (%s)", what, f.text);
	ok(!head_copy(&copy, &h), "copied");
	char *back = head_format(&copy, &n);
	ok(back && !strcmp(back, text), "formatted to the same bytes: %s", back ? back : "");
	free(back);
	head_free(&copy);
	head_free(&h);
}

static void comparisons(void)
{
	back_again(FIRST SIZE "# resync: " REPLICA " " T1 "\n# since: " REPLICA " 4\n",
		   "a comparison with a replica, of a tracked device");
	back_again(FIRST SIZE "# since: " REPLICA " 0\n", "a tracked device's own list");
	back_again(FIRST LINEAGE DEVICE SIZE BLOCK CONSUMER BASE CURSOR "# resync: " REPLICA " " T1
									"\n" EPOCH CHAIN,
		   "a resync list");
}

static void heads_refused(void)
{
	refuses(FIRST, "no 'size'");
	refuses(FIRST SIZE DEVICE, "'device' without 'lineage'");
	refuses(FIRST SIZE CHAIN, "'chain' without 'lineage'");
	refuses(FIRST SIZE "# limit: 1\n", "'limit' without 'lineage'");
	refuses(FIRST "# size: 9223372036854775808\n", "beyond what a file can have");
	refuses(FIRST LINEAGE SIZE BLOCK CONSUMER BASE CURSOR EPOCH CHAIN, "no 'device'");
	refuses(FIRST LINEAGE DEVICE BLOCK CONSUMER BASE CURSOR EPOCH CHAIN, "no 'size'");
	refuses(FIRST LINEAGE DEVICE SIZE CONSUMER BASE CURSOR EPOCH CHAIN, "no 'block'");
	refuses(FIRST LINEAGE DEVICE SIZE BLOCK BASE CURSOR EPOCH CHAIN, "no 'consumer'");
	refuses(FIRST LINEAGE DEVICE SIZE BLOCK CONSUMER CURSOR EPOCH CHAIN, "no 'base'");
	refuses(FIRST LINEAGE DEVICE SIZE BLOCK CONSUMER BASE EPOCH CHAIN, "no 'cursor'");
	refuses(FIRST LINEAGE DEVICE SIZE BLOCK CONSUMER BASE CURSOR CHAIN, "no 'epoch'");
	refuses(FIRST LINEAGE DEVICE SIZE BLOCK CONSUMER BASE CURSOR EPOCH, "no 'chain'");
	refuses(FIRST LINEAGE DEVICE SIZE "# block: 3000\n" CONSUMER BASE CURSOR EPOCH CHAIN,
		"no power of two");
	refuses(FIRST LINEAGE DEVICE SIZE "# block: 256\n" CONSUMER BASE CURSOR EPOCH CHAIN,
		"no power of two");
	refuses(FIRST LINEAGE DEVICE SIZE "# block: 2097152\n" CONSUMER BASE CURSOR EPOCH CHAIN,
		"no power of two");
	refuses(FIRST LINEAGE DEVICE SIZE BLOCK CONSUMER BASE "# cursor: 1048577\n" EPOCH CHAIN,
		"cursor is beyond");
	refuses(WHOLE "# limit: 1048577\n", "limit is beyond");
	refuses(WHOLE "# partial: 12 " T2 " 1048577\n", "partial is beyond");
	refuses(WHOLE "# partial: 12 00000000000000000000000000000000 1\n",
		"partial's token is not in the chain");
	refuses(WHOLE "# partial: 14 " T2 " 1\n", "not between base and epoch");
	refuses(WHOLE "# partial: 11 " T2 " 1\n", "not between base and epoch");
	refuses(WHOLE "# chain: " T1 "\n", "does not end in the epoch's token");
	refuses(FIRST LINEAGE DEVICE SIZE BLOCK CONSUMER "# base: 11 " T2 "\n" CURSOR EPOCH CHAIN,
		"does not begin with the base");
	refuses(FIRST LINEAGE DEVICE SIZE BLOCK CONSUMER "# base: 14 " T1 "\n" CURSOR EPOCH CHAIN,
		"later than");
	refuses(FIRST LINEAGE DEVICE SIZE BLOCK CONSUMER
		"# base: none\n# cursor: 0\n# resync: " REPLICA " " T1 "\n" EPOCH CHAIN,
		"a resync whose base is not what the replica held");
	refuses(WHOLE "# resync: " REPLICA " " T2 "\n", "a resync whose base is not");
	refuses(WHOLE "# since: " REPLICA " 4\n", "'since' with 'lineage'");
}

static void long_chain(void)
{
	struct head h;
	struct token t = {{0}};
	int r = 0;

	head_init(&h);
	for (int i = 0; i < HEAD_CHAIN_MAX && !r; i++) {
		t.b[0] = (uint8_t)i;
		t.b[1] = (uint8_t)(i >> 8);
		r = head_chain_add(&h, &t);
	}
	ok(!r && h.chain_len == HEAD_CHAIN_MAX && head_chain_find(&h, &t) == HEAD_CHAIN_MAX - 1,
	   "65536 tokens");
	errno = 0;
	ok(head_chain_add(&h, &t) == -1 && errno == E2BIG, "are as many as there may be");
	head_free(&h);
	ok(!h.chain && !h.chain_len, "head_free() leaves nothing");
}

static void names(void)
{
	char name[HEAD_NAME_MAX + 2];

	memset(name, 'a', sizeof(name));
	name[HEAD_NAME_MAX + 1] = 0;
	ok(!head_name_ok(name), "a name of 65 bytes is too long");
	name[HEAD_NAME_MAX] = 0;
	ok(head_name_ok(name), "a name of 64 is not");
	ok(head_name_ok("a.b_c:d-E9") && !head_name_ok("") && !head_name_ok("a/b") &&
		   !head_name_ok("\xc3\xa4"),
	   "letters, digits and ._:- only");
}

int main(void)
{
	struct head h;
	struct fault f;

	golden("small.list");
	golden("example.list");
	takes(WHOLE, "the keys that must be");
	takes(FIRST SIZE, "an anonymous header");
	takes(FIRST SIZE "# x-note: anything at all\n", "a key beginning with x-");
	takes(FIRST CHAIN EPOCH SIZE "# limit: 4096\n" CURSOR BASE LINEAGE CONSUMER BLOCK DEVICE,
	      "any order");
	takes(FIRST LINEAGE DEVICE SIZE BLOCK CONSUMER "# base: none\n# cursor: 0\n" EPOCH CHAIN,
	      "no base");
	takes(WHOLE "# partial: 12 " T2 " 1048576\n", "a partial up to the end");
	groups();
	lines_refused();
	heads_refused();
	comparisons();
	long_chain();
	names();
	head_init(&h);
	ok(head_parse(&h, FIRST "# limit: 5\n" LINEAGE, sizeof(FIRST "# limit: 5\n" LINEAGE) - 1,
		      &f) == -1 &&
		   h.limit == 5,
	   "a limit before the size stays");
	head_free(&h);
	return done();
}
