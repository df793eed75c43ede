// SPDX-License-Identifier: BSD-2-Clause
// The header of a digest list: keys to fields and back.
#include <stdarg.h>
#include <string.h>

#include "num.h"
#include "sums.h"

typedef unsigned long long ull;

enum key { SIZE, BLOCK, ALGORITHM, KIND, NAME, REPLICA, LINEAGE, CONSUMER, SINCE, TIME, KEYS };

static const char *const keys[KEYS] = {"size",    "block",   "algorithm", "kind",  "name",
				       "replica", "lineage", "consumer",  "since", "time"};

static const uint32_t FIRST_LINE = 1u << 31;

static const char first_line[] = "# blx-digests 1";

// ---- text to fields. Each value: 0, or -1: not what the key takes.

static bool word(const char *s)
{
	size_t n = strlen(s);

	for (; *s; s++)
		if (*s <= ' ' || *s > '~')
			return false;
	return n && n <= HEAD_NAME_MAX;
}

static int parse_block(const char *value, uint32_t *block)
{
	uint64_t v;

	if (num_u64(value, &v) || v < SUMS_BLOCK_MIN || v > SUMS_BLOCK_MAX || v & (v - 1))
		return -1;
	*block = (uint32_t)v;
	return 0;
}

static int parse_word(const char *value, bool good, char *to)
{
	if (good)
		strcpy(to, value);
	return good ? 0 : -1;
}

// The word up to the first blank is cut off; what follows it, or NULL.
static char *cut(char *value)
{
	char *blank = strchr(value, ' ');

	if (blank)
		*blank++ = 0;
	return blank;
}

// `UUID`, or `UUID EPOCH TOKEN`
static int parse_replica(char *value, struct sums_head *h)
{
	char *epoch = cut(value), *token = epoch ? cut(epoch) : NULL;

	h->has_replica = true;
	h->has_token = epoch;
	if (uuid_parse(value, &h->replica))
		return -1;
	return epoch && (!token || num_u64(epoch, &h->epoch) || token_parse(token, &h->token)) ? -1
											       : 0;
}

static int parse_since(char *value, struct sums_head *h)
{
	char *epoch = cut(value);

	h->has_since = true;
	return !epoch || uuid_parse(value, &h->since) || num_u64(epoch, &h->since_epoch) ? -1 : 0;
}

static int parse_value(enum key key, char *value, struct sums_head *h)
{
	switch (key) {
	case SIZE:
		return num_u64(value, &h->size) || h->size > INT64_MAX ? -1 : 0;
	case BLOCK:
		return parse_block(value, &h->block);
	case ALGORITHM:
		return digest_parse_algorithm(value, &h->algorithm);
	case KIND:
		h->device = !strcmp(value, "device");
		return h->device ? 0 : -1;
	case NAME:
		return parse_word(value, word(value), h->name);
	case REPLICA:
		return parse_replica(value, h);
	case LINEAGE:
		return uuid_parse(value, &h->lineage);
	case CONSUMER:
		return parse_word(value, head_name_ok(value), h->consumer);
	case SINCE:
		return parse_since(value, h);
	case TIME:
		return num_time(value, &h->time);
	case KEYS:
		break;
	}
	return -1;
}

static int bad(struct fault *f, uint64_t line_no, const char *what, const char *line)
{
	return fault_set(f, BLX_CORRUPT, "line %llu: %s: %.100s", (ull)line_no, what, line);
}

int sums_head_line(struct sums_head *h, uint32_t *seen, const char *line, uint64_t line_no,
		   struct fault *f)
{
	char copy[SUMS_HEAD_MAX];
	uint32_t key = 0;

	if (!*seen) {
		if (strcmp(line, first_line))
			return bad(f, line_no,
				   "not a digest list: does not begin with '# blx-digests 1'",
				   line);
		*seen = FIRST_LINE;
		memset(h, 0, sizeof(*h));
		return 0;
	}
	if (strlen(line) >= sizeof(copy))
		return bad(f, line_no, "too long", line);
	strcpy(copy, line);
	char *value = strstr(copy, ": ");
	if (strncmp(copy, "# ", 2) || !value || !value[2])
		return bad(f, line_no, "not a '# key: value' line", line);
	*value = 0;
	value += 2;
	while (key < KEYS && strcmp(copy + 2, keys[key]))
		key++;
	if (key == KEYS)
		return strncmp(copy + 2, "x-", 2) ? bad(f, line_no, "unknown key", line) : 0;
	if (*seen & 1u << key)
		return bad(f, line_no, "this key was there before", line);
	*seen |= 1u << key;
	return parse_value(key, value, h) ? bad(f, line_no, "bad value", line) : 0;
}

int sums_head_check(const struct sums_head *h, uint32_t seen, struct fault *f)
{
	for (uint32_t key = SIZE; key <= ALGORITHM; key++)
		if (!(seen & 1u << key))
			return fault_set(f, BLX_CORRUPT, "header: no '%s'", keys[key]);
	if (!h->has_replica && seen & (1u << LINEAGE | 1u << CONSUMER))
		return fault_set(f, BLX_CORRUPT, "header: a lineage or consumer without a replica");
	return 0;
}

int sums_head_parse(struct sums_head *h, const char *text, size_t n, struct fault *f)
{
	char line[SUMS_HEAD_MAX];
	uint32_t seen = 0;
	uint64_t number = 0;

	while (n) {
		const char *nl = memchr(text, '\n', n);
		size_t len = nl ? (size_t)(nl - text) : n;
		number++;
		if (!nl || len >= sizeof(line) || memchr(text, 0, len))
			return fault_set(f, BLX_CORRUPT,
					 "header: line %llu: too long, cut, or with a NUL byte",
					 (ull)number);
		memcpy(line, text, len);
		line[len] = 0;
		if (sums_head_line(h, &seen, line, number, f))
			return -1;
		text += len + 1;
		n -= len + 1;
	}
	if (!seen)
		return fault_set(f, BLX_CORRUPT, "header: empty");
	return sums_head_check(h, seen, f);
}

// ---- fields to text. All of it together is far below SUMS_HEAD_MAX.

struct text {
	char *at;
	size_t n;
};

static void __attribute__((format(printf, 2, 3))) put(struct text *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	t->n += (size_t)vsnprintf(t->at + t->n, SUMS_HEAD_MAX - t->n, fmt, ap);
	va_end(ap);
}

static void put_replica(struct text *t, const struct sums_head *h)
{
	static const struct token none;
	char text[UUID_TEXT];

	uuid_format(&h->replica, text);
	put(t, "# replica: %s", text);
	if (h->has_token) {
		token_format(&h->token, text);
		put(t, " %llu %s", (ull)h->epoch, text);
	}
	put(t, "\n");
	if (!token_equal(&h->lineage, &none)) {
		uuid_format(&h->lineage, text);
		put(t, "# lineage: %s\n", text);
	}
	if (h->consumer[0])
		put(t, "# consumer: %s\n", h->consumer);
}

size_t sums_head_format(const struct sums_head *h, char text[SUMS_HEAD_MAX])
{
	struct text t = {.at = text};
	char uuid[UUID_TEXT], when[NUM_TIME_TEXT];

	put(&t, "%s\n# size: %llu\n# block: %u\n# algorithm: %s\n", first_line, (ull)h->size,
	    h->block, digest_name(h->algorithm));
	if (h->device)
		put(&t, "# kind: device\n");
	if (h->name[0])
		put(&t, "# name: %s\n", h->name);
	if (h->has_replica)
		put_replica(&t, h);
	if (h->has_since) {
		uuid_format(&h->since, uuid);
		put(&t, "# since: %s %llu\n", uuid, (ull)h->since_epoch);
	}
	if (h->time) {
		num_time_text(h->time, when);
		put(&t, "# time: %s\n", when);
	}
	return t.n;
}
