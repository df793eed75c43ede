// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "file.h"
#include "kv.h"
#include "num.h"
#include "reserve.h"

enum { KV_MAX = 1 << 20 };

int kv_load(struct kv *kv, int dirfd, const char *name, struct fault *f)
{
	memset(kv, 0, sizeof(*kv));
	kv->name = name;
	if (file_read(dirfd, name, KV_MAX, &kv->text, &kv->n))
		return errno == ENOENT ? fault_set(f, BLX_RESYNC, "tracking state %s: gone", name)
				       : fault_errno(f, "tracking state %s: read", name);
	if (check_text(kv->text, kv->n)) {
		kv_free(kv);
		return fault_set(f, BLX_RESYNC, "tracking state %s: damaged", name);
	}
	for (char *p = kv->text; (p = strchr(p, '\n')); p++)
		*p = 0;
	return 0;
}

void kv_free(struct kv *kv)
{
	free(kv->text);
	kv->text = NULL;
}

static const char *find(const struct kv *kv, const char *key)
{
	size_t n = strlen(key);

	for (const char *p = kv->text; p < kv->text + kv->n; p += strlen(p) + 1)
		if (!strncmp(p, key, n) && p[n] == ':' && p[n + 1] == ' ')
			return p + n + 2;
	return NULL;
}

static void miss(struct kv *kv, const char *key)
{
	kv->missing = true;
	snprintf(kv->key, sizeof(kv->key), "%s", key);
}

const char *kv_str(struct kv *kv, const char *key)
{
	const char *v = find(kv, key);

	if (!v)
		miss(kv, key);
	return v ? v : "";
}

bool kv_has(const struct kv *kv, const char *key)
{
	return find(kv, key);
}

uint64_t kv_u64(struct kv *kv, const char *key)
{
	uint64_t v = 0;

	if (num_u64(kv_str(kv, key), &v))
		miss(kv, key);
	return v;
}

int64_t kv_i64(struct kv *kv, const char *key)
{
	const char *s = kv_str(kv, key);
	uint64_t v = 0;

	if (num_u64(*s == '-' ? s + 1 : s, &v) || v > INT64_MAX)
		miss(kv, key);
	return *s == '-' ? -(int64_t)v : (int64_t)v;
}

struct token kv_token(struct kv *kv, const char *key)
{
	struct token t = {{0}};

	if (token_parse(kv_str(kv, key), &t))
		miss(kv, key);
	return t;
}

void kv_copy(struct kv *kv, const char *key, char *to, size_t n)
{
	snprintf(to, n, "%s", kv_str(kv, key));
}

int kv_check(const struct kv *kv, struct fault *f)
{
	if (!kv->missing)
		return 0;
	return fault_set(f, BLX_RESYNC, "tracking state %s: damaged at '%s'", kv->name, kv->key);
}

int kv_begin(struct kv_out *o, struct fault *f)
{
	o->text = NULL;
	o->to = open_memstream(&o->text, &o->n);
	return o->to ? 0 : fault_errno(f, "tracking state");
}

int kv_end(struct kv_out *o, int dirfd, const char *name, struct fault *f)
{
	char line[CHECK_LINE + 1];

	fflush(o->to);
	check_line(o->text, o->n, line);
	fputs(line, o->to);
	int bad = ferror(o->to) | fclose(o->to);

	bad = bad || file_replace(dirfd, name, o->text, o->n);
	if (bad && errno == ENOSPC)
		bad = reserve_spend(dirfd, name, o->text, o->n);
	if (bad)
		bad = fault_errno(f, "tracking state %s: write", name);
	else
		reserve_make();
	free(o->text);
	return bad ? -1 : 0;
}
