// SPDX-License-Identifier: BSD-2-Clause
// What blxtrack remembers of the host and of each tracked device, in a tmpfs at /run/blx: gone with
// the kernel whose bitmaps it belongs to. Everything here is read and written under one lock.
#ifndef BLX_STATE_H
#define BLX_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "blkdev.h"
#include "fault.h"
#include "head.h"
#include "kernel.h"

#define STATE_DIR "/run/blx"
#define STATE_LOCK "/run/blx.lock"

// The host's part: which programs were attached, and how far their run counts can be apart.
struct host {
	struct kernel_ids ids;
	// Bounds on (runs + misses) of the first instance on a tracepoint minus the others'.
	int64_t apart_lo[PROGRAMS], apart_hi[PROGRAMS];
};

// Bounds on (sectors that the kernel accounted) - (sectors that the programs saw) since the slot
// was activated. The difference is constant while nothing is missed, so each sample narrows it;
// bounds that cross prove a loss. The lower one is right at once. The upper one is not: a task may
// be preempted between the tracepoint and the accounting after it, so what was seen is weighed
// against what is accounted SETTLE_S later.
struct balance {
	int64_t lo, hi;
	uint64_t accounted; // at the last sample; never runs backwards
	uint64_t waiting;   // seen at the time tracked.waiting_since
};

// The programs' counts of what they could not mark. Those of the whole disk are kept by the first
// slot of its chain, and none is ever reset: other slots of the chain look at them too.
struct troubles {
	uint64_t beyond, unplaced; // of the slot
	uint64_t disk_unplaced, disk_passed, disk_crowded,
		disk_swaps; // of the disk
	uint64_t images;    // of the machine
};

enum { SLOT_NONE = SLOTS }; // the slot of a device whose kernel side is gone

// What the coverage proof of a device is worth: the disk's statistics agree with what the programs
// saw; they were skipped at times and never all at once, by the depth of nesting; nothing; they
// agree with one another on how many events there were.
enum proof { PROOF_SUMS, PROOF_DEPTH, PROOF_NONE, PROOF_RUNS };

struct tracked {
	int dirfd;
	struct blkdev dev; // as it was at start (size: grown since)
	enum way way;
	char label[HEAD_NAME_MAX + 1]; // for lists; names the image where many are received
	char backing[160]; // what a loop or dm device lies on (backing_of); "" for others
	struct token lineage;
	uint32_t slot, block;
	bool ignore_passthrough;
	bool starting; // start did not finish
	int64_t started;
	char lost[200];  // why the history is not whole; "" while it is
	uint64_t epoch;  // number last given to a delta
	uint64_t newest; // of the last delta that was written; 0: none
	struct troubles
		known; // what the kernel side had counted when tracking began, or growth explains
	struct balance written, discarded; // of completions
	// Of submissions: a write is covered if either was seen. Only the upper bound counts, and
	// it is taken once, at the start: a request may be in flight for long, or be submitted
	// twice.
	struct balance sub_written, sub_discarded;
	uint64_t unseen;       // sectors whose completion no program saw
	int64_t waiting_since; // CLOCK_BOOTTIME, seconds
	// Sectors submitted at the last flip, and since when that has been the figure with nothing
	// in flight (CLOCK_BOOTTIME, seconds; 0: it is not).
	uint64_t submitted;
	int64_t idle_since;
	enum proof proof;
};

// Take the lock, waiting up to TIMEOUT_S (fault BLX_BUSY). The fd; closing it lets go. What another
// version tracks is refused (BLX_SYSTEM), but by state_lock_any().
int state_lock(int timeout_s, struct fault *f);
int state_lock_any(int timeout_s, struct fault *f);

// The layout that a record of the host names in its first line, as those of all versions do: the
// record, or the one that stands beside it while a layout is taken over. 0: there is none.
#define HOST_RECORD "host"
#define HOST_NEXT "host.next"
int state_layout(const char *name);
// BLX_SYSTEM if a newer version than this one tracks here.
int state_newer(struct fault *f);

// EACH gets the directory of every device, whatever is in there.
int state_each(int (*each)(int dir, struct fault *f), struct fault *f);

// Mount the tmpfs if it is not there.
int state_mount(struct fault *f);
bool state_mounted(void);
// Somebody unmounted or emptied it while the kernel tracks: true, and the fault.
bool state_gone(struct fault *f);
int state_unmount(struct fault *f);

int host_save(const struct host *h, struct fault *f);
int host_save_next(const struct host *h, struct fault *f);
int host_load(struct host *h, struct fault *f);
// The record of another layout than ours.
int host_load_layout(struct host *h, int layout, struct fault *f);

// The directory of a device number. create: makes it. Not there: BLX_TARGET "not tracked".
int tracked_create(struct tracked *t, struct fault *f);
int tracked_load(struct tracked *t, uint32_t major, uint32_t minor, struct fault *f);
int tracked_save(const struct tracked *t, struct fault *f);
// What is to be its state when HOST_NEXT has become the host's record; and the state becomes it.
int tracked_save_next(const struct tracked *t, struct fault *f);
int tracked_take_next(int dir, struct fault *f);
void tracked_close(struct tracked *t);
// Remove the directory and all in it.
int tracked_remove(struct tracked *t, struct fault *f);
// By path; identifies the node first.
int tracked_find(struct tracked *t, const char *path, struct fault *f);

// All tracked devices, malloc'ed, ascending by number; each to be closed.
int tracked_all(struct tracked **all, size_t *n, struct fault *f);
void tracked_all_free(struct tracked *all, size_t n);

// Remember for ever that the history is not whole (the first reason stays), and say so: returns -1
// with BLX_RESYNC.
int tracked_lose(struct tracked *t, struct fault *f, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

// Blocks of the tracked range.
uint64_t tracked_blocks(const struct tracked *t);

// Blocks that a consumer lacks besides those of the deltas after its epoch, each kind in a file of
// its own (extra.h).
enum extra {
	EXTRA_RESYNC, // what a comparison found, in place of the whole device
	EXTRA_AGAIN,  // what could not be read, or is wrong on the other side
	EXTRAS
};

// A consumer is a position.
struct consumer {
	char name[HEAD_NAME_MAX + 1];
	uint64_t epoch; // acked; or, with no base, the epoch at which it was added or reset: later
			// acks count
	bool has_base;
	struct token base;
	uint64_t cursor; // lacks everything from here on; == size: nothing
	bool has_partial;
	uint64_t partial_epoch;
	struct token partial;
	uint64_t partial_upto;
	int64_t added, acked; // seconds since 1970: when it was made, when the epoch it acked was
			      // cut (0: never)
	bool lost; // needs a resync or a reset
	// The base is what this replica held when it was compared; until the next done ack.
	bool resync;
	struct token replica;
	uint64_t resync_epoch;  // acks of lists up to this epoch are of before the resync
	uint64_t extra[EXTRAS]; // number of the file; 0: none
	uint64_t again_epoch;   // EXTRA_AGAIN is in the lists of later epochs than this
};

// The epoch that it acked last; 0: none.
uint64_t consumer_acked(const struct consumer *c);

int consumer_load(const struct tracked *t, const char *name, struct consumer *c, struct fault *f);
int consumer_save(const struct tracked *t, const struct consumer *c, struct fault *f);
// Its position is not known any more: it needs a resync or a reset, and what is written from now
// on.
int consumer_lose(const struct tracked *t, struct consumer *c, struct fault *f);
int consumer_remove(const struct tracked *t, const char *name, struct fault *f);
bool consumer_exists(const struct tracked *t, const char *name);
// malloc'ed, sorted by name.
int consumer_all(const struct tracked *t, struct consumer **all, size_t *n, struct fault *f);

#endif
