// SPDX-License-Identifier: BSD-2-Clause
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "writers.h"

// Does PATH lead to the device, to a part of it, or to the disk that it is a part of?
static bool leads_to(const char *path, const struct blkdev *d)
{
	struct blkdev other;
	struct fault ignored;
	struct stat st;

	return !stat(path, &st) && S_ISBLK(st.st_mode) &&
	       !blkdev_identify_number(major(st.st_rdev), minor(st.st_rdev), &other, &ignored) &&
	       blkdev_overlap(&other, d);
}

static bool opened_to_write(const char *pid, const char *fd)
{
	char path[64], line[128];
	unsigned int flags = O_RDWR;

	snprintf(path, sizeof(path), "/proc/%.16s/fdinfo/%.16s", pid, fd);
	FILE *in = fopen(path, "re");
	while (in && fgets(line, sizeof(line), in))
		if (sscanf(line, "flags: %o", &flags) == 1)
			break;
	if (in)
		fclose(in);
	return in && (flags & O_ACCMODE) != O_RDONLY;
}

static bool has_open(const char *pid, const struct blkdev *d)
{
	char path[64];
	struct dirent *e;
	bool yes = false;

	snprintf(path, sizeof(path), "/proc/%.16s/fd", pid);
	DIR *dir = opendir(path);
	while (dir && !yes && (e = readdir(dir))) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%.16s/fd/%.16s", pid, e->d_name);
		yes = leads_to(path, d) && opened_to_write(pid, e->d_name);
	}
	if (dir)
		closedir(dir);
	return yes;
}

// A mapping outlives its descriptor: `from-to rw-s offset device inode path`.
static bool has_mapped(const char *pid, const struct blkdev *d)
{
	char path[PATH_MAX], perms[8], *line = NULL;
	size_t room = 0;
	bool yes = false;

	snprintf(path, sizeof(path), "/proc/%.16s/maps", pid);
	FILE *in = fopen(path, "re");
	while (in && !yes && getline(&line, &room, in) > 0)
		yes = sscanf(line, "%*s %7s %*s %*s %*s %4095[^\n]", perms, path) == 2 &&
		      perms[1] == 'w' && perms[3] == 's' && !strncmp(path, "/dev/", 5) &&
		      leads_to(path, d);
	free(line);
	if (in)
		fclose(in);
	return yes;
}

static int check_process(const char *pid, const struct blkdev *d, struct fault *f)
{
	char path[64], name[32] = "?";

	if (!has_open(pid, d) && !has_mapped(pid, d))
		return 0;
	snprintf(path, sizeof(path), "/proc/%.16s/comm", pid);
	FILE *in = fopen(path, "re");
	if (in && fgets(name, sizeof(name), in))
		name[strcspn(name, "\n")] = 0;
	if (in)
		fclose(in);
	return fault_set(f, BLX_BUSY, "%s is in use: process %s (%s) may write to it", d->name, pid,
			 name);
}

static int check_loops(const struct blkdev *d, struct fault *f)
{
	char path[96], file[PATH_MAX];
	struct dirent *e;
	int bad = 0;

	DIR *dir = opendir("/sys/block");
	while (dir && !bad && (e = readdir(dir))) {
		if (strncmp(e->d_name, "loop", 4))
			continue;
		snprintf(path, sizeof(path), "/sys/block/%.32s/loop/backing_file", e->d_name);
		FILE *in = fopen(path, "re");
		if (in && fgets(file, sizeof(file), in)) {
			file[strcspn(file, "\n")] = 0;
			if (leads_to(file, d))
				bad = fault_set(f, BLX_BUSY, "%s is in use: /dev/%s lies on it",
						d->name, e->d_name);
		}
		if (in)
			fclose(in);
	}
	if (dir)
		closedir(dir);
	return bad;
}

int writers_check(const struct blkdev *d, struct fault *f)
{
	struct dirent *e;
	int bad = 0;

	DIR *dir = opendir("/proc");
	if (!dir)
		return fault_errno(f, "/proc");
	while (!bad && (e = readdir(dir)))
		if (isdigit((unsigned char)e->d_name[0]) && atoi(e->d_name) != getpid())
			bad = check_process(e->d_name, d, f);
	closedir(dir);
	return bad ? -1 : check_loops(d, f);
}
