// SPDX-License-Identifier: BSD-2-Clause
// blxtrack's own state files: `key: value` lines, then `end` and a check of them (check.h). They
// live in a tmpfs and die with the kernel they describe; a file that is damaged, or lacks a key, is
// a fault, never a default.
#ifndef BLX_KV_H
#define BLX_KV_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "fault.h"
#include "token.h"

struct kv {
	char *text; // lines ended by NUL
	size_t n;
	const char *name; // of the file, for faults
	bool missing;     // some key was asked for in vain
	char key[32];     // that key
};

// 0; -1 with the fault (BLX_SYSTEM; BLX_RESYNC when the file is damaged or gone).
int kv_load(struct kv *kv, int dirfd, const char *name, struct fault *f);
void kv_free(struct kv *kv);
// The value, or "" and kv->missing.
const char *kv_str(struct kv *kv, const char *key);
bool kv_has(const struct kv *kv, const char *key);
uint64_t kv_u64(struct kv *kv, const char *key);
int64_t kv_i64(struct kv *kv, const char *key);
struct token kv_token(struct kv *kv, const char *key);
void kv_copy(struct kv *kv, const char *key, char *to, size_t n);
// After all keys were read: -1 and the fault if one was missing.
int kv_check(const struct kv *kv, struct fault *f);

// Build a file in memory with fprintf() lines, then replace NAME by it.
struct kv_out {
	FILE *to;
	char *text;
	size_t n;
};
int kv_begin(struct kv_out *o, struct fault *f);
int kv_end(struct kv_out *o, int dirfd, const char *name, struct fault *f);

#endif
