// SPDX-License-Identifier: BSD-2-Clause
// A history that outlives a reboot. `save` puts what is known of a device into a store when nobody
// can write to it any more; `start --restore` uses it up, once, and goes on where it ended if the
// device cannot have been written to in between.
#ifndef BLX_SAVED_H
#define BLX_SAVED_H

#include "archive.h"
#include "kernel.h"
#include "state.h"

// Where a device's state is saved if nothing is said: below $BLX_STATE_DIR or /var/lib/blx, by the
// name that outlives reboots (blkdev_id).
void saved_place(const struct blkdev *d, char *path, size_t n);

// What is compared of the machine, and this boot's id. "": not known.
enum { MACHINE_TEXT = 17, BOOT_TEXT = 40 };
void saved_machine(char text[MACHINE_TEXT]);
int saved_boot(char text[BOOT_TEXT], struct fault *f);

// Sectors written to and discarded on the device since this kernel found it; for a partition, with
// those that went to its disk and to no partition. BLX_TARGET: not counted.
int saved_written(const struct blkdev *d, uint64_t *sectors, struct fault *f);

// ---- in the boot that saved

// Remember that T is being saved in S, whether S is WRITTEN by now, and whether the device was
// read-only before.
int saved_remember(const struct tracked *t, const struct store *s, bool written, bool read_only,
		   struct fault *f);
bool saved_is(const struct tracked *t);
// BLX_BUSY if it was: what its consumers get and ack would not be in what was saved.
int saved_refuse(const struct tracked *t, struct fault *f);
// It goes on in this boot: what was saved is used up, and the device can be written to again. 1; 0:
// it was not saved.
int saved_take_back(const struct tracked *t, struct fault *f);
// The device can be written to again, though what was saved is not used up: that must be told.
int saved_abandon(const struct tracked *t, struct fault *f);
// Set (NULL: leave as it is) and get whether the kernel takes writes to it.
int saved_read_only(const struct blkdev *d, const bool *set, bool *was, struct fault *f);

// ---- in the next one

struct restore {
	bool found;    // saved state was there
	char why[256]; // the history does not go on; "": it does, as far as is known
	char place[STORE_NAME];
	uint64_t own_sectors; // written to the device in using it up
	uint32_t block;       // bytes; 0: as if nothing was found
	bool ignore_passthrough;
	uint64_t epoch, newest;
	char label[HEAD_NAME_MAX + 1];
	struct token lineage;
};

// Before tracking begins: unpack what was saved in FROM (NULL: the usual place) of D into the
// directory of T, and use it up. BLOCK: that is wanted; 0: any. BLX_TARGET: it is of
// another device, and stays as it is.
int restore_begin(struct restore *r, const struct tracked *t, const char *from, uint32_t block,
		  struct fault *f);
// Tracking has begun, and its bounds are known: does the history go on? If so T takes it over.
int restore_end(struct restore *r, const struct kernel *k, struct tracked *t, struct fault *f);
// Remove what only the restore needed.
void restore_close(const struct tracked *t);

// Tracking goes on, or begins, without what was saved in FROM (NULL: the usual place): no later
// boot must find it.
int restore_forgo(const struct blkdev *d, const char *from, bool *found, struct fault *f);

#endif
