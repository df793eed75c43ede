// SPDX-License-Identifier: BSD-2-Clause
// What the tools of ext4 and xfs say of a file system that is not mounted. Only one that was left
// clean is believed: what a journal still holds changes what is free.
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "io.h"
#include "used.h"

enum { EXT_AT = 1024 + 56, EXT_MAGIC = 0xef53, PROBE = 2048 };

// The line's number behind KEY, blanks, and perhaps `=`; false: another line.
static bool number(const char *line, const char *key, uint64_t *v)
{
	size_t n = strlen(key);
	char *end;

	if (strncmp(line, key, n))
		return false;
	line += n + strspn(line + n, " =");
	*v = strtoull(line, &end, 10);
	return end != line;
}

// N blocks from FROM on. What no disk can have counts as used.
static void free_blocks(struct used *u, uint64_t from, uint64_t n, uint64_t block)
{
	uint64_t offset, length, end;

	if (!__builtin_mul_overflow(from, block, &offset) &&
	    !__builtin_mul_overflow(n, block, &length) &&
	    !__builtin_add_overflow(offset, length, &end))
		used_free(u, offset, length);
}

static int failed(const char *name, const char *tool, int status, struct fault *f)
{
	return fault_set(f, BLX_TARGET, "%s: %s failed with status %d; it tells why", name, tool,
			 status);
}

// ---- ext4: dumpe2fs(8)

struct ext {
	uint64_t block, count; // size of one in bytes; how many there are
	bool clean, journal;   // journal: there is something in it
};

static void ext_header(struct ext *e, const char *line)
{
	if (!strncmp(line, "Filesystem state:", 17))
		e->clean = !strcmp(line + 17 + strspn(line + 17, " "), "clean\n");
	if (!strncmp(line, "Filesystem features:", 20))
		e->journal = strstr(line, " needs_recovery");
	if (!number(line, "Block size:", &e->block))
		number(line, "Block count:", &e->count);
}

// `6695-8192, 8194`: of a group, which may say more than there are.
static void ext_ranges(struct used *u, const struct ext *e, const char *p)
{
	while (*p >= '0' && *p <= '9') {
		char *end;
		uint64_t from = strtoull(p, &end, 10), to = from;
		if (*end == '-')
			to = strtoull(end + 1, &end, 10);
		if (to >= e->count)
			to = e->count - 1;
		if (from <= to)
			free_blocks(u, from, to + 1 - from, e->block);
		p = end + strspn(end, ", ");
	}
}

static int ext_read(struct used *u, FILE *in, const char *name, struct fault *f)
{
	static const char key[] = "  Free blocks: ";
	struct ext e = {.clean = false};
	char *line = NULL;
	size_t room = 0;
	int bad = 0;

	while (!bad && getline(&line, &room, in) > 0) {
		if (strncmp(line, key, sizeof(key) - 1))
			ext_header(&e, line);
		else if (!e.clean || e.journal || !e.block || !e.count)
			bad = fault_set(f, BLX_TARGET,
					"%s: not left clean: mount it once, or e2fsck it", name);
		else
			ext_ranges(u, &e, line + sizeof(key) - 1);
	}
	free(line);
	return bad;
}

static int ext_free(struct used *u, const char *path, const char *name, struct fault *f)
{
	struct tool t;

	if (tool_start(&t, (const char *const[]){"dumpe2fs", path, NULL}, f))
		return -1;
	int bad = ext_read(u, t.out, name, f);
	int status = tool_end(&t);
	return bad || !status ? bad : failed(name, "dumpe2fs", status, f);
}

// ---- xfs: xfs_logprint(8) and xfs_db(8)

static int xfs_clean(const char *path, const char *name, struct fault *f)
{
	struct tool t;
	char *line = NULL;
	size_t room = 0;
	bool clean = false;

	if (tool_start(&t, (const char *const[]){"xfs_logprint", "-t", path, NULL}, f))
		return -1;
	while (!clean && getline(&line, &room, t.out) > 0)
		clean = strstr(line, "state: <CLEAN>");
	free(line);
	tool_end(&t);
	return clean ? 0
		     : fault_set(f, BLX_TARGET,
				 "%s: xfs_logprint does not find its log clean: mount it once",
				 name);
}

// `AG BLOCK LENGTH`, in blocks. What stands in an AG's own free list comes before the rest and out
// of order, block by block; so single blocks count as used. The table behind has five columns.
static void xfs_line(struct used *u, const char *line, uint64_t block, uint64_t ag_blocks)
{
	unsigned long long ag, at, n;
	uint64_t from;
	char more;

	if (block && ag_blocks && sscanf(line, "%llu %llu %llu %c", &ag, &at, &n, &more) == 3 &&
	    n > 1 && !__builtin_mul_overflow(ag, ag_blocks, &from) &&
	    !__builtin_add_overflow(from, at, &from))
		free_blocks(u, from, n, block);
}

static int xfs_free(struct used *u, const char *path, const char *name, struct fault *f)
{
	static const char print[] = "print blocksize agblocks";
	const char *const argv[] = {"xfs_db", "-r", "-c",        "sb 0", "-c",
				    print,    "-c", "freesp -d", path,   NULL};
	uint64_t block = 0, ag_blocks = 0;
	struct tool t;
	char *line = NULL;
	size_t room = 0;

	if (xfs_clean(path, name, f) || tool_start(&t, argv, f))
		return -1;
	while (getline(&line, &room, t.out) > 0)
		if (!number(line, "blocksize", &block) && !number(line, "agblocks", &ag_blocks))
			xfs_line(u, line, block, ag_blocks);
	free(line);
	int status = tool_end(&t);
	return status ? failed(name, "xfs_db", status, f) : 0;
}

// ---- which of them

int unmounted_free(struct used *u, int fd, const char *name, struct fault *f)
{
	uint8_t b[PROBE] = {0};
	char path[32];

	if (fcntl(fd, F_SETFD, 0))
		return fault_errno(f, "%s", name);
	if (io_pread_full(fd, b, sizeof(b), 0) < 0)
		return fault_errno(f, "%s: read at 0", name);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd); // the tools inherit it
	if (!memcmp(b, "XFSB", 4))
		return xfs_free(u, path, name, f);
	if (get_le16(b + EXT_AT) == EXT_MAGIC)
		return ext_free(u, path, name, f);
	return fault_set(f, BLX_TARGET,
			 "%s: holds neither ext4 nor xfs; others do not say what they use", name);
}
