// SPDX-License-Identifier: BSD-2-Clause
// Confinement, before the first byte of a stream is read: the directory of the image and of its
// state, that of a spool or of a copy, or the device and its state's; whatever a flaw in what
// follows is used for, other files are out of reach.
#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apply.h"

struct places {
	struct confine_path *p;
	size_t n;
	bool full; // no memory for all of them
};

static void add(struct places *to, const char *path, enum confine_access access)
{
	for (size_t i = 0; i < to->n; i++)
		if (!strcmp(to->p[i].path, path) && to->p[i].access == access)
			return;
	struct confine_path *more = realloc(to->p, (to->n + 1) * sizeof(*more));
	char *copy = strdup(path);
	if (more)
		to->p = more;
	if (more && copy)
		to->p[to->n++] = (struct confine_path){copy, access};
	else
		free(copy);
	to->full = to->full || !more || !copy;
}

static void add_parent(struct places *to, const char *path)
{
	char copy[PATH_MAX];

	if ((size_t)snprintf(copy, sizeof(copy), "%s", path) < sizeof(copy))
		add(to, dirname(copy), CONFINE_CHANGE);
}

// Where a run that died left what is to be put in place: with another --spool perhaps.
static void add_intent(struct places *to, int dirfd)
{
	static const char *const name[] = {REPLICA_STATE, REPLICA_PENDING};
	struct replica r;
	struct fault ignored;

	for (size_t i = 0; i < sizeof(name) / sizeof(*name); i++)
		if (replica_load(dirfd, name[i], &r, &ignored) > 0 && r.intent.path[0])
			add_parent(to, r.intent.path);
}

static void add_intents(struct places *to, const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		size_t n = strlen(e->d_name);
		if (n < 4 || strcmp(e->d_name + n - 4, ".blx"))
			continue;
		int fd = openat(dirfd(d), e->d_name,
				O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			continue;
		add_intent(to, fd);
		close(fd);
	}
	if (d)
		closedir(d);
}

static void add_target(struct places *to, const struct target *t)
{
	int fd = open(t->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0) {
		add_intent(to, fd);
		close(fd);
	}
	if (t->block)
		add(to, t->path, CONFINE_CHANGE);
	// It is made if need be, in what is there.
	if (access(t->parent, F_OK))
		add_parent(to, t->parent);
	else
		add(to, t->parent, CONFINE_CHANGE);
}

int confine_job(const struct job *j, struct fault *f)
{
	const struct options *o = j->o;
	struct places to = {0};

	add(&to, "/sys", CONFINE_LOOK); // what a device is, and whether an image is in use
	add(&to, "/proc/sys/kernel/random", CONFINE_LOOK); // boot_id
	add(&to, "/run/blx", CONFINE_LOOK);                // is the target tracked here?
	if (o->into) {
		add(&to, o->into, CONFINE_CHANGE);
		add_intents(&to, o->into);
	} else {
		add_target(&to, &j->t);
	}
	if (o->spool)
		add(&to, o->spool, CONFINE_CHANGE);
	if (o->kept)
		add_parent(&to, o->kept);
	int bad = to.full ? fault_set(f, BLX_SYSTEM, "memory")
			  : confine(o->confine, CONFINE_FILES, to.p, to.n, f);
	for (size_t i = 0; i < to.n; i++)
		free((char *)to.p[i].path);
	free(to.p);
	return bad;
}
