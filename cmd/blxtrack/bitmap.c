// SPDX-License-Identifier: BSD-2-Clause
// The bitmaps (kernel.h): arrays of words behind the outer map, whose update waits for a grace.
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernel.h"

enum { WORD_BITS = 64 };

static int new_words(uint64_t n, struct fault *f)
{
	LIBBPF_OPTS(bpf_map_create_opts, o, .map_flags = BPF_F_MMAPABLE | BPF_F_INNER_MAP);

	if (n > UINT32_MAX) {
		errno = EFBIG;
		return fault_errno(f, "bitmap of %llu words", (unsigned long long)n);
	}
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "blx_words", sizeof(uint32_t), sizeof(uint64_t),
				(uint32_t)n, &o);
	if (fd < 0)
		return fault_errno(f, "bitmap of %llu words: create%s", (unsigned long long)n,
				   kernel_lacking());
	return fd;
}

// Put N empty words behind the outer map, in place of what is there. Updating an array of maps
// returns only when no program can hold the old entry (kernel/bpf/syscall.c,
// maybe_wait_bpf_programs): synchronize_rcu(), also where membarrier(2) would do nothing or refuse.
static int replace_words(const struct kernel *k, uint32_t key, uint64_t n, struct fault *f)
{
	int fd = new_words(n, f);

	if (fd < 0)
		return -1;
	int bad = bpf_map_update_elem(k->bitmaps, &key, &fd, BPF_ANY);
	if (bad)
		fault_errno(f, "map bitmaps: update");
	close(fd);
	return bad ? -1 : 0;
}

int kernel_grace(const struct kernel *k, struct fault *f)
{
	return replace_words(k, BITMAP_GRACE, 1, f);
}

static uint64_t words_for(uint64_t bits)
{
	return (bits + WORD_BITS - 1) / WORD_BITS;
}

uint64_t kernel_bitmap_bytes(uint64_t blocks)
{
	uint64_t words = words_for(blocks);

	return 2 * 8 * (words + words_for(words));
}

int kernel_bitmap_create(const struct kernel *k, uint32_t slot, uint32_t parity, uint64_t blocks,
			 struct fault *f)
{
	uint64_t words = words_for(blocks);

	return replace_words(k, BITMAP_INDEX(slot, parity, 0), words, f) ||
			       replace_words(k, BITMAP_INDEX(slot, parity, 1), words_for(words), f)
		       ? -1
		       : 0;
}

int kernel_bitmap_remove(const struct kernel *k, uint32_t slot, struct fault *f)
{
	for (uint32_t i = 0; i < 4; i++) {
		uint32_t key = slot * 4 + i;
		if (bpf_map_delete_elem(k->bitmaps, &key) && errno != ENOENT)
			return fault_errno(f, "map bitmaps: delete");
	}
	return 0;
}

static uint64_t *map_words(const struct kernel *k, uint32_t key, uint64_t *n, struct fault *f)
{
	struct bpf_map_info info = {0};
	uint32_t id, len = sizeof(info);

	if (bpf_map_lookup_elem(k->bitmaps, &key, &id)) {
		fault_errno(f, "map bitmaps: entry %u", key);
		return NULL;
	}
	int fd = bpf_map_get_fd_by_id(id);
	if (fd < 0) {
		fault_errno(f, "bitmap %u%s", id, kernel_lacking());
		return NULL;
	}
	void *p = MAP_FAILED;
	if (!bpf_obj_get_info_by_fd(fd, &info, &len))
		p = mmap(NULL, info.max_entries * 8ul, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		fault_errno(f, "bitmap %u: mmap", id);
	close(fd);
	*n = info.max_entries;
	return p == MAP_FAILED ? NULL : p;
}

int kernel_bitmap_map(const struct kernel *k, uint32_t slot, uint32_t parity, struct bitmap *b,
		      struct fault *f)
{
	memset(b, 0, sizeof(*b));
	b->words = map_words(k, BITMAP_INDEX(slot, parity, 0), &b->nwords, f);
	if (b->words)
		b->summary = map_words(k, BITMAP_INDEX(slot, parity, 1), &b->nsummary, f);
	if (b->summary)
		return 0;
	kernel_bitmap_unmap(b);
	return -1;
}

void kernel_bitmap_unmap(struct bitmap *b)
{
	if (b->words)
		munmap(b->words, b->nwords * 8);
	if (b->summary)
		munmap(b->summary, b->nsummary * 8);
	memset(b, 0, sizeof(*b));
}

void kernel_bitmap_mark(const struct bitmap *b, uint64_t first, uint64_t last)
{
	for (uint64_t i = first; i <= last && i / WORD_BITS < b->nwords; i++) {
		uint64_t word = i / WORD_BITS;
		__atomic_fetch_or(&b->words[word], 1ull << i % WORD_BITS, __ATOMIC_SEQ_CST);
		__atomic_fetch_or(&b->summary[word / WORD_BITS], 1ull << word % WORD_BITS,
				  __ATOMIC_SEQ_CST);
	}
}
