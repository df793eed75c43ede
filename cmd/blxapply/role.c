// SPDX-License-Identifier: BSD-2-Clause
// What a target is to be from now on, by a person's word: to be overwritten, to be resynced, or no
// replica any more.
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apply.h"
#include "die.h"
#include "num.h"

static int allow_init(struct target *t, struct fault *f)
{
	struct stat st;

	if (!t->exists && stat(t->dir, &st))
		return fault_set(f, BLX_TARGET,
				 "%s: does not exist; a first copy needs no permission", t->path);
	if (target_writable(t, true, f) || target_open_dir(t, true, f))
		return -1;
	return target_allow(t, "init", f);
}

// Why it cannot be resynced as it is; NULL if it can.
static const char *unfit(const struct job *j)
{
	if (j->wrong[0])
		return j->wrong;
	if (!j->has_state)
		return "it was no replica";
	if (j->r.promoted)
		return "it was promoted";
	return replica_complete(&j->r) ? NULL : "it was incomplete";
}

// As it is, under a token of its own: a digest of it has a name that a resync can rest on.
static int adopt(struct job *j, const char *why, struct fault *f)
{
	struct replica_image m;

	if (target_stamp(&j->t, &m, f))
		return -1;
	if (replica_register(&j->r, j->has_state, m.size, now_seconds()))
		return fault_errno(f, "a name for the replica");
	if (job_save(j, f))
		return -1;
	digests_unknown(j);
	warn("%s: adopted as a replica as it is (%s)", j->t.path, why);
	return 0;
}

static int keep(struct job *j, const char *why, struct fault *f)
{
	char suffix[NUM_TIME_TEXT];

	if (why)
		num_time_text(now_seconds(), suffix);
	else
		snprintf(suffix, sizeof(suffix), "%llu", (unsigned long long)j->r.epoch);
	return keep_copy(j, j->o->kept, suffix, f);
}

static int allow_resync(struct job *j, struct fault *f)
{
	struct target *t = &j->t;

	if (!t->exists)
		return fault_set(f, BLX_TARGET, "%s: does not exist", t->path);
	if (job_load(j, f) || target_open(t, f))
		return -1;
	if (j->has_state && !j->wrong[0] && target_compare(t, &j->r, j->wrong, sizeof(j->wrong), f))
		return -1;
	const char *why = unfit(j);
	if (j->o->keep && keep(j, why, f))
		return -1;
	if (why && adopt(j, why, f))
		return -1;
	return target_allow(t, "resync", f);
}

int allow(struct job *j, struct fault *f)
{
	return *j->o->allow == 'i' ? allow_init(&j->t, f) : allow_resync(j, f);
}

int promote(struct job *j, struct fault *f)
{
	if (job_load(j, f))
		return -1;
	if (!j->has_state && !j->wrong[0])
		return fault_set(f, BLX_TARGET, "%s: no replica here", j->t.path);
	if (j->has_state && j->r.promoted)
		return 0;
	// What was changed since, having been complete, is just what is to be recorded.
	if (!j->has_state || !j->t.exists || !replica_complete(&j->r))
		return recover_check(j, f);
	if (j->r.adopted)
		return fault_set(f, BLX_DIFFERS,
				 "%s: adopted, and not yet resynced: nobody knows what it holds",
				 j->t.path);
	if (j->r.unread)
		warn("%s: %llu ranges, which could not be read at the source, are older than the "
		     "rest",
		     j->t.path, (unsigned long long)j->r.unread);
	// What was permitted was permitted of the replica.
	if (!faccessat(j->t.dirfd, "allow", F_OK, AT_SYMLINK_NOFOLLOW) && target_use_up(&j->t, f))
		return -1;
	j->r.promoted = now_seconds();
	return job_record(j, REPLICA_STATE, f);
}
