// SPDX-License-Identifier: BSD-2-Clause
#include <bpf/btf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "btf.h"

enum { PARAMS_MAX = 3, DEPTH_MAX = 8 };

// What the programs take ctx[0], ctx[1]... for: `*name` is a pointer to that struct, `4` and `8`
// are numbers of so many bytes, `?` is not read.
static const struct tracepoint {
	const char *name;
	const char *params[PARAMS_MAX];
} tracepoints[] = {
	{"block_rq_complete", {"*request", "?", "4"}},
	{"block_rq_issue", {"*request"}},
	{"block_bio_queue", {"*bio"}},
	{"block_bio_remap", {"*bio", "4", "8"}},
	{"block_bio_complete", {"*request_queue", "*bio"}},
};

// bpf/ktypes.h
static const struct field {
	const char *type, *member;
	unsigned size; // of the member in bytes; 0: any
} fields[] = {
	{"gendisk", "major", 4},        {"gendisk", "first_minor", 4},
	{"request_queue", "disk", 8},   {"bvec_iter", "bi_sector", 8},
	{"bvec_iter", "bi_size", 4},    {"block_device", "bd_dev", 4},
	{"block_device", "bd_disk", 8}, {"bio", "bi_next", 8},
	{"bio", "bi_bdev", 8},          {"bio", "bi_opf", 4},
	{"bio", "bi_iter", 0},          {"request", "q", 8},
	{"request", "cmd_flags", 4},    {"request", "__data_len", 4},
	{"request", "__sector", 8},     {"request", "bio", 8},
};

enum {
	TRACEPOINTS = sizeof(tracepoints) / sizeof(tracepoints[0]),
	FIELDS = sizeof(fields) / sizeof(fields[0])
};

// ---- reading types

// T without typedefs, const and the like.
static const struct btf_type *bare(const struct btf *b, uint32_t id)
{
	const struct btf_type *t = btf__type_by_id(b, id);

	while (t && (btf_is_mod(t) || btf_is_typedef(t)))
		t = btf__type_by_id(b, t->type);
	return t;
}

static bool enumerates(const struct btf *b, const struct btf_type *t, const char *name)
{
	const struct btf_enum *e = btf_enum(t);

	for (uint32_t i = 0; i < btf_vlen(t); i++)
		if (!strcmp(btf__name_by_offset(b, e[i].name_off), name))
			return true;
	return false;
}

static bool has_enumerator(const struct btf *b, const char *type, const char *name)
{
	int id = btf__find_by_name_kind(b, type, BTF_KIND_ENUM);

	return id >= 0 && enumerates(b, btf__type_by_id(b, (uint32_t)id), name);
}

// The type of a member, looked for in nameless structs inside too; 0: none.
static uint32_t member_type(const struct btf *b, const struct btf_type *t, const char *name,
			    int depth)
{
	uint32_t found = 0;

	if (!t || !btf_is_composite(t) || depth > DEPTH_MAX)
		return 0;
	const struct btf_member *m = btf_members(t);
	for (uint32_t i = 0; i < btf_vlen(t) && !found; i++) {
		const char *s = btf__name_by_offset(b, m[i].name_off);
		if (!*s)
			found = member_type(b, bare(b, m[i].type), name, depth + 1);
		else if (!strcmp(s, name))
			found = m[i].type;
	}
	return found;
}

static uint32_t member_of(const struct btf *b, const char *type, const char *name)
{
	int id = btf__find_by_name_kind(b, type, BTF_KIND_STRUCT);

	return id < 0 ? 0 : member_type(b, btf__type_by_id(b, (uint32_t)id), name, 0);
}

bool btf_has_rw_page(const struct btf *b)
{
	return member_of(b, "block_device_operations", "rw_page") != 0;
}

int btf_member(const struct btf *b, const char *type, const char *name, bool *is_pointer)
{
	int id = btf__find_by_name_kind(b, type, BTF_KIND_STRUCT);
	const struct btf_type *t = id < 0 ? NULL : btf__type_by_id(b, (uint32_t)id);

	for (uint32_t i = 0; t && i < btf_vlen(t); i++) {
		const struct btf_member *m = &btf_members(t)[i];
		if (strcmp(btf__name_by_offset(b, m->name_off), name))
			continue;
		const struct btf_type *of = bare(b, m->type);
		*is_pointer = of && btf_is_ptr(of);
		return (int)(btf_member_bit_offset(t, i) / 8);
	}
	return -1;
}

// ---- the rules

static int check_helpers(const struct btf *b, struct fault *f)
{
	if (has_enumerator(b, "bpf_func_id", "BPF_FUNC_loop"))
		return 0;
	return fault_set(f, BLX_SYSTEM,
			 "this kernel lacks the bpf_loop helper: tracking needs 5.17 or newer");
}

// btf_trace_NAME is a typedef of a pointer to a function: (void *, what the programs get...).
static const struct btf_type *tracepoint_proto(const struct btf *b, const char *name)
{
	char type[64];

	snprintf(type, sizeof(type), "btf_trace_%s", name);
	int id = btf__find_by_name_kind(b, type, BTF_KIND_TYPEDEF);
	const struct btf_type *t = id < 0 ? NULL : bare(b, (uint32_t)id);
	if (t && btf_is_ptr(t))
		t = bare(b, t->type);
	return t && btf_is_func_proto(t) && btf_vlen(t) ? t : NULL;
}

static bool is_param(const struct btf *b, uint32_t id, const char *want)
{
	const struct btf_type *t = bare(b, id);

	if (!t || *want == '?')
		return t != NULL;
	if (*want != '*')
		return btf_is_int(t) && t->size == (uint32_t)(*want - '0');
	if (!btf_is_ptr(t) || !(t = bare(b, t->type)))
		return false;
	return btf_is_composite(t) && !strcmp(btf__name_by_offset(b, t->name_off), want + 1);
}

static int check_tracepoint(const struct btf *b, const struct tracepoint *p, struct fault *f)
{
	const struct btf_type *proto = tracepoint_proto(b, p->name);
	unsigned want = 0;

	if (!proto)
		return fault_set(f, BLX_SYSTEM, "this kernel has no tracepoint %s", p->name);
	while (want < PARAMS_MAX && p->params[want])
		want++;
	unsigned have = btf_vlen(proto) - 1u;
	if (have != want)
		return fault_set(
			f, BLX_SYSTEM,
			"tracepoint %s has %u parameters on this kernel, not %u: it cannot "
			"be tracked",
			p->name, have, want);
	for (unsigned i = 0; i < want; i++)
		if (!is_param(b, btf_params(proto)[i + 1].type, p->params[i]))
			return fault_set(f, BLX_SYSTEM,
					 "parameter %u of tracepoint %s is of another type on this "
					 "kernel: it cannot be tracked",
					 i + 1, p->name);
	return 0;
}

static int check_field(const struct btf *b, const struct field *p, struct fault *f)
{
	uint32_t id = member_of(b, p->type, p->member);

	if (!id)
		return fault_set(f, BLX_SYSTEM,
				 "struct %s has no member %s on this kernel: it cannot be tracked",
				 p->type, p->member);
	int64_t size = btf__resolve_size(b, id);
	if (p->size && size != p->size)
		return fault_set(f, BLX_SYSTEM,
				 "%s of struct %s has %lld bytes on this kernel, not %u: it cannot "
				 "be tracked",
				 p->member, p->type, (long long)size, p->size);
	return 0;
}

int btf_check_part(const struct btf *b, enum btf_part part, struct fault *f)
{
	int bad = 0;

	if (part == BTF_HELPERS)
		return check_helpers(b, f);
	if (part == BTF_TRACEPOINTS)
		for (unsigned i = 0; i < TRACEPOINTS && !bad; i++)
			bad = check_tracepoint(b, &tracepoints[i], f);
	if (part == BTF_FIELDS) {
		for (unsigned i = 0; i < FIELDS && !bad; i++)
			bad = check_field(b, &fields[i], f);
		if (!bad && !has_enumerator(b, "req_op", "REQ_OP_WRITE") &&
		    !has_enumerator(b, "req_opf", "REQ_OP_WRITE"))
			bad = fault_set(f, BLX_SYSTEM,
					"neither enum req_op nor req_opf on this kernel: it cannot "
					"be tracked");
	}
	return bad;
}

int btf_check(const struct btf *b, struct fault *f)
{
	int bad = 0;

	for (enum btf_part part = 0; part < BTF_PARTS && !bad; part++)
		bad = btf_check_part(b, part, f);
	return bad;
}
