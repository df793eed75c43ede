// SPDX-License-Identifier: GPL-2.0-only
// Counts how often the table of a tracked device-mapper device is exchanged: one that is changed
// and changed back between two looks (a snapshot that is merged) may have changed the content
// without a write. Optional: some kernels permit no fentry programs.
#include "mark.bpf.h"

// struct dm_table *dm_swap_table(struct mapped_device *md, struct dm_table *table), drivers/md/dm.c
SEC("fentry/dm_swap_table")
int swap_table(u64 *ctx)
{
	struct mapped_device *md = (struct mapped_device *)ctx[0];
	struct gendisk *disk = BPF_CORE_READ(md, disk);
	u32 dev = (u32)BPF_CORE_READ(disk, major) << 20 | (u32)BPF_CORE_READ(disk, first_minor);
	u32 *first = bpf_map_lookup_elem(&devices, &dev);
	struct slot *slot = first ? bpf_map_lookup_elem(&slots, first) : 0;

	if (slot)
		__sync_fetch_and_add(&slot->swaps, 1);
	return 0;
}
