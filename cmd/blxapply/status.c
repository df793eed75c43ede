// SPDX-License-Identifier: BSD-2-Clause
// --status: what the replica holds, for people, for programs (--json), or as the ack that its
// source may have missed.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apply.h"
#include "json.h"
#include "num.h"

static bool same(const struct replica *a, const struct replica *b)
{
	size_t n, m;
	char *x = replica_format(a, &n), *y = replica_format(b, &m);
	bool yes = x && y && n == m && memcmp(x, y, n) == 0;

	free(x);
	free(y);
	return yes;
}

// The state and the image, seen together: if an epoch lands in between, look again.
static int look(struct job *j, struct fault *f)
{
	struct replica again, pending;
	struct fault ignored;

	if (target_open_dir(&j->t, false, f))
		return -1;
	int got = j->t.dirfd < 0 ? 0 : job_read(j, REPLICA_STATE, &j->r, f);
	for (int tries = 0; got > 0 && tries < 1000; tries++) {
		if (target_compare(&j->t, &j->r, j->wrong, sizeof(j->wrong), f))
			return -1;
		j->waits.how = REPLICA_IDLE;
		if (replica_load(j->t.dirfd, REPLICA_PENDING, &pending, &ignored) > 0)
			j->waits = pending.intent;
		got = job_read(j, REPLICA_STATE, &again, f);
		if (got > 0 && same(&again, &j->r))
			break;
		j->r = again;
	}
	if (got < 0)
		return -1;
	return got ? 0 : fault_set(f, BLX_TARGET, "%s: no replica here", j->t.path);
}

static const char *condition(const struct job *j)
{
	if (j->r.promoted)
		return "promoted";
	if (j->wrong[0])
		return "changed";
	if (j->r.intent.how != REPLICA_IDLE)
		return "pending";
	if (!replica_complete(&j->r))
		return "incomplete";
	return j->r.adopted ? "adopted" : j->r.unread ? "partial" : "complete";
}

static enum blx_exit verdict(const struct job *j)
{
	if (j->wrong[0] || j->r.promoted)
		return BLX_TARGET;
	return replica_complete(&j->r) && !j->r.adopted && !j->r.unread ? BLX_OK : BLX_DIFFERS;
}

static long long age(const struct replica *r)
{
	int64_t since = r->time ? r->time : r->applied;

	return r->has_floor && since ? (long long)(now_seconds() - since) : -1;
}

static void print_text(const struct job *j)
{
	const struct replica *r = &j->r;
	char lineage[UUID_TEXT], token[TOKEN_TEXT], when[NUM_TIME_TEXT];
	const char *why = j->wrong;

	if (r->promoted) {
		num_time_text(r->promoted, when);
		why = when;
	} else if (!strcmp(condition(j), "adopted")) {
		why = "it waits for a resync";
	}
	uuid_format(&r->lineage, lineage);
	printf("target:     %s\nstate:      %s%s%s\nlineage:    %s\ndevice:     %u:%u%s%s\n",
	       j->t.path, condition(j), why[0] ? ": " : "", why, lineage, r->major, r->minor,
	       r->serial[0] ? " serial " : "", r->serial);
	if (r->label[0])
		printf("label:      %s\n", r->label);
	printf("consumer:   %s\nsize:       %llu\n", r->consumer, (unsigned long long)r->size);
	token_format(&r->floor, token);
	if (r->has_floor)
		printf("epoch:      %llu\ntoken:      %s\nage:        %lld s\n",
		       (unsigned long long)r->epoch, token, age(r));
	if (r->unread)
		printf("unread:     %llu ranges could not be read at the source, and are older\n",
		       (unsigned long long)r->unread);
	printf("consistent: %s\n", r->consistent ? "yes" : "unknown");
	token_format(&r->partial, token);
	if (r->has_partial)
		printf("partial:    epoch %llu, token %s, up to %llu\n",
		       (unsigned long long)r->partial_epoch, token,
		       (unsigned long long)r->partial_upto);
	if (!faccessat(j->t.dirfd, DIGESTFILE_NAME, F_OK, AT_SYMLINK_NOFOLLOW))
		puts("digests:    kept");
	if (r->intent.how != REPLICA_IDLE)
		printf("pending:    epoch %llu (blxapply --recover, or the next stream, finishes "
		       "it)\n",
		       (unsigned long long)r->intent.epoch);
	if (j->waits.how != REPLICA_IDLE)
		printf("pending:    epoch %llu waits for its group (blxapply --recover --into %s, "
		       "or "
		       "the next stream, settles it)\n",
		       (unsigned long long)j->waits.epoch, j->t.parent);
}

static void json_pair(const char *key, const char *value)
{
	json_string(stdout, key);
	putchar(':');
	json_string(stdout, value);
	putchar(',');
}

static void print_json(const struct job *j)
{
	const struct replica *r = &j->r;
	char text[UUID_TEXT];

	putchar('{');
	json_pair("target", j->t.path);
	json_pair("state", condition(j));
	if (r->promoted) {
		num_time_text(r->promoted, text);
		json_pair("promoted", text);
	}
	if (j->wrong[0])
		json_pair("why", j->wrong);
	uuid_format(&r->id, text);
	json_pair("replica", text);
	uuid_format(&r->lineage, text);
	json_pair("lineage", text);
	printf("\"device\":\"%u:%u\",", r->major, r->minor);
	json_pair("consumer", r->consumer);
	json_pair("label", r->label);
	if (r->has_floor) {
		token_format(&r->floor, text);
		json_pair("token", text);
		printf("\"epoch\":%llu,\"age\":%lld,", (unsigned long long)r->epoch, age(r));
	}
	if (r->has_partial) {
		token_format(&r->partial, text);
		printf("\"partial\":{\"epoch\":%llu,\"token\":\"%s\",\"upto\":%llu},",
		       (unsigned long long)r->partial_epoch, text,
		       (unsigned long long)r->partial_upto);
	}
	if (j->waits.how != REPLICA_IDLE) {
		token_format(&j->waits.token, text);
		printf("\"waits\":{\"epoch\":%llu,\"token\":\"%s\"},",
		       (unsigned long long)j->waits.epoch, text);
	}
	printf("\"unread\":%llu,", (unsigned long long)r->unread);
	printf("\"size\":%llu,\"complete\":%s,\"consistent\":%s}\n", (unsigned long long)r->size,
	       verdict(j) == BLX_OK ? "true" : "false", r->consistent ? "true" : "null");
}

static int print_ack(const struct job *j, struct fault *f)
{
	bool whole = replica_complete(&j->r) && !j->r.adopted;
	struct ack a;

	if (j->wrong[0] || j->r.promoted)
		return fault_set(f, BLX_TARGET, "%s: %s", j->t.path,
				 j->r.promoted ? "was promoted: it is no replica any more"
					       : j->wrong);
	if (j->r.intent.how != REPLICA_IDLE)
		return fault_set(f, BLX_SYSTEM,
				 "%s: an epoch is pending; to finish it: blxapply --recover %s",
				 j->t.path, j->t.path);
	if (whole)
		ack_of_floor(&a, &j->r);
	else if (j->r.has_partial)
		ack_of_partial(&a, &j->r);
	else
		return fault_set(f, BLX_DIFFERS, "%s: incomplete: there is nothing to ack",
				 j->t.path);
	// The run that wrote the state may have died before its name was durable.
	if (fsync(j->t.dirfd))
		return fault_errno(f, "%s: fsync", j->t.dir);
	return unread_ack_again(j, &a, whole ? j->r.unread : j->r.partial_unread, f);
}

int status(struct job *j, enum blx_exit *code, struct fault *f)
{
	if (look(j, f))
		return -1;
	*code = verdict(j);
	if (j->o->ack)
		return print_ack(j, f);
	if (j->o->json)
		print_json(j);
	else
		print_text(j);
	return 0;
}
