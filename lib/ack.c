// SPDX-License-Identifier: BSD-2-Clause
// Acks: a line of words, each `key=value`, in the order that blx-acks(5) gives.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ack.h"
#include "num.h"

static const char start[] = "blx-ack 1 ";

void ack_for(struct ack *a, enum ack_kind kind, const struct head *h)
{
	memset(a, 0, sizeof(*a));
	a->kind = kind;
	a->bound = h && !h->anonymous;
	if (!a->bound)
		return;
	a->lineage = h->lineage;
	a->major = h->major;
	a->minor = h->minor;
	memcpy(a->consumer, h->consumer, sizeof(a->consumer));
	a->epoch = h->epoch;
	a->token = h->token;
}

size_t ack_format(const struct ack *a, char text[ACK_TEXT_MAX])
{
	static const char *const kinds[] = {"done", "upto", "unread", "failed"};
	char lineage[UUID_TEXT], token[TOKEN_TEXT];
	size_t n = (size_t)snprintf(text, ACK_TEXT_MAX, "%s%s", start, kinds[a->kind]);

	uuid_format(&a->lineage, lineage);
	token_format(&a->token, token);
	if (a->bound)
		n += (size_t)snprintf(text + n, ACK_TEXT_MAX - n,
				      " lineage=%s device=%u:%u consumer=%s epoch=%llu token=%s",
				      lineage, a->major, a->minor, a->consumer,
				      (unsigned long long)a->epoch, token);
	if (a->kind == ACK_UPTO)
		n += (size_t)snprintf(text + n, ACK_TEXT_MAX - n, " offset=%llu",
				      (unsigned long long)a->offset);
	if ((a->kind == ACK_UPTO || a->kind == ACK_DONE) && a->unread)
		n += (size_t)snprintf(text + n, ACK_TEXT_MAX - n, " unread=%llu",
				      (unsigned long long)a->unread);
	if (a->kind == ACK_UPTO && a->last)
		n += (size_t)snprintf(text + n, ACK_TEXT_MAX - n, " last");
	if (a->kind == ACK_UNREAD)
		n += (size_t)snprintf(text + n, ACK_TEXT_MAX - n, " offset=%llu length=%llu",
				      (unsigned long long)a->offset, (unsigned long long)a->length);
	if (a->kind == ACK_FAILED) {
		n += (size_t)snprintf(text + n, ACK_TEXT_MAX - n, " code=%d why=", (int)a->code);
		for (const char *p = a->why; *p; p++) // one line, whatever the words are
			text[n++] = (unsigned char)*p < ' ' || *p == 0x7f ? '?' : *p;
	}
	text[n++] = '\n';
	text[n] = 0;
	return n;
}

// ---- parsing. Each function takes what it knows from the front of *p; false: it is not there.

static bool literal(const char **p, const char *text)
{
	size_t n = strlen(text);

	if (strncmp(*p, text, n))
		return false;
	*p += n;
	return true;
}

// `KEY` and the word behind it, up to a blank or the end.
static bool word(const char **p, const char *key, char *to, size_t room)
{
	if (!literal(p, key))
		return false;
	size_t n = strcspn(*p, " ");
	if (n >= room)
		return false;
	memcpy(to, *p, n);
	to[n] = 0;
	*p += n;
	return true;
}

static bool number(const char **p, const char *key, uint64_t *v)
{
	char text[24];

	return word(p, key, text, sizeof(text)) && num_u64(text, v) == 0;
}

static bool device(const char **p, struct ack *a)
{
	char text[32];
	uint64_t major, minor;

	if (!word(p, " device=", text, sizeof(text)))
		return false;
	char *colon = strchr(text, ':');
	if (!colon)
		return false;
	*colon = 0;
	if (num_u64(text, &major) || num_u64(colon + 1, &minor) || major > UINT32_MAX ||
	    minor > UINT32_MAX)
		return false;
	a->major = (uint32_t)major;
	a->minor = (uint32_t)minor;
	return true;
}

static bool binding(const char **p, struct ack *a)
{
	char lineage[UUID_TEXT], token[TOKEN_TEXT];

	a->bound = true;
	return word(p, " lineage=", lineage, sizeof(lineage)) &&
	       !uuid_parse(lineage, &a->lineage) && device(p, a) &&
	       word(p, " consumer=", a->consumer, sizeof(a->consumer)) &&
	       head_name_ok(a->consumer) && number(p, " epoch=", &a->epoch) &&
	       word(p, " token=", token, sizeof(token)) && !token_parse(token, &a->token);
}

static bool failure(const char **p, struct ack *a)
{
	uint64_t code;

	if (!strncmp(*p, " lineage=", 9) && !binding(p, a))
		return false;
	if (!number(p, " code=", &code) || code < 1 || code > 7 || !literal(p, " why="))
		return false;
	a->code = (enum blx_exit)code;
	size_t n = strlen(*p);
	if (n >= sizeof(a->why))
		return false;
	memcpy(a->why, *p, n + 1);
	*p += n;
	return true;
}

// `unread=N`, if it is there; N is not 0.
static bool unread(const char **p, struct ack *a)
{
	return strncmp(*p, " unread=", 8) || (number(p, " unread=", &a->unread) && a->unread);
}

static bool body(const char *p, struct ack *a)
{
	if (literal(&p, "done")) {
		a->kind = ACK_DONE;
		return binding(&p, a) && unread(&p, a) && !*p;
	}
	if (literal(&p, "upto")) {
		a->kind = ACK_UPTO;
		if (!binding(&p, a) || !number(&p, " offset=", &a->offset) || !unread(&p, a))
			return false;
		a->last = literal(&p, " last");
		return !*p;
	}
	if (literal(&p, "unread")) {
		uint64_t end;
		a->kind = ACK_UNREAD;
		return binding(&p, a) && number(&p, " offset=", &a->offset) &&
		       number(&p, " length=", &a->length) && a->length &&
		       !__builtin_add_overflow(a->offset, a->length, &end) && !*p;
	}
	a->kind = ACK_FAILED;
	return literal(&p, "failed") && failure(&p, a);
}

int ack_parse(const char *line, struct ack *a, struct fault *f)
{
	const char *p = line;

	memset(a, 0, sizeof(*a));
	if (!literal(&p, start))
		return fault_set(f, BLX_CORRUPT, "not an ack: %.200s", line);
	return body(p, a) ? 0 : fault_set(f, BLX_CORRUPT, "bad ack: %.200s", line);
}
