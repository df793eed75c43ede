// SPDX-License-Identifier: BSD-2-Clause
// Consumers' positions on disk (state.h).
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "extra.h"
#include "kv.h"
#include "state.h"

#define PREFIX "consumer."

static void file_name(char *buf, size_t n, const char *name)
{
	snprintf(buf, n, PREFIX "%s", name);
}

bool consumer_exists(const struct tracked *t, const char *name)
{
	char file[128];

	file_name(file, sizeof(file), name);
	return !faccessat(t->dirfd, file, F_OK, 0);
}

uint64_t consumer_acked(const struct consumer *c)
{
	return c->has_base ? c->epoch : 0;
}

static int unreadable(const struct tracked *t, const char *name, struct fault *f)
{
	char why[sizeof(f->text)];

	if (f->code != BLX_RESYNC)
		return -1;
	memcpy(why, f->text, sizeof(why));
	return fault_set(f, BLX_RESYNC,
			 "%s: %s; run 'blxtrack consumer reset %s /dev/%s' for a full copy",
			 t->dev.name, why, name, t->dev.name);
}

int consumer_load(const struct tracked *t, const char *name, struct consumer *c, struct fault *f)
{
	char file[128];
	struct kv kv;

	if (!head_name_ok(name))
		return fault_set(f, BLX_USAGE, "'%s' is no name for a consumer", name);
	if (!consumer_exists(t, name))
		return fault_set(f, BLX_USAGE,
				 "%s has no consumer '%s': see 'blxtrack consumer list', or add it",
				 t->dev.name, name);
	file_name(file, sizeof(file), name);
	memset(c, 0, sizeof(*c));
	if (kv_load(&kv, t->dirfd, file, f))
		return unreadable(t, name, f);
	snprintf(c->name, sizeof(c->name), "%s", name);
	c->epoch = kv_u64(&kv, "epoch");
	if ((c->has_base = kv_has(&kv, "base")))
		c->base = kv_token(&kv, "base");
	c->cursor = kv_u64(&kv, "cursor");
	if ((c->has_partial = kv_has(&kv, "partial"))) {
		c->partial = kv_token(&kv, "partial");
		c->partial_epoch = kv_u64(&kv, "partial-epoch");
		c->partial_upto = kv_u64(&kv, "partial-upto");
	}
	c->added = kv_i64(&kv, "added");
	c->acked = kv_i64(&kv, "acked");
	c->lost = kv_u64(&kv, "lost");
	if ((c->resync = kv_has(&kv, "replica")))
		c->replica = kv_token(&kv, "replica");
	c->resync_epoch = kv_u64(&kv, "resync-epoch");
	c->extra[EXTRA_RESYNC] = kv_u64(&kv, "extra-resync");
	c->extra[EXTRA_AGAIN] = kv_u64(&kv, "extra-again");
	c->again_epoch = kv_u64(&kv, "again-epoch");
	int bad = kv_check(&kv, f);
	kv_free(&kv);
	return bad ? unreadable(t, name, f) : 0;
}

int consumer_save(const struct tracked *t, const struct consumer *c, struct fault *f)
{
	char file[128], text[TOKEN_TEXT];
	struct kv_out o;

	if (kv_begin(&o, f))
		return -1;
	file_name(file, sizeof(file), c->name);
	fprintf(o.to, "epoch: %" PRIu64 "\ncursor: %" PRIu64 "\n", c->epoch, c->cursor);
	if (c->has_base) {
		token_format(&c->base, text);
		fprintf(o.to, "base: %s\n", text);
	}
	if (c->has_partial) {
		token_format(&c->partial, text);
		fprintf(o.to,
			"partial: %s\npartial-epoch: %" PRIu64 "\npartial-upto: %" PRIu64 "\n",
			text, c->partial_epoch, c->partial_upto);
	}
	if (c->resync) {
		token_format(&c->replica, text);
		fprintf(o.to, "replica: %s\n", text);
	}
	fprintf(o.to, "added: %" PRId64 "\nacked: %" PRId64 "\nlost: %d\n", c->added, c->acked,
		c->lost);
	fprintf(o.to,
		"extra-resync: %" PRIu64 "\nextra-again: %" PRIu64 "\nagain-epoch: %" PRIu64
		"\nresync-epoch: %" PRIu64 "\n",
		c->extra[EXTRA_RESYNC], c->extra[EXTRA_AGAIN], c->again_epoch, c->resync_epoch);
	return kv_end(&o, t->dirfd, file, f);
}

int consumer_lose(const struct tracked *t, struct consumer *c, struct fault *f)
{
	c->lost = true;
	c->epoch = t->epoch;
	c->has_base = c->has_partial = c->resync = false;
	c->cursor = 0;
	memset(c->extra, 0, sizeof(c->extra));
	return consumer_save(t, c, f) || extra_tidy(t, c, f) ? -1 : 0;
}

int consumer_remove(const struct tracked *t, const char *name, struct fault *f)
{
	char file[128];

	file_name(file, sizeof(file), name);
	if (unlinkat(t->dirfd, file, 0))
		return fault_errno(f, "consumer %s: remove", name);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct consumer *)a)->name, ((const struct consumer *)b)->name);
}

int consumer_all(const struct tracked *t, struct consumer **all, size_t *n, struct fault *f)
{
	int fd = openat(t->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int bad = 0;

	*all = NULL;
	*n = 0;
	if (!d)
		return fault_errno(f, "%s: list consumers", t->dev.name);
	for (errno = 0; !bad && (e = readdir(d)); errno = 0) {
		const char *name = e->d_name + sizeof(PREFIX) - 1;
		if (strncmp(e->d_name, PREFIX, sizeof(PREFIX) - 1))
			continue;
		size_t len = strlen(name);
		if (len > 4 && !strcmp(name + len - 4, ".new"))
			continue; // left by a killed replace
		void *p = realloc(*all, (*n + 1) * sizeof(**all));
		if (!p) {
			bad = fault_errno(f, "%s: list consumers", t->dev.name);
			break;
		}
		*all = p;
		bad = consumer_load(t, name, &(*all)[*n], f);
		*n += !bad;
	}
	if (!bad && errno)
		bad = fault_errno(f, "%s: list consumers", t->dev.name);
	closedir(d);
	if (bad) {
		free(*all);
		return -1;
	}
	if (*n)
		qsort(*all, *n, sizeof(**all), by_name);
	return 0;
}
