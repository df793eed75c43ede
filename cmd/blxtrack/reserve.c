// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "io.h"
#include "reserve.h"
#include "state.h"

#define RESERVE STATE_DIR "/reserve"
enum { ROOM = 8192 }; // no record is larger

void reserve_make(void)
{
	int fd = open(RESERVE, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return;
	// without room an empty file is left, which has a name and an inode set aside at least
	int keep = errno;
	fallocate(fd, 0, 0, ROOM);
	errno = keep;
	close(fd);
}

// The pages are written over and the file takes the name: nothing is ever let go of that another
// writer could take.
int reserve_spend(int dirfd, const char *name, const void *buf, size_t n)
{
	int fd = open(RESERVE, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 || faccessat(dirfd, name, F_OK, 0)) {
		if (fd >= 0)
			close(fd);
		errno = ENOSPC;
		return -1;
	}
	int bad = io_pwrite_full(fd, buf, n, 0) || ftruncate(fd, (off_t)n) ||
		  renameat(AT_FDCWD, RESERVE, dirfd, name);
	int keep = errno;
	close(fd);
	errno = keep;
	return bad ? -1 : 0;
}
