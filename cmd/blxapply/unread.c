// SPDX-License-Identifier: BSD-2-Clause
// Ranges that the source could not read. They stand in the image as they stood before; the acks
// name them, so that the source goes on listing them. They are kept in unread.TOKEN beside the
// state, which has their number, for the acks that must be said again.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apply.h"
#include "die.h"
#include "file.h"
#include "num.h"

#define PREFIX "unread."
enum { NAME = sizeof(PREFIX) + TOKEN_TEXT, UNREAD_MAX = 1 << 20, FILE_MAX = 64 << 20 };

static void file_name(char name[NAME], const struct token *token)
{
	strcpy(name, PREFIX);
	token_format(token, name + strlen(name));
}

static int add(struct extents *u, struct extent e, struct fault *f)
{
	if (!extents_add(u, e, UNREAD_MAX))
		return 0;
	if (errno == E2BIG)
		return fault_set(f, BLX_CORRUPT,
				 "more than %d ranges that could not be read at the source",
				 UNREAD_MAX);
	return fault_errno(f, "the ranges that could not be read at the source");
}

int unread_add(struct job *j, const struct frame *fr, struct fault *f)
{
	return add(&j->unread.all, (struct extent){fr->offset, fr->length}, f);
}

int unread_save(const struct job *j, const struct token *token, struct fault *f)
{
	const struct extents *u = &j->unread.all;
	char name[NAME], *text = NULL;
	size_t n;

	if (!u->n)
		return 0;
	FILE *o = open_memstream(&text, &n);
	if (!o)
		return fault_errno(f, "unread ranges");
	for (size_t i = 0; i < u->n; i++)
		fprintf(o, "%llu %llu\n", (unsigned long long)u->e[i].offset,
			(unsigned long long)u->e[i].length);
	file_name(name, token);
	int bad = fclose(o) || file_replace(j->t.dirfd, name, text, n);
	if (bad)
		fault_errno(f, "%s/%s: write", j->t.dir, name);
	free(text);
	return bad ? -1 : 0;
}

static int parse(char *text, struct extents *u, struct fault *f)
{
	char *save = NULL, *rest;
	struct extent e;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (!(rest = strchr(line, ' ')))
			return -1;
		*rest++ = 0;
		if (num_u64(line, &e.offset) || num_u64(rest, &e.length) || add(u, e, f))
			return -1;
	}
	return 0;
}

static int load(const struct target *t, const struct token *token, uint64_t count,
		struct extents *u, struct fault *f)
{
	char name[NAME], *text;
	size_t n;

	file_name(name, token);
	if (file_read(t->dirfd, name, FILE_MAX, &text, &n))
		return fault_errno(f, "%s/%s: read", t->dir, name);
	int bad = parse(text, u, f) || u->n != count;
	free(text);
	return bad ? fault_set(f, BLX_TARGET, "%s/%s: damaged", t->dir, name) : 0;
}

static int ack_from(const struct job *j, struct ack *of, const struct extents *u, size_t from,
		    struct fault *f)
{
	struct ack a = *of;

	a.kind = ACK_UNREAD;
	for (; from < u->n; from++) {
		a.offset = u->e[from].offset;
		a.length = u->e[from].length;
		if (job_ack(j, &a, f))
			return -1;
	}
	of->unread = u->n;
	return job_ack(j, of, f);
}

int unread_ack(struct job *j, struct ack *of, struct fault *f)
{
	int bad = ack_from(j, of, &j->unread.all, j->unread.told, f);

	j->unread.told = j->unread.all.n;
	return bad;
}

int unread_ack_again(const struct job *j, struct ack *of, uint64_t count, struct fault *f)
{
	struct extents u = {0};
	int bad = count ? load(&j->t, &of->token, count, &u, f) : 0;

	if (!bad)
		bad = ack_from(j, of, &u, 0, f);
	extents_free(&u);
	return bad;
}

void unread_tidy(const struct job *j)
{
	char floor[NAME], partial[NAME];
	int fd = openat(j->t.dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	file_name(floor, &j->r.floor);
	file_name(partial, &j->r.partial);
	while (d && (e = readdir(d)))
		if (!strncmp(e->d_name, PREFIX, strlen(PREFIX)) &&
		    (!j->r.unread || strcmp(e->d_name, floor)) &&
		    (!j->r.partial_unread || strcmp(e->d_name, partial)))
			unlinkat(j->t.dirfd, e->d_name, 0);
	if (d)
		closedir(d);
}

void unread_warn(const struct job *j)
{
	const struct extents *u = &j->unread.all;

	if (u->n)
		warn("%s: %llu bytes in %zu ranges could not be read at the source", j->t.path,
		     (unsigned long long)extents_bytes(u), u->n);
}
