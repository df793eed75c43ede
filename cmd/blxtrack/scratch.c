// SPDX-License-Identifier: BSD-2-Clause
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "scratch.h"
#include "state.h"

#define PREFIX "lists."

static void empty(int fd)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;

	while (d && (e = readdir(d)))
		unlinkat(fd, e->d_name, 0);
	if (d)
		closedir(d);
}

void scratch_remove(struct scratch *s)
{
	empty(s->fd);
	rmdir(s->path);
	close(s->fd);
}

static int hold(struct scratch *s)
{
	s->fd = open(s->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return s->fd < 0 ? -1 : flock(s->fd, LOCK_EX | LOCK_NB);
}

static void remove_stale(void)
{
	DIR *d = opendir(STATE_DIR);
	struct dirent *e;
	struct scratch s;

	while (d && (e = readdir(d))) {
		if (strncmp(e->d_name, PREFIX, strlen(PREFIX)))
			continue;
		snprintf(s.path, sizeof(s.path), STATE_DIR "/%.40s", e->d_name);
		if (!hold(&s))
			scratch_remove(&s);
		else if (s.fd >= 0)
			close(s.fd);
	}
	if (d)
		closedir(d);
}

int scratch_make(struct scratch *s, struct fault *f)
{
	remove_stale();
	strcpy(s->path, STATE_DIR "/" PREFIX "XXXXXX");
	if (!mkdtemp(s->path) || hold(s))
		return fault_errno(f, "%s", s->path);
	return 0;
}

int scratch_link_stdin(const struct scratch *s, const char *label, struct fault *f)
{
	char name[HEAD_NAME_MAX + 16];

	snprintf(name, sizeof(name), "%s.extents", label);
	if (symlinkat("/dev/stdin", s->fd, name))
		return fault_errno(f, "%s/%s", s->path, name);
	return 0;
}
