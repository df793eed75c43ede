// SPDX-License-Identifier: BSD-2-Clause
// What runs in the kernel, and what it has counted (kernel.h).
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernel.h"

// 1: no such link
static int link_info(int layout, enum program p, struct bpf_link_info *info, struct fault *f)
{
	char path[128];
	uint32_t n = sizeof(*info);

	memset(info, 0, sizeof(*info));
	kernel_link_path(path, sizeof(path), layout, p);
	int fd = bpf_obj_get(path);
	if (fd < 0)
		return errno == ENOENT ? 1 : fault_errno(f, "%s", path);
	int bad = bpf_obj_get_info_by_fd(fd, info, &n);
	if (bad)
		fault_errno(f, "%s: info", path);
	close(fd);
	return bad ? -1 : 0;
}

enum program kernel_layout_programs(int layout)
{
	return layout == 3 ? LAYOUT_3_PROGRAMS : PROGRAMS;
}

int kernel_ids(int layout, struct kernel_ids *ids, struct fault *f)
{
	for (enum program p = 0; p < PROGRAMS; p++) {
		struct bpf_link_info info;
		if (link_info(layout, p, &info, f) < 0)
			return -1;
		ids->link[p] = info.id;
		ids->prog[p] = info.prog_id;
	}
	return 0;
}

int kernel_misses(const struct kernel *k, uint64_t misses[PROGRAMS], struct fault *f)
{
	struct kernel_ids ids;

	if (kernel_ids(k->layout, &ids, f))
		return -1;
	for (enum program p = 0; p < PROGRAMS; p++) {
		struct bpf_prog_info info = {0};
		uint32_t n = sizeof(info);
		misses[p] = 0;
		if (!ids.prog[p])
			continue;
		int fd = bpf_prog_get_fd_by_id(ids.prog[p]);
		if (fd < 0)
			return fault_errno(f, "tracking program %u%s", ids.prog[p],
					   kernel_lacking());
		int bad = bpf_obj_get_info_by_fd(fd, &info, &n);
		if (bad)
			fault_errno(f, "tracking program %u: info", ids.prog[p]);
		close(fd);
		if (bad)
			return -1;
		misses[p] = info.recursion_misses;
	}
	return 0;
}

int kernel_runs(const struct kernel *k, uint64_t runs[PROGRAMS], struct fault *f)
{
	uint64_t *all = calloc((size_t)k->ncpus, sizeof(*all));
	int bad = all ? 0 : fault_errno(f, "count runs");

	for (uint32_t p = 0; p < PROGRAMS && !bad; p++) {
		runs[p] = 0;
		if (p >= kernel_layout_programs(k->layout))
			continue;
		if (bpf_map_lookup_elem(k->runs, &p, all))
			bad = fault_errno(f, "map runs: read");
		for (int c = 0; c < k->ncpus; c++)
			runs[p] += all[c];
	}
	free(all);
	return bad;
}

int kernel_sums(const struct kernel *k, uint32_t slot, struct sums s[SUMS], struct fault *f)
{
	struct sums *all = calloc((size_t)k->ncpus, sizeof(*all));
	int bad = all ? 0 : fault_errno(f, "count sectors");

	for (uint32_t i = 0; i < SUMS && !bad; i++) {
		uint32_t key = i * SLOTS + slot;
		s[i] = (struct sums){0};
		if (bpf_map_lookup_elem(k->sums, &key, all))
			bad = fault_errno(f, "map sums: read");
		for (int c = 0; c < k->ncpus; c++) {
			s[i].written += all[c].written;
			s[i].discarded += all[c].discarded;
		}
	}
	free(all);
	return bad;
}
