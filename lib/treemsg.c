// SPDX-License-Identifier: BSD-2-Clause
// A message is looked at whole before anybody acts on it.
#include <string.h>

#include "bytes.h"
#include "treemsg.h"

const uint8_t treemsg_magic[TREEMSG_MAGIC] = {'b', 'l', 'x', 't', 'r', 'e', 'e', '1'};

enum { CHECKED = 12 }; // bytes of the header that the check at their end covers

enum { CLIENT = 1, SERVER = 2 }; // who may say it

static const struct rule {
	const char *name;
	int says;
	bool early; // before the HELLO
} rules[] = {
	[TREEMSG_HELLO] = {"HELLO", CLIENT | SERVER, true},
	[TREEMSG_WANT] = {"WANT", CLIENT, false},
	[TREEMSG_ROOT] = {"ROOT", SERVER, false},
	[TREEMSG_GET] = {"GET", CLIENT, false},
	[TREEMSG_NODES] = {"NODES", SERVER, false},
	[TREEMSG_DONE] = {"DONE", CLIENT, false},
	[TREEMSG_PULSE] = {"PULSE", CLIENT | SERVER, true},
	[TREEMSG_END] = {"END", CLIENT | SERVER, false},
	[TREEMSG_FAIL] = {"FAIL", CLIENT | SERVER, true},
};

int treemsg_parser_init(struct treemsg_parser *p, bool server, struct fault *f)
{
	*p = (struct treemsg_parser){.server = server, .check = digest_new(DIGEST_XXH128, f)};
	return p->check ? 0 : -1;
}

void treemsg_parser_free(struct treemsg_parser *p)
{
	digest_free(p->check);
	p->check = NULL;
}

void treemsg_agree(struct treemsg_parser *p, enum digest_algorithm a)
{
	p->digest = (uint8_t)digest_size(a);
}

// The most bytes of payload that a message of this kind may have.
static uint32_t payload_max(const struct treemsg_parser *p, enum treemsg_type type)
{
	switch (type) {
	case TREEMSG_HELLO:
		return TREEMSG_HELLO_MAX;
	case TREEMSG_WANT:
		return TREEMSG_RANGES_MAX * TREEMSG_RANGE;
	case TREEMSG_ROOT:
		return p->digest;
	case TREEMSG_GET:
		return TREE_PARENTS * 2;
	case TREEMSG_NODES:
		return TREE_LEAVES * (uint32_t)p->digest;
	case TREEMSG_FAIL:
		return TREEMSG_FAIL_MAX;
	case TREEMSG_DONE:
	case TREEMSG_PULSE:
	case TREEMSG_END:
		break;
	}
	return 0;
}

size_t treemsg_max(const struct treemsg_parser *p)
{
	uint32_t most = payload_max(p, p->server ? TREEMSG_WANT : TREEMSG_NODES);

	return TREEMSG_HEADER + (most > TREEMSG_HELLO_MAX ? most : (uint32_t)TREEMSG_HELLO_MAX);
}

static uint32_t check_of(const struct treemsg_parser *p, const uint8_t *header,
			 const uint8_t *payload, uint32_t n)
{
	uint8_t digest[DIGEST_MAX];

	digest_begin(p->check);
	digest_add(p->check, header, CHECKED);
	digest_add(p->check, payload, n);
	digest_end(p->check, digest);
	return get_le32(digest);
}

// Ascending, and not one directly behind the other.
static bool good_ranges(const struct treemsg *m)
{
	uint32_t end = 0;

	if (m->n % TREEMSG_RANGE)
		return false;
	for (uint32_t at = 0; at < m->n; at += TREEMSG_RANGE) {
		uint32_t first = get_le16(m->payload + at);
		if (at && first <= end)
			return false;
		end = first + get_le16(m->payload + at + 2) + 1u;
		if (end > TREE_LEAVES)
			return false;
	}
	return true;
}

static bool good_nodes(const struct treemsg *m)
{
	if (!m->n || m->n % 2 || !m->level || m->level > TREE_TOP)
		return false;
	for (uint32_t at = 0; at < m->n; at += 2) {
		uint32_t node = get_le16(m->payload + at);
		if (node >= tree_count(m->level) || (at && node <= get_le16(m->payload + at - 2)))
			return false;
	}
	return true;
}

static bool good_payload(const struct treemsg_parser *p, const struct treemsg *m)
{
	switch (m->type) {
	case TREEMSG_HELLO:
		return m->n && m->level <= TREEMSG_LIVE;
	case TREEMSG_WANT:
		return good_ranges(m);
	case TREEMSG_ROOT:
		return m->n == p->digest;
	case TREEMSG_GET:
		return good_nodes(m);
	case TREEMSG_NODES:
		return m->n && !(m->n % (TREE_FANOUT * (uint32_t)p->digest));
	case TREEMSG_FAIL:
		return m->n && m->level && m->level <= BLX_BUSY;
	case TREEMSG_DONE:
	case TREEMSG_PULSE:
	case TREEMSG_END:
		break;
	}
	return true;
}

// May it come from the other side, and now? NULL, or why not.
static const char *misplaced(const struct treemsg_parser *p, const struct treemsg *m)
{
	const struct rule *r = &rules[m->type];

	if (!(r->says & (p->server ? CLIENT : SERVER)))
		return "of the wrong side";
	if (p->end)
		return "after the end";
	if (m->type == TREEMSG_HELLO ? p->hello : !r->early && !(p->hello && p->digest))
		return "at the wrong time";
	return NULL;
}

static int take_magic(struct treemsg_parser *p, const uint8_t *buf, size_t have, struct fault *f)
{
	size_t n = have < TREEMSG_MAGIC ? have : TREEMSG_MAGIC;

	if (memcmp(buf, treemsg_magic, n) != 0)
		return fault_set(f, BLX_CORRUPT, "what came is no tree comparison: %.*s",
				 (int)(have < 40 ? have : 40), (const char *)buf);
	p->magic = n == TREEMSG_MAGIC;
	return 0;
}

static int corrupt(struct fault *f, const char *what, const char *why)
{
	return fault_set(f, BLX_CORRUPT, "the connection brought a %s %s", what, why);
}

int treemsg_parse(struct treemsg_parser *p, const uint8_t *buf, size_t have, size_t *used,
		  struct treemsg *m, struct fault *f)
{
	const uint8_t *at = buf;

	*used = 0;
	if (!have)
		return 0;
	if (!p->magic) {
		if (take_magic(p, buf, have, f))
			return -1;
		if (!p->magic)
			return 0;
		*used = TREEMSG_MAGIC;
	}
	at += *used;
	have -= *used;
	if (have < TREEMSG_HEADER)
		return 0;
	*m = (struct treemsg){.type = (enum treemsg_type)at[0],
			      .level = at[1],
			      .n = get_le32(at + 4),
			      .section = get_le32(at + 8),
			      .payload = at + TREEMSG_HEADER};
	if (m->type < TREEMSG_HELLO || m->type > TREEMSG_FAIL || get_le16(at + 2))
		return corrupt(f, "message", "of a kind that is not known");
	const char *name = rules[m->type].name, *why = misplaced(p, m);
	if (why)
		return corrupt(f, name, why);
	if (m->n > payload_max(p, m->type))
		return corrupt(f, name, "that is too long");
	if (have < TREEMSG_HEADER + (size_t)m->n)
		return 0;
	if (get_le32(at + CHECKED) != check_of(p, at, m->payload, m->n))
		return corrupt(f, name, "whose check is wrong");
	if (!good_payload(p, m))
		return corrupt(f, name, "that makes no sense");
	*used += TREEMSG_HEADER + m->n;
	p->hello |= m->type == TREEMSG_HELLO;
	p->end |= m->type == TREEMSG_END;
	return 1;
}

void treemsg_header(const struct treemsg_parser *p, const struct treemsg *m,
		    uint8_t to[TREEMSG_HEADER])
{
	to[0] = (uint8_t)m->type;
	to[1] = m->level;
	put_le16(to + 2, 0);
	put_le32(to + 4, m->n);
	put_le32(to + 8, m->section);
	put_le32(to + CHECKED, check_of(p, to, m->payload, m->n));
}
