// SPDX-License-Identifier: BSD-2-Clause
// blxused: what a file system uses of its device, as an extent list.
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "die.h"
#include "tracked.h"
#include "used.h"

enum { EXT_MAGIC = 0xef53, XFS_MAGIC = 0x58465342 }; // statfs(2)

static const char usage[] =
	"usage: blxused MOUNTPOINT | DEV\n"
	"List the ranges of a device that its file system (ext4 or xfs, mounted or not) uses.\n"
	"\n"
	"  -h, --help     this text\n"
	"      --version  name and version\n"
	"\n"
	"What cannot say what it uses is refused: exit 5. See blxused(1).\n";

static const char *parse_options(int argc, char **argv)
{
	enum { VERSION = 256 };
	static const struct option longs[] = {
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, VERSION},
		{NULL, 0, NULL, 0},
	};

	for (int c; (c = getopt_or_die(argc, argv, "h", longs)) != -1;) {
		if (c == 'h')
			fputs(usage, stdout);
		else
			print_version();
		close_stdout();
		exit(BLX_OK);
	}
	if (argc - optind != 1 || !*argv[optind])
		die_usage("one mount point or device is expected");
	return argv[optind];
}

static void print_head(struct used *u)
{
	if (!u->begun && extlist_begin(&u->list, stdout, &u->head))
		die_stdout();
	u->begun = true;
}

void used_free(struct used *u, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length;

	if (end > u->dev.size)
		end = u->dev.size;
	if (offset < u->at)
		offset = u->at;
	if (end <= offset)
		return;
	print_head(u);
	if (offset > u->at && extlist_put(&u->list, (struct extent){u->at, offset - u->at}))
		die_stdout();
	u->at = end;
}

static int begin(struct used *u, struct fault *f)
{
	struct head *h = &u->head;

	head_init(h);
	h->anonymous = true;
	h->size = h->limit = u->dev.size;
	h->time = time(NULL);
	snprintf(h->name, sizeof(h->name), "%s", u->dev.name);
	bool whole = false;
	int got = tracked_look(u->dev.major, u->dev.minor, &h->since, &h->since_epoch, &whole, f);
	h->has_since = got > 0 && whole;
	return got < 0 ? -1 : 0;
}

static void end(struct used *u)
{
	print_head(u);
	if (u->at < u->dev.size &&
	    extlist_put(&u->list, (struct extent){u->at, u->dev.size - u->at}))
		die_stdout();
	if (extlist_end(&u->list))
		die_stdout();
}

// A mount point, and the device below it.
static int open_mount(const char *path, struct blkdev *d, struct fault *f)
{
	struct statx x;
	struct statfs s;

	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstatfs(fd, &s) || statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &x))
		return fault_errno(f, "%s", path);
	if (!(x.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		return fault_set(f, BLX_TARGET, "%s: not a mount point", path);
	if (s.f_type != EXT_MAGIC && s.f_type != XFS_MAGIC)
		return fault_set(f, BLX_TARGET,
				 "%s: neither ext4 nor xfs; others do not say what they use", path);
	return blkdev_identify_number(x.stx_dev_major, x.stx_dev_minor, d, f) ? -1 : fd;
}

static int list_mounted(struct used *u, int fd, const char *name, struct fault *f)
{
	return begin(u, f) || mounted_free(u, fd, name, f) ? -1 : 0;
}

// O_EXCL: not mounted elsewhere, and it cannot be until this ends.
static int list_unmounted(struct used *u, const char *name, struct fault *f)
{
	int fd = blkdev_open(&u->dev, O_RDONLY | O_EXCL, f);

	if (fd < 0 && errno == EBUSY)
		return fault_set(f, BLX_TARGET,
				 "%s: in use, but not mounted here: name the device that holds the "
				 "file system, where it is mounted",
				 name);
	if (fd < 0)
		return -1;
	return begin(u, f) || unmounted_free(u, fd, name, f) ? -1 : 0;
}

static int list(struct used *u, const char *path, struct fault *f)
{
	struct stat st;

	if (!stat(path, &st) && S_ISDIR(st.st_mode)) {
		int fd = open_mount(path, &u->dev, f);
		return fd < 0 ? -1 : list_mounted(u, fd, path, f);
	}
	if (blkdev_identify(path, &u->dev, f))
		return -1;
	int fd = mount_open(&u->dev);
	if (fd < 0 && errno)
		return fault_errno(f, "%s: where it is mounted", path);
	return fd < 0 ? list_unmounted(u, path, f) : list_mounted(u, fd, path, f);
}

int main(int argc, char **argv)
{
	const char *path = parse_options(argc, argv);
	struct used u = {.at = 0};
	struct fault f;

	signal(SIGPIPE, SIG_IGN);
	if (list(&u, path, &f)) {
		fflush(stdout); // a list without its end line, which no reader takes
		die_fault(&f);
	}
	end(&u);
	close_stdout();
	return BLX_OK;
}
