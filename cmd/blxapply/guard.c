// SPDX-License-Identifier: BSD-2-Clause
// Targets that must not be written to, found before anything is: what is read-only, and the very
// device that the stream comes from.
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apply.h"
#include "tracked.h"

static int device_writable(const struct target *t, struct fault *f)
{
	int ro = 0, fd = open(t->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return fault_errno(f, "%s: open", t->path);
	int bad = ioctl(fd, BLKROGET, &ro) ? fault_errno(f, "%s: BLKROGET", t->path) : 0;
	close(fd);
	return !bad && ro ? fault_set(f, BLX_SYSTEM, "%s: read-only", t->path) : bad;
}

static int writable(const char *path, int mode, struct fault *f)
{
	if (!faccessat(AT_FDCWD, path, mode, AT_EACCESS))
		return 0;
	return fault_errno(f, "%s: %s", path, errno == EROFS ? "read-only" : "may not be written");
}

static bool is_dir(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISDIR(st.st_mode);
}

int target_writable(const struct target *t, bool state, struct fault *f)
{
	if (t->block)
		return device_writable(t, f);
	if (t->exists && writable(t->path, W_OK, f))
		return -1;
	if (t->exists && !state)
		return 0;
	return writable(state && is_dir(t->dir) ? t->dir : t->parent, W_OK | X_OK, f);
}

// Numbers alone do not tell: the same disk of another machine often has the same ones. That this
// machine's tracker has the lineage does: its record of the device is in a tmpfs, gone with the
// boot.
static int tracked_here(const struct head *h, struct fault *f)
{
	struct token lineage;
	uint64_t epoch;
	bool whole;

	int got = tracked_look(h->major, h->minor, &lineage, &epoch, &whole, f);
	return got > 0 ? token_equal(&lineage, &h->lineage) : got;
}

int target_not_source(const struct target *t, const struct head *h, struct fault *f)
{
	struct blkdev source;
	struct fault ignored, why;

	if (!t->block || h->anonymous || (h->diskseq && h->diskseq != t->dev.diskseq) ||
	    blkdev_identify_number(h->major, h->minor, &source, &ignored) ||
	    !blkdev_overlap(&source, &t->dev))
		return 0;
	int here = tracked_here(h, &why);
	if (here < 0)
		return fault_set(f, BLX_TARGET,
				 "%s: cannot tell if it is the stream's own source: %s", t->path,
				 why.text);
	if (!here)
		return 0;
	return fault_set(f, BLX_TARGET,
			 "%s: is the stream's own source (/dev/%s, tracked on this machine)",
			 t->path, source.name);
}
