// SPDX-License-Identifier: BSD-2-Clause
// The header's keys, in one table that both the parser and the formatter go by.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "head.h"
#include "num.h"

enum kind {
	UUID,
	DEVICE,
	NAME,
	WORD,
	TEXT,
	U64,
	U32,
	BASE,
	PARTIAL,
	RESYNC,
	SINCE,
	EPOCH,
	CHAIN,
	GROUP,
	TIME
};

// ANY: an anonymous header may have it too; MUST: a tracked one has it; OTHER: a tracked one must
// not.
enum { ANY = 1, MUST = 2, OTHER = 4 };

enum { LINE = 4096, MAJOR_MAX = 4095, MINOR_MAX = 1048575 }; // dev_t of the kernel: 12 and 20 bits

static const struct field {
	const char *key;
	enum kind kind;
	size_t at;
	int flags;
} fields[] = {
	// The order is the canonical one.
	{"lineage", UUID, offsetof(struct head, lineage), MUST},
	{"device", DEVICE, 0, MUST},
	{"name", WORD, offsetof(struct head, name), ANY},
	{"serial", TEXT, offsetof(struct head, serial), 0},
	{"diskseq", U64, offsetof(struct head, diskseq), 0},
	{"start", U64, offsetof(struct head, start), 0},
	{"size", U64, offsetof(struct head, size), ANY | MUST},
	{"block", U32, offsetof(struct head, block), MUST},
	{"consumer", NAME, offsetof(struct head, consumer), MUST},
	{"base", BASE, 0, MUST},
	{"cursor", U64, offsetof(struct head, cursor), MUST},
	{"partial", PARTIAL, 0, 0},
	{"limit", U64, offsetof(struct head, limit), 0},
	{"resync", RESYNC, 0, ANY},
	{"since", SINCE, 0, ANY | OTHER},
	{"epoch", EPOCH, 0, MUST},
	{"chain", CHAIN, 0, MUST},
	{"group", GROUP, 0, 0},
	{"time", TIME, 0, ANY},
	{"label", NAME, offsetof(struct head, label), ANY},
};

enum { FIELDS = sizeof(fields) / sizeof(*fields) };

static const uint32_t FIRST_LINE = 1u << 31; // in head.seen

static const char first_line[] = "# blx-extents 1";

bool head_name_ok(const char *name)
{
	size_t n =
		strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-");

	return n && n <= HEAD_NAME_MAX && !name[n] && name[0] != '.' && name[0] != '-';
}

// 1 to HEAD_NAME_MAX printable ASCII characters; blanks only inside, and only if they may be.
static bool printable(const char *s, bool blanks)
{
	size_t n = strlen(s);

	if (!n || n > HEAD_NAME_MAX || s[0] == ' ' || s[n - 1] == ' ')
		return false;
	for (; *s; s++)
		if (*s < ' ' || *s > '~' || (*s == ' ' && !blanks))
			return false;
	return true;
}

// ---- values. Each returns 0, or -1: not what the key takes.

static int parse_text(enum kind kind, const char *value, char *to)
{
	if (kind == NAME ? !head_name_ok(value) : !printable(value, kind == TEXT))
		return -1;
	memcpy(to, value, strlen(value) + 1);
	return 0;
}

// Cut off the word up to the first SEPARATOR; *rest is what follows.
static int cut(char *value, char separator, char **rest)
{
	*rest = strchr(value, separator);
	if (!*rest)
		return -1;
	*(*rest)++ = 0;
	return 0;
}

static int parse_u32(const char *value, uint64_t max, uint32_t *to)
{
	uint64_t v;

	if (num_u64(value, &v) || v > max)
		return -1;
	*to = (uint32_t)v;
	return 0;
}

static int parse_device(char *value, struct head *h)
{
	char *minor;

	return cut(value, ':', &minor) || parse_u32(value, MAJOR_MAX, &h->major) ||
			       parse_u32(minor, MINOR_MAX, &h->minor)
		       ? -1
		       : 0;
}

// `EPOCH TOKEN`
static int parse_position(char *value, uint64_t *epoch, struct token *t)
{
	char *token;

	return cut(value, ' ', &token) || num_u64(value, epoch) || token_parse(token, t) ? -1 : 0;
}

static int parse_base(char *value, struct head *h)
{
	h->has_base = strcmp(value, "none");
	return h->has_base ? parse_position(value, &h->base_epoch, &h->base) : 0;
}

static int parse_partial(char *value, struct head *h)
{
	char *upto = strrchr(value, ' ');

	if (!upto)
		return -1;
	*upto++ = 0;
	h->has_partial = true;
	return num_u64(upto, &h->partial_upto) ||
			       parse_position(value, &h->partial_epoch, &h->partial)
		       ? -1
		       : 0;
}

// `I/N ID`
static int parse_group(char *value, struct head *h)
{
	char *of, *id;

	return cut(value, '/', &of) || cut(of, ' ', &id) ||
			       parse_u32(of, HEAD_GROUP_MAX, &h->group_of) ||
			       parse_u32(value, h->group_of, &h->group_at) || !h->group_at ||
			       token_parse(id, &h->group)
		       ? -1
		       : 0;
}

// `UUID TOKEN`
static int parse_resync(char *value, struct head *h)
{
	char *token;

	h->resync = true;
	return cut(value, ' ', &token) || uuid_parse(value, &h->replica) ||
			       token_parse(token, &h->held)
		       ? -1
		       : 0;
}

// `UUID EPOCH`
static int parse_since(char *value, struct head *h)
{
	char *epoch;

	h->has_since = true;
	return cut(value, ' ', &epoch) || uuid_parse(value, &h->since) ||
			       num_u64(epoch, &h->since_epoch)
		       ? -1
		       : 0;
}

static int parse_chain(const char *value, struct head *h)
{
	struct token t;

	return token_parse(value, &t) || head_chain_add(h, &t) ? -1 : 0;
}

static int parse_value(const struct field *d, char *value, struct head *h)
{
	void *at = (char *)h + d->at;

	switch (d->kind) {
	case UUID:
		return uuid_parse(value, at);
	case DEVICE:
		return parse_device(value, h);
	case NAME:
	case WORD:
	case TEXT:
		return parse_text(d->kind, value, at);
	case U64:
		return num_u64(value, at);
	case U32:
		return parse_u32(value, UINT32_MAX, at);
	case BASE:
		return parse_base(value, h);
	case PARTIAL:
		return parse_partial(value, h);
	case RESYNC:
		return parse_resync(value, h);
	case SINCE:
		return parse_since(value, h);
	case EPOCH:
		return parse_position(value, &h->epoch, &h->token);
	case CHAIN:
		return parse_chain(value, h);
	case GROUP:
		return parse_group(value, h);
	case TIME:
		return num_time(value, &h->time);
	}
	return -1;
}

// ---- lines

static int bad(struct fault *f, uint64_t line_no, const char *what, const char *line)
{
	return fault_set(f, BLX_CORRUPT, "line %llu: %s: %.100s", (unsigned long long)line_no, what,
			 line);
}

static unsigned int bit(enum kind kind, size_t at)
{
	for (unsigned int i = 0; i < FIELDS; i++)
		if (fields[i].kind == kind && fields[i].at == at)
			return 1u << i;
	return 0;
}

// What follows from the keys seen so far, in whatever order they come.
static void settle(struct head *h)
{
	h->anonymous = !(h->seen & bit(UUID, offsetof(struct head, lineage)));
	if (!(h->seen & bit(U64, offsetof(struct head, limit))))
		h->limit = h->size;
}

int head_line(struct head *h, const char *line, uint64_t line_no, struct fault *f)
{
	char copy[LINE + 1];
	char *value;
	unsigned int i;

	if (!h->seen) {
		if (strcmp(line, first_line))
			return bad(f, line_no,
				   "not an extent list: does not begin with '# blx-extents 1'",
				   line);
		h->seen = FIRST_LINE;
		settle(h);
		return 0;
	}
	if (strlen(line) > LINE)
		return bad(f, line_no, "too long", line);
	strcpy(copy, line);
	value = strstr(copy, ": ");
	if (strncmp(copy, "# ", 2) || !value || !value[2])
		return bad(f, line_no, "not a '# key: value' line", line);
	*value = 0;
	value += 2;
	for (i = 0; i < FIELDS && strcmp(copy + 2, fields[i].key); i++)
		;
	if (i == FIELDS)
		return strncmp(copy + 2, "x-", 2) ? bad(f, line_no, "unknown key", line) : 0;
	if (h->seen & 1u << i && fields[i].kind != CHAIN)
		return bad(f, line_no, "this key was there before", line);
	if (parse_value(&fields[i], value, h))
		return bad(f, line_no, "bad value", line);
	h->seen |= 1u << i;
	settle(h);
	return 0;
}

// ---- checks

static int refuse(struct fault *f, const char *why)
{
	return fault_set(f, BLX_CORRUPT, "header: %s", why);
}

static int check_keys(const struct head *h, struct fault *f)
{
	for (unsigned int i = 0; i < FIELDS; i++) {
		bool seen = h->seen & 1u << i;
		if (!seen && fields[i].flags & MUST && (!h->anonymous || fields[i].flags & ANY))
			return fault_set(f, BLX_CORRUPT, "header: no '%s'", fields[i].key);
		if (seen && h->anonymous && !(fields[i].flags & ANY))
			return fault_set(f, BLX_CORRUPT, "header: '%s' without 'lineage'",
					 fields[i].key);
		if (seen && !h->anonymous && fields[i].flags & OTHER)
			return fault_set(f, BLX_CORRUPT, "header: '%s' with 'lineage'",
					 fields[i].key);
	}
	return 0;
}

static int check_chain(const struct head *h, struct fault *f)
{
	if (!h->chain_len)
		return refuse(f, "no chain");
	if (!token_equal(&h->chain[h->chain_len - 1], &h->token))
		return refuse(f, "the chain does not end in the epoch's token");
	if (h->has_base && !token_equal(&h->chain[0], &h->base))
		return refuse(f, "the chain does not begin with the base");
	if (h->has_base && h->base_epoch > h->epoch)
		return refuse(f, "the base is later than the epoch");
	if (!h->has_partial)
		return 0;
	if (head_chain_find(h, &h->partial) < 0)
		return refuse(f, "the partial's token is not in the chain");
	if (h->partial_epoch > h->epoch || (h->has_base && h->partial_epoch <= h->base_epoch))
		return refuse(f, "the partial is not between base and epoch");
	return 0;
}

static int check_text(const struct head *h, struct fault *f)
{
	if (h->label[0] && !head_name_ok(h->label))
		return refuse(f, "bad label");
	if (h->name[0] && !printable(h->name, false))
		return refuse(f, "bad name");
	if (h->serial[0] && !printable(h->serial, true))
		return refuse(f, "bad serial");
	if (h->time < 0 || h->time > NUM_TIME_MAX)
		return refuse(f, "bad time");
	return 0;
}

int head_check(const struct head *h, struct fault *f)
{
	if (h->seen && check_keys(h, f))
		return -1;
	if (check_text(h, f))
		return -1;
	if (h->size > INT64_MAX)
		return refuse(f, "size is beyond what a file can have");
	if (h->limit > h->size)
		return refuse(f, "limit is beyond size");
	if (h->anonymous)
		return h->limit == h->size ? 0 : refuse(f, "a limit without a lineage");
	if (!head_name_ok(h->consumer))
		return refuse(f, "bad consumer");
	if (h->block < 512 || h->block > 1 << 20 || h->block & (h->block - 1))
		return refuse(f, "block is no power of two from 512 to 1048576");
	if (h->major > MAJOR_MAX || h->minor > MINOR_MAX)
		return refuse(f, "bad device number");
	if (h->cursor > h->size)
		return refuse(f, "cursor is beyond size");
	if (h->has_partial && h->partial_upto > h->size)
		return refuse(f, "partial is beyond size");
	if (h->group_of > HEAD_GROUP_MAX || h->group_at > h->group_of ||
	    (h->group_of && !h->group_at))
		return refuse(f, "bad group");
	if (h->resync && (!h->has_base || !token_equal(&h->held, &h->base)))
		return refuse(f, "a resync whose base is not what the replica held");
	return check_chain(h, f);
}

int head_parse(struct head *h, const char *text, size_t n, struct fault *f)
{
	char line[LINE + 1];
	uint64_t number = 1;

	for (size_t at = 0; at < n; number++) {
		const char *nl = memchr(text + at, '\n', n - at);
		size_t len = nl ? (size_t)(nl - (text + at)) : n - at;
		if (!nl || len > LINE || memchr(text + at, 0, len))
			return fault_set(f, BLX_CORRUPT,
					 "header: line %llu: too long, cut, or with a NUL byte",
					 (unsigned long long)number);
		memcpy(line, text + at, len);
		line[len] = 0;
		if (head_line(h, line, number, f))
			return -1;
		at += len + 1;
	}
	if (!h->seen)
		return refuse(f, "empty");
	return head_check(h, f);
}

// ---- the text

static void put_position(FILE *to, const char *key, uint64_t epoch, const struct token *t)
{
	char text[TOKEN_TEXT];

	token_format(t, text);
	fprintf(to, "# %s: %llu %s", key, (unsigned long long)epoch, text);
}

static void put_chain(FILE *to, const struct head *h)
{
	char text[TOKEN_TEXT];

	for (size_t i = 0; i < h->chain_len; i++) {
		token_format(&h->chain[i], text);
		fprintf(to, "# chain: %s\n", text);
	}
}

static void put_number(FILE *to, const struct field *d, uint64_t v, const struct head *h)
{
	bool optional = !(d->flags & MUST);

	if (d->at == offsetof(struct head, limit) ? v != h->size : !optional || v)
		fprintf(to, "# %s: %llu\n", d->key, (unsigned long long)v);
}

static void put_field(FILE *to, const struct field *d, const struct head *h)
{
	const void *at = (const char *)h + d->at;
	char text[UUID_TEXT], token[TOKEN_TEXT];

	switch (d->kind) {
	case UUID:
		uuid_format(at, text);
		fprintf(to, "# %s: %s\n", d->key, text);
		break;
	case DEVICE:
		fprintf(to, "# %s: %u:%u\n", d->key, h->major, h->minor);
		break;
	case NAME:
	case WORD:
	case TEXT:
		if (*(const char *)at)
			fprintf(to, "# %s: %s\n", d->key, (const char *)at);
		break;
	case U64:
		put_number(to, d, *(const uint64_t *)at, h);
		break;
	case U32:
		put_number(to, d, *(const uint32_t *)at, h);
		break;
	case BASE:
		if (!h->has_base) {
			fprintf(to, "# base: none\n");
			break;
		}
		put_position(to, d->key, h->base_epoch, &h->base);
		putc('\n', to);
		break;
	case PARTIAL:
		if (h->has_partial) {
			put_position(to, d->key, h->partial_epoch, &h->partial);
			fprintf(to, " %llu\n", (unsigned long long)h->partial_upto);
		}
		break;
	case RESYNC:
		if (!h->resync)
			break;
		uuid_format(&h->replica, text);
		token_format(&h->held, token);
		fprintf(to, "# %s: %s %s\n", d->key, text, token);
		break;
	case SINCE:
		if (!h->has_since || !h->anonymous)
			break;
		uuid_format(&h->since, text);
		fprintf(to, "# %s: %s %llu\n", d->key, text, (unsigned long long)h->since_epoch);
		break;
	case EPOCH:
		put_position(to, d->key, h->epoch, &h->token);
		putc('\n', to);
		break;
	case CHAIN:
		put_chain(to, h);
		break;
	case GROUP:
		if (!h->group_of)
			break;
		token_format(&h->group, text);
		fprintf(to, "# %s: %u/%u %s\n", d->key, h->group_at, h->group_of, text);
		break;
	case TIME:
		if (h->time) {
			num_time_text(h->time, text);
			fprintf(to, "# time: %s\n", text);
		}
		break;
	}
}

char *head_format(const struct head *h, size_t *n)
{
	char *text = NULL;
	FILE *to = open_memstream(&text, n);

	if (!to)
		return NULL;
	fprintf(to, "%s\n", first_line);
	for (unsigned int i = 0; i < FIELDS; i++)
		if (!h->anonymous || fields[i].flags & ANY)
			put_field(to, &fields[i], h);
	if (ferror(to) | fclose(to)) {
		free(text);
		errno = ENOMEM;
		return NULL;
	}
	return text;
}
