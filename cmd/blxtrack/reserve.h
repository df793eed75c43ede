// SPDX-License-Identifier: BSD-2-Clause
// Room for one record more, kept for when the tmpfs is full: an ack must be taken then, as it is
// what makes room.
#ifndef BLX_RESERVE_H
#define BLX_RESERVE_H

#include <stddef.h>

// Set it aside, if it is not there and there is room.
void reserve_make(void);
// Replace NAME in DIRFD, which exists, by N bytes of BUF with the room that was set aside. 0; -1
// with errno: the old content stands.
int reserve_spend(int dirfd, const char *name, const void *buf, size_t n);

#endif
