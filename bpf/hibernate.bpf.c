// SPDX-License-Identifier: GPL-2.0-only
// Counts images of the machine that hibernation made: a resume puts bitmaps and statistics back to
// the time of the image together, while the disk has what was written since. The count is made just
// before the image, so it is in there. Optional: where it cannot be loaded status says so.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "track.h"

typedef __u32 u32;
typedef __u64 u64;

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, u64);
} images SEC(".maps");

enum { PM_EVENT_HIBERNATE = 4 }; // include/linux/pm.h

// suspend_resume(const char *action, int val, bool start), from create_image() in
// kernel/power/hibernate.c. Other actions have numbers of their own (of a CPU, of a sleep state).
SEC("tp_btf/suspend_resume")
int hibernate(u64 *ctx)
{
	char action[sizeof("machine_suspend")] = {};
	u32 zero = 0;
	u64 *n;

	if ((int)ctx[1] != PM_EVENT_HIBERNATE || !(ctx[2] & 0xff))
		return 0;
	bpf_probe_read_kernel_str(action, sizeof(action), (void *)ctx[0]);
#pragma unroll
	for (u32 i = 0; i < sizeof(action); i++)
		if (action[i] != "machine_suspend"[i])
			return 0;
	n = bpf_map_lookup_elem(&images, &zero);
	if (n)
		__sync_fetch_and_add(n, 1);
	return 0;
}
