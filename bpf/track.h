/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the tracking programs and blxtrack agree on. Sectors are 512 bytes here and nowhere else. */
#ifndef BLX_TRACK_H
#define BLX_TRACK_H

/*
 * Older layouts are taken over by `blxtrack upgrade`, which proves and harvests them: struct slot,
 * the order of the programs up to the older layout's last, and the maps `sums`, `runs`, `devices`
 * and `slots` must still mean the same, or kernel.c must know both. What no layout may change, as
 * the changes are lost without it: the map `bitmaps`, BITMAP_INDEX, what a word and its summary
 * are, and that the state of a device (state.c) has the number of its slot.
 */
enum {
	TRACK_LAYOUT = 4,  /* version of all below; a running kernel side of another version is left
			      alone */
	OLDEST_LAYOUT = 3, /* that can be taken over */
	INSTANCES = 3,     /* task, softirq and hardirq events nest; one instance is always free */
	SUBMIT = INSTANCES, /* place among the sums of what is marked at submission */
	SUMS,
	SLOTS = 1024,
	SECTOR_SHIFT = 9,
};

/* How the writes to a disk are seen. The programs of each way are loaded when the first device
 * needs them. */
enum way {
	WAY_REQUEST, /* request-based disks: block_rq_complete and block_rq_issue */
	WAY_HEAD,    /* NVMe multipath heads: the same, of the hidden disks that are their paths */
	WAY_BIO,     /* dm, md, zram, brd, bcache: block_bio_queue and _remap, _complete */
	WAYS,
	/* no ways, and both optional: changes of dm tables, images of the machine */
	SIDE_TABLES = WAYS,
	SIDE_HIBERNATE,
	SIDES
};

/* All programs: INSTANCES of each tracepoint whose events must not be missed, one of the others. */
enum program {
	COMPLETE_0,
	ISSUE = COMPLETE_0 + INSTANCES,
	HEAD_COMPLETE_0,
	HEAD_ISSUE = HEAD_COMPLETE_0 + INSTANCES,
	QUEUE_0,
	REMAP_0 = QUEUE_0 + INSTANCES,
	BIO_COMPLETE = REMAP_0 + INSTANCES,
	SWAP_TABLE,
	LAYOUT_3_PROGRAMS, /* layout 3 ended here */
	HIBERNATE = LAYOUT_3_PROGRAMS,
	PROGRAMS
};

/* Bytes into the driver's part of a request, where the command lies, or a pointer to it. From the
 * driver's own type information, which may come after the programs. 0: not known. */
#define COMMAND_AT(offset, is_pointer) (((offset) + 1u) | ((is_pointer) ? 1u << 31 : 0))

/* How passthrough commands of a disk are told apart. */
enum passthrough {
	PASS_UNKNOWN, /* every one may have written */
	PASS_SCSI,
	PASS_NVME,
	PASS_VIRTIO, /* the only one towards the driver's IN side is "get id" */
};

/*
 * One tracked range. Slots of one disk form a chain from the entry in `devices`; a slot is filled
 * before it joins the chain and never leaves it while the chain stands (stopping clears active).
 * Single aligned words change afterwards.
 */
struct slot {
	unsigned int next; /* index + 1 of the next slot of the same disk, 0: the last */
	unsigned int active;
	unsigned long long start; /* first sector on the disk */
	unsigned long long
		end;        /* first sector after it; all ones for a whole disk, which may grow */
	unsigned int shift; /* log2 of sectors in a block */
	unsigned int passthrough; /* enum passthrough */
	unsigned int way;         /* enum way */
	unsigned int command;     /* where its driver keeps a request's command: COMMAND_AT */
	/* Counted up by the programs, never reset: writes outside the bitmap; events whose place
	 * could not be found; and, in the first slot of a chain, passthrough commands to the disk
	 * that may have written, bios for which the table of those in flight had no room, and
	 * changes of the disk's dm table. */
	unsigned long long beyond;
	unsigned long long unplaced;
	unsigned long long passed;
	unsigned long long crowded;
	unsigned long long swaps;
};

/*
 * A write between submission and completion, by the address of its request (of its bio, for a
 * discard and for bio-based disks). The flip marks what is in here once more: it may land after the
 * flip. An entry whose completion no program saw stays until the address is used again, which only
 * costs sending its blocks again.
 */
struct flight {
	unsigned long long key;    /* 0: free */
	unsigned long long sector; /* on the disk */
	unsigned int sectors;
	unsigned int first; /* slot of the disk */
};
/* Tables with open addressing: an entry lies in one of two buckets. Requests are few, as their
 * queues are short; bios may wait behind dm-crypt or raid5 in large numbers. */
enum { FLIGHTS = 1 << 15, BIOS = 1 << 17, BUCKET = 8 };

/* Per CPU and program, for the first slot of a chain: what was seen on the whole disk. */
struct sums {
	unsigned long long written;   /* sectors */
	unsigned long long discarded; /* sectors */
};

/*
 * A bitmap is two arrays of 64-bit words. Level 0: a bit a block. Level 1, the summary: a bit a
 * level-0 word, set whenever a bit of that word is. Index into the outer map:
 */
#define BITMAP_INDEX(slot, parity, level) ((slot)*4 + (parity)*2 + (level))
/* One more entry, never looked up: updating it waits for the programs that run
 * (maybe_wait_bpf_programs). */
#define BITMAP_GRACE (SLOTS * 4)

#endif
