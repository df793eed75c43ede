// SPDX-License-Identifier: BSD-2-Clause
// The chains of slots (kernel.h). Programs may walk a chain at any moment, so a slot is filled
// while it is inactive, joins by one word, and is free for another disk only when its whole chain
// is out of `devices` and a grace has passed.
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "kernel.h"

int kernel_slot_first(const struct kernel *k, uint32_t disk, uint32_t *slot, struct fault *f)
{
	if (bpf_map_lookup_elem(k->devices, &disk, slot))
		return fault_errno(f, "map devices: disk %u:%u", disk >> 20, disk & 0xfffff);
	if (*slot >= SLOTS)
		return fault_set(f, BLX_SYSTEM, "map devices: slot %u is none of ours", *slot);
	return 0;
}

// Index + 1 of the slot after I + 1.
static uint32_t after(const struct kernel *k, uint32_t i)
{
	uint32_t next = k->slots[i - 1].next;

	return next <= SLOTS ? next : 0;
}

static void find_used(const struct kernel *k, bool used[SLOTS])
{
	uint32_t *previous = NULL, disk, first;

	while (!bpf_map_get_next_key(k->devices, previous, &disk)) {
		if (!bpf_map_lookup_elem(k->devices, &disk, &first))
			for (uint32_t i = first + 1; i && i <= SLOTS && !used[i - 1];
			     i = after(k, i))
				used[i - 1] = true;
		previous = &disk;
	}
}

int kernel_slot_alloc(const struct kernel *k, uint32_t disk, uint32_t *slot, struct fault *f)
{
	bool used[SLOTS] = {false};
	uint32_t first;

	if (!bpf_map_lookup_elem(k->devices, &disk, &first)) {
		for (uint32_t i = first + 1; i; i = after(k, i)) {
			if (!k->slots[i - 1].active) {
				*slot = i - 1;
				return 0;
			}
		}
	}
	find_used(k, used);
	for (uint32_t i = 0; i < SLOTS; i++) {
		if (!used[i]) {
			memset((void *)&k->slots[i], 0, sizeof(struct slot));
			*slot = i;
			return 0;
		}
	}
	return fault_set(f, BLX_SYSTEM, "%d devices are tracked already: no room for more", SLOTS);
}

// Entries that nobody forgot, of a disk that had the slot before.
static void clear_flights(struct flight_table *t, uint32_t first)
{
	for (uint32_t i = 0; i < t->n; i++)
		if (t->entry[i].first == first)
			t->entry[i].key = 0;
}

int kernel_slot_link(struct kernel *k, uint32_t disk, uint32_t slot, struct fault *f)
{
	uint32_t first, last = 0;

	if (!bpf_map_lookup_elem(k->devices, &disk, &first)) {
		for (uint32_t i = first + 1; i && last != slot + 1; i = after(k, i))
			last = i;
		if (last != slot + 1) {
			k->slots[slot].next = 0;
			__atomic_store_n(&k->slots[last - 1].next, slot + 1, __ATOMIC_RELEASE);
		}
	} else {
		clear_flights(&k->flights, slot);
		clear_flights(&k->bios, slot);
		if (errno != ENOENT || bpf_map_update_elem(k->devices, &disk, &slot, BPF_NOEXIST))
			return fault_errno(f, "map devices: add");
	}
	__atomic_store_n(&k->slots[slot].active, 1, __ATOMIC_RELEASE);
	return kernel_grace(k, f);
}

int kernel_slot_unlink(const struct kernel *k, uint32_t disk, uint32_t slot, struct fault *f)
{
	uint32_t first;
	bool idle = true, ours = false;

	if (bpf_map_lookup_elem(k->devices, &disk, &first))
		return errno == ENOENT ? 0 : fault_errno(f, "map devices: read");
	for (uint32_t i = first + 1; i && i <= SLOTS; i = after(k, i))
		ours = ours || i == slot + 1;
	if (!ours) // a start that died before it linked the slot: by now it may be another's
		return 0;
	__atomic_store_n(&k->slots[slot].active, 0, __ATOMIC_RELEASE);
	if (kernel_grace(k, f) || kernel_bitmap_remove(k, slot, f))
		return -1;
	for (uint32_t i = first + 1; i && i <= SLOTS; i = after(k, i))
		idle = idle && !k->slots[i - 1].active;
	if (!idle)
		return 0;
	if (bpf_map_delete_elem(k->devices, &disk) && errno != ENOENT)
		return fault_errno(f, "map devices: delete");
	return kernel_grace(k, f);
}
