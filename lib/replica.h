// SPDX-License-Identifier: BSD-2-Clause
// What a replica holds: the state record kept beside an image (or in /var/lib/blx for a block
// device). lib/accept says whether a stream may be applied to it.
//
// The record says which epoch ALL of the image is at (floor), up to where it is at a later one
// (partial), and the newest epoch that ever began to write to it (touched, recorded before the
// first byte). What is not known to be at the partial's token is at the floor or anything up to
// touched: a mixture that only a stream can put right which starts at or below the floor and whose
// chain holds touched.
#ifndef BLX_REPLICA_H
#define BLX_REPLICA_H

#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "head.h"
#include "token.h"

enum { REPLICA_PATH_MAX = 4096 };

// How an epoch that is wholly received is being put into the image; a crash leaves it pending.
enum replica_how {
	REPLICA_IDLE,  // nothing pending
	REPLICA_SPOOL, // the spool at `path` is being written into the image
	REPLICA_CLONE, // a clone with inode `inode` is about to be renamed over the image; the
		       // image is untouched
};

struct replica_intent {
	enum replica_how how;
	uint64_t epoch;
	struct token token;
	uint64_t size; // of the source at that epoch, bytes
	int64_t time;  // when the epoch was cut, seconds since 1970; 0: unknown
	uint64_t inode;
	uint64_t unread; // ranges that the source could not read
	bool uses;       // the permission given; it is used up once the epoch is in place
	char path[REPLICA_PATH_MAX];
};

// What the image looked like when we last let go of it. A regular file: all but the last two; a
// block device: size, and, while the machine has not been booted since, the sectors ever written to
// it and its diskseq (as inode).
struct replica_image {
	uint64_t dev, inode, size;
	int64_t mtime, ctime; // ns since 1970
	uint64_t sectors;
	struct token boot; // /proc/sys/kernel/random/boot_id
};

struct replica {
	struct token id; // of this replica, a UUID made with it
	struct token lineage;
	uint32_t major, minor; // the source device
	char consumer[HEAD_NAME_MAX + 1];
	char label[HEAD_NAME_MAX + 1];
	char serial[HEAD_NAME_MAX + 1];
	uint64_t size; // of the source at the floor; without floor: as the newest stream says

	bool has_floor;
	uint64_t epoch;
	struct token floor;
	int64_t time;    // when the floor was cut at the source
	int64_t applied; // when it was durable here
	bool consistent; // the floor is known to be a point in time with nothing in flight

	struct token touched;

	bool has_partial; // below partial_upto all is at this token
	uint64_t partial_epoch;
	struct token partial;
	uint64_t partial_upto;

	// Ranges that the source could not read: they are older than the floor, or the partial,
	// says.
	uint64_t unread, partial_unread;

	// The floor's token was made here for whatever the image held: it is of no epoch, and only
	// a resync list rests on it.
	bool adopted;
	int64_t promoted; // when it ceased to be a replica, seconds since 1970; 0: it is one

	// Bytes are being written in place, or room is being reserved: times of the image say
	// nothing.
	bool writing;
	struct replica_intent intent;
	struct replica_image image;
};

// ---- the record as a file of its directory: what is, and what waits for a group to be decided

#define REPLICA_STATE "state"
#define REPLICA_PENDING "pending"

// The text form, malloc'ed, *n bytes; NULL with errno. Its last line holds a check, so that a cut
// or mixed file is seen.
char *replica_format(const struct replica *r, size_t *n);
// N bytes of TEXT, and a NUL behind them. -1: damaged (BLX_TARGET).
int replica_parse(const char *text, size_t n, struct replica *r, struct fault *f);

// From the directory: 1; 0: there is none; -1: damaged (BLX_TARGET) or not readable (BLX_SYSTEM).
int replica_load(int dirfd, const char *name, struct replica *r, struct fault *f);
// Durable when it returns 0. -1: BLX_SYSTEM; the old record or the new one stands.
int replica_save(int dirfd, const char *name, const struct replica *r, struct fault *f);

// All of it is at the floor, and nothing newer was begun. An adopted one is.
bool replica_complete(const struct replica *r);

// ---- the steps; they change the record in memory, the caller saves it

// A new record for a stream, with a fresh id. 0, or -1 with errno.
int replica_new(struct replica *r, const struct head *h);
// Whatever the image holds, SIZE bytes, becomes the floor under a fresh token. HAD: the record was
// read and keeps its id and its source; else both are new, the source's lineage all zero. 0, or -1
// with errno.
int replica_register(struct replica *r, bool had, uint64_t size, int64_t now);
// Take over who the source is.
void replica_adopt(struct replica *r, const struct head *h);
// Bytes of H are about to be written to the image.
void replica_begin(struct replica *r, const struct head *h);
// All below X is durable at H's token; true if that is worth an ack (it does not lag behind what
// the record had).
bool replica_advance(struct replica *r, const struct head *h, uint64_t x);
// Note that all of H is to be put in place.
void replica_intend(struct replica *r, const struct head *h, enum replica_how how);
// What was intended is durable in the image: the record is complete at it.
void replica_finish(struct replica *r, int64_t now);
// What was intended is lost.
void replica_forget(struct replica *r);

// An empty list that rests on a complete replica's own token says that nothing was in flight when
// that token was cut.
bool replica_certifies(const struct replica *r, const struct head *h, uint64_t frames,
		       uint64_t limit);

#endif
