// SPDX-License-Identifier: BSD-2-Clause
// Saved state: the files of a tracked device's directory, one after the other, in a store.
//
//   0     the head, in a page of its own: magic "BLXSAVE1", used u64 (0: not yet, 1), body u64
//         (bytes), check u64 of the body, place u64 (store_place), check u64 of the head up to here
//   4096  the body: records, each of kind u32, length u32, offset u64 and so many bytes: the name
//         of a file, then its pages that hold anything, by offset, then its size; at last the end
// The body's check is a chain over its records (check_of); the head is written last. Bits that are
// not named are zero.
#ifndef BLX_ARCHIVE_H
#define BLX_ARCHIVE_H

#include "store.h"

// Write the files of DIRFD that are kept; durable and under its name after 0.
int archive_write(struct store *s, int dirfd, struct fault *f);

enum archive { ARCHIVE_NONE, ARCHIVE_FRESH, ARCHIVE_USED };

// What is there, its check looked at. BLX_CORRUPT: damaged, or cut.
int archive_look(struct store *s, enum archive *what, struct fault *f);
// Make its files in DIRFD; `state` becomes `saved.state`. After archive_look().
int archive_unpack(const struct store *s, int dirfd, struct fault *f);
// Never again, whatever happens from now on.
int archive_use_up(struct store *s, struct fault *f);

#endif
