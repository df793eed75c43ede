// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "file.h"
#include "replica.h"
#include "num.h"

static const char MAGIC[] = "blx-replica 1\n";
static const char *const HOW[] = {"none", "spool", "clone"};

enum { STATE_MAX = 64 * 1024 };

// ---- writing the text form

static void put_tokens(FILE *o, const struct replica *r)
{
	char text[TOKEN_TEXT];

	if (r->has_floor) {
		token_format(&r->floor, text);
		fprintf(o, "floor: %llu %s\n", (unsigned long long)r->epoch, text);
	}
	token_format(&r->touched, text);
	fprintf(o, "touched: %s\n", text);
	if (r->has_partial) {
		token_format(&r->partial, text);
		fprintf(o, "partial: %llu %s %llu\n", (unsigned long long)r->partial_epoch, text,
			(unsigned long long)r->partial_upto);
	}
	if (r->intent.how == REPLICA_IDLE)
		return;
	token_format(&r->intent.token, text);
	fprintf(o, "intent: %s %llu %s %llu %lld %llu\n", HOW[r->intent.how],
		(unsigned long long)r->intent.epoch, text, (unsigned long long)r->intent.size,
		(long long)r->intent.time, (unsigned long long)r->intent.inode);
	fprintf(o, "intent-path: %s\n", r->intent.path);
	if (r->intent.uses)
		fputs("intent-uses: permission\n", o);
}

static void put_all(FILE *o, const struct replica *r)
{
	char text[UUID_TEXT];

	fputs(MAGIC, o);
	uuid_format(&r->id, text);
	fprintf(o, "id: %s\n", text);
	uuid_format(&r->lineage, text);
	fprintf(o, "lineage: %s\ndevice: %u %u\nconsumer: %s\nlabel: %s\nserial: %s\nsize: %llu\n",
		text, r->major, r->minor, r->consumer, r->label, r->serial,
		(unsigned long long)r->size);
	put_tokens(o, r);
	fprintf(o, "times: %lld %lld\nconsistent: %s\nwriting: %s\n", (long long)r->time,
		(long long)r->applied, r->consistent ? "yes" : "unknown",
		r->writing ? "yes" : "no");
	if (r->unread || r->partial_unread || r->intent.unread)
		fprintf(o, "unread: %llu %llu %llu\n", (unsigned long long)r->unread,
			(unsigned long long)r->partial_unread,
			(unsigned long long)r->intent.unread);
	if (r->adopted)
		fputs("adopted: yes\n", o);
	if (r->promoted)
		fprintf(o, "promoted: %lld\n", (long long)r->promoted);
	uuid_format(&r->image.boot, text);
	fprintf(o, "image: %llu %llu %llu %lld %lld %llu %s\n", (unsigned long long)r->image.dev,
		(unsigned long long)r->image.inode, (unsigned long long)r->image.size,
		(long long)r->image.mtime, (long long)r->image.ctime,
		(unsigned long long)r->image.sectors, text);
}

char *replica_format(const struct replica *r, size_t *n)
{
	char *text = NULL;
	FILE *o = open_memstream(&text, n);

	if (!o)
		return NULL;
	put_all(o, r);
	if (!fflush(o))
		fprintf(o, "end: %016llx\n", (unsigned long long)XXH3_64bits(text, *n));
	if (ferror(o) | fclose(o)) {
		free(text);
		return NULL;
	}
	return text;
}

// ---- reading it

struct fields {
	char *value[8];
	int n;
};

// The blank-separated values of the line `KEY: ...`, in BUF. False if there is no such line.
static bool get(const char *text, const char *key, char *buf, size_t room, struct fields *v)
{
	size_t k = strlen(key);
	const char *p = text;

	while (p && (strncmp(p, key, k) || p[k] != ':' || p[k + 1] != ' '))
		p = (p = strchr(p, '\n')) ? p + 1 : NULL;
	if (!p)
		return false;
	p += k + 2;
	size_t n = strcspn(p, "\n");
	if (n >= room)
		return false;
	memcpy(buf, p, n);
	buf[n] = 0;
	v->n = 0;
	if (!strcmp(key, "intent-path") || !strcmp(key, "serial")) { // may hold blanks
		v->value[v->n++] = buf;
		return true;
	}
	char *save = NULL;
	for (char *s = strtok_r(buf, " ", &save); s && v->n < 8; s = strtok_r(NULL, " ", &save))
		v->value[v->n++] = s;
	return true;
}

static bool signed_number(const char *s, int64_t *v)
{
	uint64_t u;
	bool minus = *s == '-';

	if (num_u64(s + minus, &u) || u > INT64_MAX)
		return false;
	*v = minus ? -(int64_t)u : (int64_t)u;
	return true;
}

// Values of one line by a pattern: u uint64_t, i uint32_t, s int64_t, t token, l UUID, n name (may
// be absent).
static bool scan(const char *text, const char *key, const char *pattern, ...)
{
	char buf[REPLICA_PATH_MAX + 64];
	struct fields v;
	uint64_t u;
	bool good = get(text, key, buf, sizeof(buf), &v);
	va_list ap;

	va_start(ap, pattern);
	for (int i = 0; good && pattern[i]; i++) {
		const char *s = i < v.n ? v.value[i] : "";
		void *to = va_arg(ap, void *);
		switch (pattern[i]) {
		case 'u':
			good = !num_u64(s, to);
			break;
		case 'i':
			good = !num_u64(s, &u) && u <= UINT32_MAX;
			if (good)
				*(uint32_t *)to = (uint32_t)u;
			break;
		case 's':
			good = signed_number(s, to);
			break;
		case 't':
			good = !token_parse(s, to);
			break;
		case 'l':
			good = !uuid_parse(s, to);
			break;
		case 'n':
			good = strlen(s) <= HEAD_NAME_MAX;
			if (good)
				strcpy(to, s);
			break;
		}
	}
	va_end(ap);
	return good;
}

static bool has_key(const char *text, const char *key)
{
	char buf[REPLICA_PATH_MAX + 64];
	struct fields v;

	return get(text, key, buf, sizeof(buf), &v);
}

static bool scan_intent(const char *t, struct replica_intent *i)
{
	char buf[REPLICA_PATH_MAX];
	struct fields v;
	char how[HEAD_NAME_MAX + 1];

	if (!has_key(t, "intent"))
		return true;
	if (!scan(t, "intent", "nutusu", how, &i->epoch, &i->token, &i->size, &i->time,
		  &i->inode) ||
	    !get(t, "intent-path", buf, sizeof(buf), &v))
		return false;
	strcpy(i->path, buf);
	i->uses = has_key(t, "intent-uses");
	i->how = !strcmp(how, "spool") ? REPLICA_SPOOL : REPLICA_CLONE;
	return i->how == REPLICA_SPOOL || !strcmp(how, "clone");
}

static bool scan_tokens(const char *t, struct replica *r)
{
	r->has_floor = has_key(t, "floor");
	r->has_partial = has_key(t, "partial");
	return (!r->has_floor || scan(t, "floor", "ut", &r->epoch, &r->floor)) &&
	       (!r->has_partial ||
		scan(t, "partial", "utu", &r->partial_epoch, &r->partial, &r->partial_upto)) &&
	       scan(t, "touched", "t", &r->touched) && scan_intent(t, &r->intent);
}

static bool scan_all(const char *t, struct replica *r)
{
	struct replica_image *m = &r->image;
	char consistent[HEAD_NAME_MAX + 1], writing[HEAD_NAME_MAX + 1];

	if (!scan(t, "id", "l", &r->id) || !scan(t, "lineage", "l", &r->lineage) ||
	    !scan(t, "device", "ii", &r->major, &r->minor) ||
	    !scan(t, "consumer", "n", r->consumer) || !scan(t, "label", "n", r->label) ||
	    !scan(t, "serial", "n", r->serial) || !scan(t, "size", "u", &r->size) ||
	    !scan(t, "times", "ss", &r->time, &r->applied) ||
	    !scan(t, "consistent", "n", consistent) || !scan(t, "writing", "n", writing) ||
	    !scan(t, "image", "uuussul", &m->dev, &m->inode, &m->size, &m->mtime, &m->ctime,
		  &m->sectors, &m->boot))
		return false;
	if (has_key(t, "promoted") && (!scan(t, "promoted", "s", &r->promoted) ||
				       r->promoted <= 0 || r->promoted > NUM_TIME_MAX))
		return false;
	if (has_key(t, "unread") &&
	    !scan(t, "unread", "uuu", &r->unread, &r->partial_unread, &r->intent.unread))
		return false;
	r->adopted = has_key(t, "adopted");
	r->consistent = !strcmp(consistent, "yes");
	r->writing = !strcmp(writing, "yes");
	return scan_tokens(t, r);
}

int replica_parse(const char *text, size_t n, struct replica *r, struct fault *f)
{
	enum { TAIL = 22 }; // "end: ", 16 digits, newline
	char want[TAIL + 1];

	memset(r, 0, sizeof(*r));
	if (n < sizeof(MAGIC) - 1 || memcmp(text, MAGIC, sizeof(MAGIC) - 1))
		return fault_set(f, BLX_TARGET, "not a record of a replica (version 1)");
	if (n < TAIL || memchr(text, 0, n))
		return fault_set(f, BLX_TARGET, "damaged or cut");
	snprintf(want, sizeof(want), "end: %016llx\n",
		 (unsigned long long)XXH3_64bits(text, n - TAIL));
	if (memcmp(text + n - TAIL, want, TAIL))
		return fault_set(f, BLX_TARGET, "damaged or cut");
	if (!scan_all(text, r))
		return fault_set(f, BLX_TARGET, "a line is missing or wrong");
	return 0;
}

int replica_load(int dirfd, const char *name, struct replica *r, struct fault *f)
{
	struct fault why;
	char *text;
	size_t n;

	if (file_read(dirfd, name, STATE_MAX, &text, &n))
		return errno == ENOENT ? 0 : fault_errno(f, "state of the replica: read");
	int bad = replica_parse(text, n, r, &why);
	free(text);
	if (bad)
		return fault_set(f, why.code, "state of the replica: %s", why.text);
	return 1;
}

int replica_save(int dirfd, const char *name, const struct replica *r, struct fault *f)
{
	size_t n;
	char *text = replica_format(r, &n);

	if (!text)
		return fault_errno(f, "state of the replica");
	int bad = file_replace(dirfd, name, text, n);
	if (bad)
		fault_errno(f, "state of the replica: write");
	free(text);
	return bad ? -1 : 0;
}

// ---- steps

bool replica_complete(const struct replica *r)
{
	return r->has_floor && !r->has_partial && r->intent.how == REPLICA_IDLE &&
	       token_equal(&r->floor, &r->touched);
}

int replica_new(struct replica *r, const struct head *h)
{
	memset(r, 0, sizeof(*r));
	if (uuid_make(&r->id))
		return -1;
	replica_adopt(r, h);
	return 0;
}

int replica_register(struct replica *r, bool had, uint64_t size, int64_t now)
{
	struct replica was = *r;

	memset(r, 0, sizeof(*r));
	if (had) {
		r->id = was.id;
		r->lineage = was.lineage;
		r->major = was.major;
		r->minor = was.minor;
		strcpy(r->consumer, was.consumer);
		strcpy(r->label, was.label);
		strcpy(r->serial, was.serial);
	} else if (uuid_make(&r->id)) {
		return -1;
	}
	if (token_make(&r->floor, &r->id, sizeof(r->id)))
		return -1;
	r->touched = r->floor;
	r->has_floor = r->adopted = true;
	r->size = size;
	r->applied = now;
	return 0;
}

void replica_adopt(struct replica *r, const struct head *h)
{
	r->lineage = h->lineage;
	r->major = h->major;
	r->minor = h->minor;
	strcpy(r->consumer, h->consumer);
	strcpy(r->label, h->label);
	strcpy(r->serial, h->serial);
	if (!r->has_floor)
		r->size = h->size;
}

void replica_begin(struct replica *r, const struct head *h)
{
	replica_adopt(r, h);
	r->touched = h->token;
	r->consistent = false;
}

bool replica_advance(struct replica *r, const struct head *h, uint64_t x)
{
	if (!x || (r->has_partial && x < r->partial_upto))
		return false;
	r->has_partial = true;
	r->partial_epoch = h->epoch;
	r->partial = h->token;
	r->partial_upto = x;
	return true;
}

void replica_intend(struct replica *r, const struct head *h, enum replica_how how)
{
	replica_adopt(r, h);
	memset(&r->intent, 0, sizeof(r->intent));
	r->intent.how = how;
	r->intent.epoch = h->epoch;
	r->intent.token = h->token;
	r->intent.size = h->size;
	r->intent.time = h->time;
	// The clone leaves the image alone until it takes its place.
	if (how != REPLICA_CLONE)
		replica_begin(r, h);
}

void replica_finish(struct replica *r, int64_t now)
{
	r->has_floor = true;
	r->epoch = r->intent.epoch;
	r->floor = r->touched = r->intent.token;
	r->size = r->intent.size;
	r->time = r->intent.time;
	r->applied = now;
	r->has_partial = r->writing = r->consistent = r->adopted = false;
	r->unread = r->intent.unread;
	r->partial_unread = 0;
	replica_forget(r);
}

void replica_forget(struct replica *r)
{
	memset(&r->intent, 0, sizeof(r->intent));
}

bool replica_certifies(const struct replica *r, const struct head *h, uint64_t frames,
		       uint64_t limit)
{
	return !frames && limit == h->size && r->size == h->size && h->has_base &&
	       !h->has_partial && !h->resync && h->cursor == h->size && replica_complete(r) &&
	       token_equal(&r->floor, &h->base);
}
