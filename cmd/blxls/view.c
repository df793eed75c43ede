// SPDX-License-Identifier: BSD-2-Clause
// A stream as extent lists, as one line per frame, as JSON, or not at all but for the verdict.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "die.h"
#include "json.h"
#include "view.h"

typedef unsigned long long ull; // for printf's sake

static void count(struct show *s, const struct frame *fr)
{
	s->epoch.frames++;
	s->total.frames++;
	if (fr->type == FRAME_DATA) {
		s->epoch.data += fr->length;
		s->total.data += fr->length;
	} else if (fr->type == FRAME_BAD) {
		s->epoch_bad += fr->length;
	} else {
		s->epoch.zero += fr->length;
		s->total.zero += fr->length;
	}
}

static void nothing(struct show *s, uint64_t bytes, const struct fault *f)
{
	(void)s;
	(void)bytes;
	(void)f;
}

// ---- extent lists. The end line of a list waits for the HEAD after its COMMIT, or for END with
// nothing behind it: a stream that is cut gives a list without an end, which no reader takes.

static void list_frame(struct show *s, const struct frame *fr, const struct head *h)
{
	int r = 0;

	if (fr->type == FRAME_HEAD) {
		r = (s->list_open && extlist_end(&s->list)) || extlist_begin(&s->list, stdout, h);
		s->list_open = true;
	} else if (fr->type == FRAME_DATA || fr->type == FRAME_ZERO || fr->type == FRAME_BAD) {
		r = extlist_put(&s->list, (struct extent){fr->offset, fr->length});
	}
	if (r)
		die_stdout();
}

static int list_done(struct show *s, uint64_t bytes, struct fault *f)
{
	(void)bytes;
	(void)f;
	if (extlist_end(&s->list))
		die_stdout();
	return 0;
}

const struct view view_list = {false, list_frame, list_done, nothing};

// ---- one line per frame

static const char *const type_names[] = {"MAGIC", "HEAD",  "DATA", "ZERO", "COMMIT",
					 "END",   "ABORT", "PACK", "BAD"};

// Text of the stream, of which a terminal shall not see the control characters.
static void put_text(const uint8_t *p, size_t n)
{
	for (; n--; p++)
		putchar(*p != '\n' && (*p < ' ' || *p == 0x7f) ? '?' : *p);
}

static void verbose_frame(struct show *s, const struct frame *fr, const struct head *h)
{
	(void)h;
	if (s->begins)
		printf("%12llu %-6s %s\n", (ull)s->start, type_names[0], STREAM_MAGIC);
	printf("%12llu %s%-6s %llu %llu %zu", (ull)fr->position, fr->packed ? "+" : "",
	       type_names[fr->type], (ull)fr->offset, (ull)fr->length, fr->payload_len);
	if (fr->type == FRAME_COMMIT || fr->type == FRAME_END)
		printf(" frames=%llu data=%llu zero=%llu digest=%016llx", (ull)fr->counts.frames,
		       (ull)fr->counts.data, (ull)fr->counts.zero, (ull)fr->counts.digest);
	putchar(fr->type == FRAME_ABORT ? ' ' : '\n');
	if (fr->type == FRAME_HEAD || fr->type == FRAME_ABORT)
		put_text(fr->payload, fr->payload_len);
	if (fr->type == FRAME_ABORT)
		putchar('\n');
	if (fr->type == FRAME_COMMIT)
		fflush(stdout);
}

static int verbose_done(struct show *s, uint64_t bytes, struct fault *f)
{
	(void)s;
	(void)bytes;
	(void)f;
	return 0;
}

const struct view view_verbose = {true, verbose_frame, verbose_done, nothing};

// ---- JSON, printed as it goes: an object with an array of epochs, whatever happens a whole one

static void json_token(const char *key, const struct token *t)
{
	char text[TOKEN_TEXT];

	token_format(t, text);
	printf("\"%s\":\"%s\"", key, text);
}

static void json_position(const char *key, bool has, uint64_t epoch, const struct token *t)
{
	printf(",\"%s\":", key);
	if (!has) {
		printf("null");
		return;
	}
	printf("{\"epoch\":%llu,", (ull)epoch);
	json_token("token", t);
	putchar('}');
}

static void json_tracked(const struct head *h)
{
	char lineage[UUID_TEXT];

	uuid_format(&h->lineage, lineage);
	printf(",\"lineage\":\"%s\",\"device\":\"%u:%u\",\"serial\":", lineage, h->major, h->minor);
	json_string(stdout, h->serial);
	printf(",\"diskseq\":%llu,\"start\":%llu,\"block\":%u,\"consumer\":\"%s\",\"epoch\":%llu,",
	       (ull)h->diskseq, (ull)h->start, h->block, h->consumer, (ull)h->epoch);
	json_token("token", &h->token);
	json_position("base", h->has_base, h->base_epoch, &h->base);
	json_position("partial", h->has_partial, h->partial_epoch, &h->partial);
	if (h->has_partial)
		printf(",\"partial_upto\":%llu", (ull)h->partial_upto);
	printf(",\"cursor\":%llu,\"limit\":%llu,\"resync\":%s,\"chain\":%zu", (ull)h->cursor,
	       (ull)h->limit, h->resync ? "true" : "false", h->chain_len);
	if (!h->group_of)
		return;
	printf(",\"group\":{\"at\":%u,\"of\":%u,", h->group_at, h->group_of);
	json_token("id", &h->group);
	putchar('}');
}

static void json_head(struct show *s, const struct head *h)
{
	printf("%s{\"anonymous\":%s,\"size\":%llu,\"time\":%lld,\"label\":",
	       s->begun ? "," : "{\"epochs\":[", h->anonymous ? "true" : "false", (ull)h->size,
	       (long long)h->time);
	json_string(stdout, h->label);
	printf(",\"name\":");
	json_string(stdout, h->name);
	if (!h->anonymous)
		json_tracked(h);
	s->begun = s->in_epoch = true;
	s->epoch = (struct stream_counts){0};
	s->packs = s->epoch_bad = 0;
}

static void json_counts(const struct stream_counts *c, uint64_t bad)
{
	printf(",\"frames\":%llu,\"data\":%llu,\"zero\":%llu,\"bad\":%llu", (ull)c->frames,
	       (ull)c->data, (ull)c->zero, (ull)bad);
}

static void json_end_epoch(struct show *s, bool complete)
{
	json_counts(&s->epoch, s->epoch_bad);
	printf(",\"packs\":%llu,\"complete\":%s}", (ull)s->packs, complete ? "true" : "false");
	s->in_epoch = false;
}

static void json_frame(struct show *s, const struct frame *fr, const struct head *h)
{
	switch (fr->type) {
	case FRAME_HEAD:
		json_head(s, h);
		break;
	case FRAME_DATA:
	case FRAME_ZERO:
	case FRAME_BAD:
		count(s, fr);
		break;
	case FRAME_PACK:
		s->packs++;
		break;
	case FRAME_COMMIT:
		json_end_epoch(s, true);
		break;
	default:
		break;
	}
}

static void json_end(struct show *s, uint64_t bytes, const struct fault *f)
{
	if (s->in_epoch)
		json_end_epoch(s, false);
	printf("%s]", s->begun ? "" : "{\"epochs\":[");
	json_counts(&s->total, s->bad_bytes);
	printf(",\"bytes\":%llu,\"complete\":%s,\"error\":", (ull)bytes, f ? "false" : "true");
	json_string(stdout, f ? f->text : NULL);
	printf("}\n");
}

static int json_done(struct show *s, uint64_t bytes, struct fault *f)
{
	(void)f;
	json_end(s, bytes, NULL);
	return 0;
}

const struct view view_json = {true, json_frame, json_done, json_end};

// ---- only the verdict, and the ack

static void add_line(struct show *s, const struct ack *a)
{
	char text[ACK_TEXT_MAX];

	ack_format(a, text);
	fputs(text, s->acks);
}

static void add_ack(struct show *s)
{
	struct ack a = s->ack;

	if (!s->acks && !(s->acks = open_memstream(&s->acks_text, &s->acks_len)))
		die_errno("acks");
	a.kind = ACK_UNREAD;
	for (size_t i = 0; i < s->unread.n; i++) {
		a.offset = s->unread.e[i].offset;
		a.length = s->unread.e[i].length;
		add_line(s, &a);
	}
	s->ack.unread = s->unread.n;
	add_line(s, &s->ack);
}

static void add_unread(struct show *s, const struct frame *fr)
{
	enum { UNREAD_MAX = 1 << 20 };

	if (!extents_add(&s->unread, (struct extent){fr->offset, fr->length}, UNREAD_MAX))
		return;
	if (errno == E2BIG)
		die(BLX_CORRUPT, "more than %d ranges that could not be read at the source",
		    UNREAD_MAX);
	die_errno("ranges that could not be read");
}

static void check_frame(struct show *s, const struct frame *fr, const struct head *h)
{
	if (fr->type == FRAME_HEAD)
		s->unread.n = 0;
	if (fr->type == FRAME_BAD && s->want_ack)
		add_unread(s, fr);
	if (fr->type == FRAME_END && s->has_ack)
		add_ack(s);
	else if (fr->type == FRAME_END)
		s->no_ack = true;
	if (fr->type != FRAME_COMMIT)
		return;
	bool whole = h->limit == h->size;
	s->has_ack = !h->anonymous;
	ack_for(&s->ack, whole ? ACK_DONE : ACK_UPTO, h);
	s->ack.offset = whole ? 0 : h->limit;
	s->ack.last = !whole;
}

static int check_done(struct show *s, uint64_t bytes, struct fault *f)
{
	(void)bytes;
	if (s->acks && fclose(s->acks))
		die_errno("acks");
	int bad = s->want_ack && s->no_ack
			  ? fault_set(f, BLX_TARGET, "an anonymous stream has no ack")
			  : 0;
	if (s->want_ack && !bad)
		fputs(s->acks_text, stdout);
	free(s->acks_text);
	extents_free(&s->unread);
	return bad;
}

const struct view view_check = {false, check_frame, check_done, nothing};
