// SPDX-License-Identifier: BSD-2-Clause
// Does a kernel, by its type information, have what the tracking programs read? Tracepoints change
// their parameters, and changes are backported: versions do not tell.
#ifndef BLX_BTF_H
#define BLX_BTF_H

#include <stdbool.h>

#include "fault.h"

struct btf;

enum btf_part { BTF_HELPERS, BTF_TRACEPOINTS, BTF_FIELDS, BTF_PARTS };

// 0, or -1 with the first fault (BLX_SYSTEM). In the order of the parts: where a kernel is simply
// too old, the fault says so.
int btf_check(const struct btf *b, struct fault *f);
int btf_check_part(const struct btf *b, enum btf_part part, struct fault *f);

// Has struct block_device_operations a member rw_page? Drivers may then write pages that no
// tracepoint shows (until 6.3, 3222d8c2a7f8).
bool btf_has_rw_page(const struct btf *b);

// Byte offset of a member of a struct, and whether it is a pointer. -1: no such thing.
int btf_member(const struct btf *b, const char *type, const char *name, bool *is_pointer);

#endif
