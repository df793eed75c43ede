/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One write as follow's programs report it. */
#ifndef BLX_FOLLOW_H
#define BLX_FOLLOW_H

enum { FOLLOW_RANGES = 64, FOLLOW_COMM = 16 };

enum follow_op { FOLLOW_WRITE, FOLLOW_DISCARD, FOLLOW_ZEROES, FOLLOW_ERASE, FOLLOW_PASSTHROUGH };

/* What is followed: filled before the programs are attached. */
struct follow_range {
	unsigned int disk; /* dev_t of the whole disk as the kernel writes it */
	unsigned int unused;
	unsigned long long start, end; /* sectors on the disk */
};

struct follow_event {
	unsigned long long sector, sectors; /* on the disk, clipped to the range */
	unsigned long long time;            /* CLOCK_MONOTONIC, ns */
	unsigned int range;                 /* index */
	unsigned int op;
	unsigned int pid; /* 0: not known */
	char comm[FOLLOW_COMM];
};

#endif
