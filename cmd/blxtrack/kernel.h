// SPDX-License-Identifier: BSD-2-Clause
// The kernel side: programs and maps, pinned in the bpf file system, shared by all tracked devices.
// All functions return 0, or -1 with the fault (BLX_SYSTEM unless told).
#ifndef BLX_KERNEL_H
#define BLX_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/track.h"
#include "fault.h"

// Each layout has a directory below, by its number; but the pins of layout 3 lie in here.
#define KERNEL_PINS "/sys/fs/bpf/blx"

struct kernel {
	int layout; // TRACK_LAYOUT, or the one that is taken over
	int devices, bitmaps, sums, runs;
	int ncpus;                 // possible CPUs: values of a per-CPU entry
	volatile uint32_t *parity; // which bitmap is marked
	volatile struct slot *slots;
	// Writes in flight, of requests and of bios; empty without the programs that fill it.
	struct flight_table {
		volatile struct flight *entry;
		uint32_t n;
	} flights, bios;
	volatile uint64_t *images; // of the machine, made by hibernation; NULL: not counted
};

// Ids of what is attached, 0: not loaded. Other ids mean that somebody's hands were there.
struct kernel_ids {
	uint32_t link[PROGRAMS], prog[PROGRAMS];
};

// Load the programs of a way (or of another side), attach and pin them. Says what is missing:
// privileges, BTF, helpers, the bpf file system.
int kernel_load(enum way way, struct fault *f);
bool kernel_has(enum way way);
bool kernel_layout_has(int layout, enum way way);
// Has this kernel drivers that write pages without a bio? False if that cannot be known: then
// nothing can be loaded either.
bool kernel_has_rw_page(void);
// Where a driver keeps the command of a request (COMMAND_AT); 0: not known.
uint32_t kernel_command_at(enum passthrough p);
// Detach the programs of a way that no device is tracked by.
void kernel_unload_way(enum way way);
// The programs of a way: [*first, *end).
void kernel_programs(enum way way, enum program *first, enum program *end);
// Are there pins of ours, of whatever layout?
bool kernel_present(void);
// Do its programs track any device?
bool kernel_tracks(void);
int kernel_open(struct kernel *k, struct fault *f);
int kernel_open_layout(struct kernel *k, int layout, struct fault *f);
void kernel_close(struct kernel *k);
// Detach and forget everything; all but what is of one layout.
int kernel_unload(struct fault *f);
int kernel_unload_others(int layout, struct fault *f);

// Where the link of a program is pinned.
void kernel_link_path(char *path, size_t n, int layout, enum program p);
// How many programs a layout has, the first of PROGRAMS.
enum program kernel_layout_programs(int layout);
int kernel_ids(int layout, struct kernel_ids *ids, struct fault *f);
// Runs that the kernel skipped since load (bpf_prog_info.recursion_misses), and runs; 0 for what is
// not loaded. Not every program counts its runs.
int kernel_misses(const struct kernel *k, uint64_t misses[PROGRAMS], struct fault *f);
int kernel_runs(const struct kernel *k, uint64_t runs[PROGRAMS], struct fault *f);
int kernel_sums(const struct kernel *k, uint32_t slot, struct sums s[SUMS], struct fault *f);

// Which capability the last system call (errno) would have taken, for the end of its fault; "".
const char *kernel_lacking(void);

// Returns when no program run that began before the call is still going.
int kernel_grace(const struct kernel *k, struct fault *f);

// Kernel memory that both bitmaps of a range of so many blocks take, in bytes.
uint64_t kernel_bitmap_bytes(uint64_t blocks);

// One parity's bitmap of a slot, mapped into memory.
struct bitmap {
	uint64_t *words, *summary;
	uint64_t nwords, nsummary;
};
// Give the slot empty bitmaps for BLOCKS blocks for PARITY in place of what it has; includes a
// grace.
int kernel_bitmap_create(const struct kernel *k, uint32_t slot, uint32_t parity, uint64_t blocks,
			 struct fault *f);
int kernel_bitmap_remove(const struct kernel *k, uint32_t slot, struct fault *f);
int kernel_bitmap_map(const struct kernel *k, uint32_t slot, uint32_t parity, struct bitmap *b,
		      struct fault *f);
void kernel_bitmap_unmap(struct bitmap *b);
// Mark the blocks [FIRST, LAST] as the programs do: the word first, then the summary.
void kernel_bitmap_mark(const struct bitmap *b, uint64_t first, uint64_t last);

// The slots of a disk form a chain. alloc: an inactive slot of the disk's chain, or one that no
// chain holds; fill it, then link. link: activate it, joining the chain if it is not there. unlink:
// deactivate it and drop its bitmaps.
int kernel_slot_alloc(const struct kernel *k, uint32_t disk, uint32_t *slot, struct fault *f);
int kernel_slot_link(struct kernel *k, uint32_t disk, uint32_t slot, struct fault *f);
int kernel_slot_unlink(const struct kernel *k, uint32_t disk, uint32_t slot, struct fault *f);
// The slot whose sums hold the disk's figures.
int kernel_slot_first(const struct kernel *k, uint32_t disk, uint32_t *slot, struct fault *f);

// A kernel device number as the programs see it.
static inline uint32_t kernel_dev(uint32_t major, uint32_t minor)
{
	return major << 20 | minor;
}

#endif
