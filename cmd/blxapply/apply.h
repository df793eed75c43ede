// SPDX-License-Identifier: BSD-2-Clause
// blxapply's parts: target (new images, permissions), guard, sink (bytes), ways (how an epoch gets
// in), digests, receive, restore, recover, role, keep,
// status. All return 0, or -1 with the fault; only
// main exits.
#ifndef BLXAPPLY_H
#define BLXAPPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "accept.h"
#include "ack.h"
#include "confine.h"
#include "digestfile.h"
#include "extents.h"
#include "fault.h"
#include "head.h"
#include "progress.h"
#include "replica.h"
#include "stream.h"
#include "target.h"

struct options {
	bool ack, in_place, status, json, recover, restore, promote, progress;
	bool digests, no_digests;
	const char *allow; // "init", "resync" or NULL
	bool keep;         // with allow: a copy first,
	const char *kept;  // of this name; NULL: one beside the image
	const char *spool; // directory, or NULL: the state directory
	const char *into;  // directory of the images that labels name, or NULL
	int timeout_ms;    // without input; -1: for ever
	enum confine_when confine;
	const char *target; // NULL with into
};

// ---- where it goes: lib/target, and what only a program that writes to it needs

// Refuse what is read-only (BLX_SYSTEM); STATE: a state directory is needed, too. Changes nothing.
int target_writable(const struct target *t, bool state, struct fault *f);
// Refuse (BLX_TARGET) the device that the stream was read from, or one that overlaps it.
int target_not_source(const struct target *t, const struct head *h, struct fault *f);
// A new image of SIZE bytes under a name of its own in the state directory; it gets its name from
// target_publish(), after the state that knows its inode is durable.
int target_create(struct target *t, uint64_t size, struct fault *f);
int target_publish(struct target *t, struct fault *f);

// Permissions given once, in the open state directory.
int target_allow(struct target *t, const char *kind, struct fault *f);
bool target_allowed(const struct target *t, const char *kind);
int target_use_up(struct target *t, struct fault *f);

// ---- bytes into an image, a clone or a device

struct sink {
	int fd; // not owned
	bool block;
	const char *name;
	struct digestfile *digests; // of what is there; NULL: none are kept
};

int sink_frame(const struct sink *s, const struct frame *fr, struct fault *f);
// Regular files only: has the frame data for where no blocks are; give it blocks, content as it is.
// DENSE: 0 before the first of ascending frames; from them up to there no hole is known to be.
bool sink_lacks(const struct sink *s, const struct frame *fr, uint64_t *dense);
int sink_reserve(const struct sink *s, const struct frame *fr, struct fault *f);
// Regular files only: make it at least SIZE bytes, or exactly.
int sink_extend(const struct sink *s, uint64_t size, struct fault *f);
int sink_resize(const struct sink *s, uint64_t size, struct fault *f);
int sink_sync(const struct sink *s, struct fault *f);

// ---- one epoch after the other

struct job;
struct group;

// Ranges that the source could not read, as its BAD frames say; ascending.
struct unread {
	struct extents all;
	size_t told; // so many of them were acked
};

// How the frames of one epoch reach the image.
struct way {
	int (*frame)(struct job *j, const struct frame *fr, struct fault *f);
	// COMMIT came and was verified: make it durable, record it, ack it.
	int (*commit)(struct job *j, struct fault *f);
	// The epoch will not be finished. INPUT: because of its input; what was written so far is
	// good.
	void (*abandon)(struct job *j, bool input);
};

struct job {
	const struct options *o;
	struct target t;
	struct replica r;
	bool has_state;
	char wrong[sizeof(((struct fault *)0)->text)]; // why the state is no good; ""
	struct replica_intent waits; // --status: for its group to be settled; IDLE: nothing does
	struct stream_reader *in;
	struct progress progress;

	struct group *group; // --into; NULL else
	bool grouped;        // the stream is a member of one
	bool prepared;       // wholly received and durable, the state it leads to is pending
	struct ack failed;   // to be said of it if its group fails

	// of the epoch that is open; way NULL: none is
	const struct way *way;
	const struct head *h; // of the epoch that has not been committed yet
	enum verdict verdict;
	struct sink to;
	uint64_t cover_from, next; // see job_ascend()
	uint64_t frames;
	bool certifiable;
	bool use_up; // the epoch uses a permission
	struct unread unread;

	struct stream_writer *spool; // way_spool
	int spool_fd;
	bool fills;     // the spool has data for holes of the image
	uint64_t dense; // see sink_lacks()
	int clone_fd;   // way_clone
	bool mixed;     // the machine stopped while the intent's spool was written
	struct digestfile digests;
	uint64_t since;        // way_in_place: bytes since the last checkpoint
	int64_t checkpoint_ns; // and when that was
	uint64_t behind;       // bytes since the last hint to write them
};

// A hole in what the stream must hold wholly is an error of CODE: the next frame begins at OFFSET.
int job_ascend(struct job *j, uint64_t offset, enum blx_exit code, struct fault *f);
// Refuse a device that is too small for the stream.
int job_fits(const struct job *j, struct fault *f);
// The record NAME of the replica, as replica_load() and replica_save(); the fault names the target.
int job_read(const struct job *j, const char *name, struct replica *r, struct fault *f);
int job_record(const struct job *j, const char *name, struct fault *f);
// Look at the image, record what it looks like and save the state.
int job_save(struct job *j, struct fault *f);
// The pending state becomes the state.
int job_take_over(struct job *j, struct fault *f);
// Once the pending epoch is in the image: the permission that it uses is gone.
int job_use_up(struct job *j, struct fault *f);
// Note in the state that all of the epoch is to be put in place.
int job_intend(struct job *j, enum replica_how how, struct fault *f);
// The state is complete at the intent: record, save, ack.
int job_finish(struct job *j, struct fault *f);
int job_ack(const struct job *j, const struct ack *a, struct fault *f);

// A range more that could not be read.
int unread_add(struct job *j, const struct frame *fr, struct fault *f);
// Make them durable beside the state, as those of the epoch TOKEN.
int unread_save(const struct job *j, const struct token *token, struct fault *f);
// Ack those that were not acked yet, bound as OF is, and then OF.
int unread_ack(struct job *j, struct ack *of, struct fault *f);
// Ack all COUNT that were saved for OF's token, and then OF.
int unread_ack_again(const struct job *j, struct ack *of, uint64_t count, struct fault *f);
// Remove what was saved for other epochs than those that the state is at.
void unread_tidy(const struct job *j);
// Say how much it is.
void unread_warn(const struct job *j);

// Start a way of taking the epoch in place; chosen by receive.
int in_place_begin(struct job *j, struct fault *f);

extern const struct way way_nothing, way_in_place, way_atomic;

// What is prepared, decided or undone.
int atomic_decided(struct job *j, struct fault *f);
void atomic_undo(struct job *j);

// Open a spool that this replica wrote: a regular file, not another user's. -1 with errno, too.
int spool_open(const struct job *j, const char *path, struct fault *f);
// Write the spool that the state's intent names into the (open) image. 1: it is lost or damaged.
int spool_apply(struct job *j, struct fault *f);
// Put the clone that the intent names in the image's place, or make durable that it is there.
int clone_publish(struct job *j, struct fault *f);
int clone_settle(struct job *j, struct fault *f);

// ---- the digests beside the image; failures are said and are none of the epoch

// At a head that was judged: begin or end them, if an option says so; empty what is not of the
// state.
void digests_settle(struct job *j);
// Open, for what the frames will change: before the state says that writing in place begins; once
// it does, for a first copy; when the intent's spool is written; for a clone.
void digests_in_place(struct job *j);
void digests_create(struct job *j);
void digests_spool(struct job *j);
void digests_clone(struct job *j);
// What was put is durable; it is all that will be for now.
void digests_sync(struct job *j);
void digests_cut(struct job *j);
// A spool was written in part and is lost.
void digests_half(struct job *j);
// All of it is, and current for TOKEN; closes.
void digests_done(struct job *j, const struct token *token);
// No block differs at the epoch of j->h.
void digests_same(struct job *j);
// Those of the clone that is in place now.
int digests_publish(struct job *j, struct fault *f);
// Nobody knows what the image holds.
void digests_unknown(struct job *j);
void digests_close(struct job *j);

// Lock, load the state into j->r, finish what a crash left.
int job_load(struct job *j, struct fault *f);
// Finish what is pending in j->r. 0: done, or left pending because the image is not what the state
// says (j->wrong); 1: lost, the replica is incomplete.
int recover(struct job *j, struct fault *f);

// After job_load(): is it the image that the state says (else BLX_TARGET), and complete (else
// BLX_DIFFERS)?
int recover_check(struct job *j, struct fault *f);

// Give up what the rest will not need. After target_find(), before anything is read from a
// stranger.
int confine_job(const struct job *j, struct fault *f);

// An empty job; everything that it holds goes.
void job_init(struct job *j, const struct options *o);
void job_free(struct job *j);

// ---- many targets (--into): streams in succession, and groups of them

// All streams on stdin. Acks every failure.
int into(const struct options *o, struct fault *f);
// Finish what crashes left in the directory. All replicas there that are not well then are named.
int into_recover(const struct options *o, struct fault *f);
// At every HEAD: which image the label names; does the stream fit into the group that is open?
int into_head(struct job *j, struct fault *f);
// Was the epoch TOKEN of the image at PATH, in DIR, decided by a group? 1, 0, or -1.
int group_decided(const char *dir, const char *path, const struct token *token, struct fault *f);

// --allow: a permission. To be resynced, what is no replica becomes one as it is, and --keep makes
// a copy first.
int allow(struct job *j, struct fault *f);
// A durable copy of what j->t is, under a name that is new. NAME NULL: IMAGE.kept-SUFFIX.
int keep_copy(struct job *j, const char *name, const char *suffix, struct fault *f);
// --promote: the end of the replica's role.
int promote(struct job *j, struct fault *f);

// One stream on stdin. On failure j->h is the head of the epoch that failed, or NULL.
int receive(struct job *j, struct fault *f);
int restore(struct job *j, struct fault *f);
// Prints; *code is the exit code.
int status(struct job *j, enum blx_exit *code, struct fault *f);

// Acks of what the replica holds.
void ack_of_floor(struct ack *a, const struct replica *r);
void ack_of_partial(struct ack *a, const struct replica *r);

int64_t now_seconds(void);
int64_t now_ns(void);

#endif
