// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "die.h"
#include "lists.h"

// Labels are names of files here, and of images on the other side.
static int check_labels(const struct session *s, struct fault *f)
{
	for (size_t i = 0; i < s->nwant; i++)
		for (size_t j = 0; j < i; j++)
			if (!strcmp(s->want[i]->label, s->want[j]->label))
				return fault_set(f, BLX_USAGE,
						 "%s and %s have the same label, '%s': give one "
						 "another (blxtrack start --label)",
						 s->want[j]->dev.name, s->want[i]->dev.name,
						 s->want[i]->label);
	return 0;
}

static int lost(const struct tracked *t, const struct consumer *c, struct fault *f)
{
	return fault_set(
		f, BLX_RESYNC,
		"%s: the history that consumer %s had is lost: send the differences "
		"(blxtrack resync), or run 'blxtrack consumer reset %s /dev/%s' for a full "
		"copy",
		t->dev.name, c->name, c->name, t->dev.name);
}

static int load_consumer(const struct tracked *t, const char *name, struct consumer *c,
			 struct fault *f)
{
	if (consumer_load(t, name, c, f))
		return -1;
	return c->lost ? lost(t, c, f) : 0;
}

// What its list is made of is damaged: then the list never comes, and the way on is that of any
// history that is lost.
static int take_damage(const struct tracked *t, struct consumer *c, struct fault *f)
{
	struct fault ignored;

	if (f->code != BLX_RESYNC)
		return -1;
	warn("%s", f->text);
	if (consumer_lose(t, c, &ignored))
		return -1;
	return lost(t, c, f);
}

static int open_each(struct lists *l, struct session *s, struct consumer *c,
		     const struct options *o, struct fault *f)
{
	struct token group;

	if (s->nwant > 1 && !o->preview && token_make(&group, c, sizeof(*c)))
		return fault_errno(f, "a name for the lists");
	for (size_t i = 0; i < s->nwant; i++) {
		struct tracked *t = s->want[i];
		struct changes *ch = &l->each[i];
		if (o->preview ? changes_preview(ch, &s->k, t, &c[i], f)
			       : changes_open(ch, t, &c[i], session_stamp(s, t), o->max, f))
			return o->preview ? -1 : take_damage(t, &c[i], f);
		l->n++;
		if (s->nwant > 1 && !o->preview) {
			ch->head.group_at = (uint32_t)l->n;
			ch->head.group_of = (uint32_t)s->nwant;
			ch->head.group = group;
		}
	}
	return 0;
}

static int prepare(struct lists *l, struct session *s, struct consumer *c, const struct options *o,
		   struct fault *f)
{
	for (size_t i = 0; i < s->nwant; i++)
		if (load_consumer(s->want[i], o->consumer, &c[i], f))
			return -1;
	if (check_labels(s, f) || (!o->preview && session_flip(s, f)))
		return -1;
	for (size_t i = 0; i < s->nwant && !o->preview; i++)
		if (s->want[i]->proof == PROOF_NONE)
			warn("%s: coverage is unproven: the disk's I/O statistics are off "
			     "(queue/iostats) or stood still",
			     s->want[i]->dev.name);
	return open_each(l, s, c, o, f);
}

int lists_prepare(struct lists *l, struct session *s, const struct options *o, struct fault *f)
{
	struct consumer *c = calloc(s->nwant, sizeof(*c));

	*l = (struct lists){.each = calloc(s->nwant, sizeof(*l->each))};
	int bad = c && l->each ? prepare(l, s, c, o, f) : fault_errno(f, "lists");
	if (bad)
		lists_close(l);
	free(c);
	return bad;
}

void lists_close(struct lists *l)
{
	for (size_t i = 0; i < l->n; i++)
		changes_close(&l->each[i]);
	free(l->each);
	*l = (struct lists){0};
}

// ---- into a directory

enum { NAME = HEAD_NAME_MAX + 16 };

// While they are written they are no names that `*` finds.
static void names(const struct changes *ch, char fresh[NAME], char name[NAME])
{
	snprintf(fresh, NAME, ".%s.extents.new", ch->head.label);
	snprintf(name, NAME, "%s.extents", ch->head.label);
}

static int write_one(struct changes *ch, int dirfd, const char *dir, struct fault *f)
{
	char fresh[NAME], name[NAME];

	names(ch, fresh, name);
	unlinkat(dirfd, fresh, 0); // of one that was killed
	int fd = openat(dirfd, fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	FILE *to = fd < 0 ? NULL : fdopen(fd, "w");
	if (!to)
		return fault_errno(f, "%s/%s: create", dir, fresh);
	int bad = changes_print(ch, to, f);
	if (fclose(to) && !bad)
		bad = fault_errno(f, "%s/%s: write", dir, fresh);
	return bad;
}

// A kill between two renames leaves lists of two groups, which no receiver takes for one.
int lists_write_at(struct lists *l, int dirfd, const char *dir, struct fault *f)
{
	char fresh[NAME], name[NAME];
	int bad = 0;

	for (size_t i = 0; i < l->n && !bad; i++)
		bad = write_one(&l->each[i], dirfd, dir, f);
	for (size_t i = 0; i < l->n; i++) {
		names(&l->each[i], fresh, name);
		if (!bad && renameat(dirfd, fresh, dirfd, name))
			bad = fault_errno(f, "%s/%s: replace", dir, name);
		if (bad)
			unlinkat(dirfd, fresh, 0);
	}
	return bad;
}

int lists_write(struct lists *l, const char *dir, struct fault *f)
{
	if (mkdir(dir, 0777) && errno != EEXIST)
		return fault_errno(f, "%s: mkdir", dir);
	int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return fault_errno(f, "%s", dir);
	int bad = flock(dirfd, LOCK_EX | LOCK_NB);
	if (bad && errno == EWOULDBLOCK)
		fault_set(f, BLX_BUSY, "%s: another drain writes there", dir);
	else
		bad = bad ? fault_errno(f, "%s: lock", dir) : lists_write_at(l, dirfd, dir, f);
	close(dirfd);
	return bad;
}
