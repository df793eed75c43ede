// SPDX-License-Identifier: BSD-2-Clause
// The accept rule: may this stream be applied to what stands at the target? Class P of the
// protocol's model.
#ifndef BLX_ACCEPT_H
#define BLX_ACCEPT_H

#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "head.h"
#include "replica.h"

// What stands at the target.
struct found {
	const char *name; // of the target, for the words
	const struct replica
		*state;    // NULL: none, or damaged; a pending intent must be dealt with first
	bool exists;       // the image or device
	bool block;        // a device, which may be larger than its source
	const char *wrong; // NULL, or why the image is not what the state says
	bool may_init, may_resync; // permissions given
};

enum verdict {
	ACCEPT_REFUSED = -1, // the fault (BLX_TARGET) says why, and the command that lifts it if
			     // there is one
	ACCEPT_ALREADY,      // complete at the stream's own token: nothing to do but to ack
	ACCEPT_APPLY,        // onto what is there
	ACCEPT_CREATE, // a new replica; what was there, if anything, is overwritten by permission
};

enum verdict accept_judge(const struct found *w, const struct head *h, struct fault *f);

// The stream assumes nothing and has the whole device (below its limit): only this may create an
// image.
bool accept_whole(const struct head *h);

// From this offset on the stream must hold every byte up to its limit: its cursor, or where the
// source has grown. R NULL: a replica made by this stream.
uint64_t accept_cover_from(const struct replica *r, const struct head *h);

#endif
