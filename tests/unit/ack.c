// SPDX-License-Identifier: BSD-2-Clause
// lib/ack: the line that lets a source forget.
#include "ack.h"
#include "input.h"
#include "tap.h"

#define BIND                                                                                       \
	"lineage=6ba7b810-9dad-11d1-80b4-00c04fd430c8 device=7:300 consumer=default epoch=12 "     \
	"token=0123456789abcdef0011223344556678"

static void refuses(const char *line, const char *words)
{
	struct ack a;
	struct fault f = {.text = ""};

	ok(ack_parse(line, &a, &f) == -1 && f.code == BLX_CORRUPT && strstr(f.text, words),
	   "refused: %s", line);
}

// Every line of the golden file is parsed and formatted to itself.
static void golden(void)
{
	struct ack a;
	struct fault f = {.text = ""};
	char back[ACK_TEXT_MAX];
	size_t n;
	char *text = data_file("acks", &n);

	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		int bad = ack_parse(line, &a, &f);
		size_t len = bad ? 0 : ack_format(&a, back);
		ok(!bad && len == strlen(line) + 1 && !memcmp(line, back, len - 1) &&
			   back[len - 1] == '\n',
		   "there and back: %s%s", line, f.text);
	}
	free(text);
}

static void made(void)
{
	struct head h;
	struct ack a, b;
	struct fault f;
	char text[ACK_TEXT_MAX];

	ack_for(&a, ACK_FAILED, NULL);
	a.code = BLX_SYSTEM;
	memset(a.why, '\n', sizeof(a.why) - 1);
	size_t n = ack_format(&a, text);
	ok(!a.bound && strlen(text) == n && strchr(text, '\n') == text + n - 1,
	   "words stay one line");
	text[n - 1] = 0;
	ok(ack_parse(text, &b, &f) == 0 && b.code == BLX_SYSTEM, "the longest words can be parsed");
	head_init(&h);
	h.anonymous = true;
	ack_for(&a, ACK_FAILED, &h);
	ok(!a.bound, "an anonymous head binds nothing");
	h.anonymous = false;
	h.major = 4095;
	h.minor = 1048575;
	h.epoch = UINT64_MAX;
	memset(h.consumer, 'c', HEAD_NAME_MAX);
	ack_for(&a, ACK_UPTO, &h);
	a.offset = UINT64_MAX;
	a.last = true;
	n = ack_format(&a, text);
	text[n - 1] = 0;
	ok(ack_parse(text, &b, &f) == 0 && b.last && b.offset == UINT64_MAX && b.minor == 1048575 &&
		   b.epoch == UINT64_MAX && !strcmp(b.consumer, h.consumer),
	   "the largest of everything comes back");
}

int main(void)
{
	golden();
	made();
	refuses("", "not an ack");
	refuses("Welcome to backup, last login yesterday", "not an ack: Welcome to backup");
	refuses("blx-ack 2 done " BIND, "not an ack");
	refuses("blx-ack 1 done", "bad ack");
	refuses("blx-ack 1 unread " BIND, "bad ack");
	refuses("blx-ack 1 done " BIND " unread=0", "bad ack");
	refuses("blx-ack 1 upto " BIND " unread=1 offset=4096", "bad ack");
	refuses("blx-ack 1 upto " BIND " offset=4096 last unread=1", "bad ack");
	refuses("blx-ack 1 unread " BIND " offset=0 length=0", "bad ack");
	refuses("blx-ack 1 unread " BIND " offset=512 length=18446744073709551615", "bad ack");
	refuses("blx-ack 1 unread " BIND " offset=0 length=512 last", "bad ack");
	refuses("blx-ack 1 unread offset=0 length=512", "bad ack");
	refuses("blx-ack 1 done ", "bad ack");
	refuses("blx-ack 1 done " BIND " ", "bad ack");
	refuses("blx-ack 1 done " BIND " more", "bad ack");
	refuses("blx-ack 1 done  " BIND, "bad ack");
	refuses("blx-ack 1 upto " BIND, "bad ack");
	refuses("blx-ack 1 upto " BIND " offset=", "bad ack");
	refuses("blx-ack 1 upto " BIND " offset=-1", "bad ack");
	refuses("blx-ack 1 upto " BIND " offset=1 lost", "bad ack");
	refuses("blx-ack 1 upto " BIND " offset=1 last x", "bad ack");
	refuses("blx-ack 1 failed", "bad ack");
	refuses("blx-ack 1 failed code=0 why=x", "bad ack");
	refuses("blx-ack 1 failed code=8 why=x", "bad ack");
	refuses("blx-ack 1 failed code=3", "bad ack");
	refuses("blx-ack 1 failed " BIND, "bad ack");
	refuses("blx-ack 1 perhaps " BIND, "bad ack");
	refuses("blx-ack 1 done lineage=x device=7:3 consumer=default epoch=12 token=y", "bad ack");
	refuses("blx-ack 1 done lineage=6ba7b810-9dad-11d1-80b4-00c04fd430c8 device=7:300 "
		"consumer=../x epoch=12 "
		"token=0123456789abcdef0011223344556678",
		"bad ack");
	refuses("blx-ack 1 done lineage=6ba7b810-9dad-11d1-80b4-00c04fd430c8 device=7 consumer=c "
		"epoch=12 "
		"token=0123456789abcdef0011223344556678",
		"bad ack");
	return done();
}
