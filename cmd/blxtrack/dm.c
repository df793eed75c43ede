// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dm.h"

#define DM_CONTROL "/dev/mapper/control"
enum { GUARD_S = 5 }; // longer than what it guards may take

static int open_control(struct fault *f)
{
	int fd = open(DM_CONTROL, O_RDWR | O_CLOEXEC);

	return fd < 0 ? fault_errno(f, "%s", DM_CONTROL) : fd;
}

static void prepare(struct dm_ioctl *io, uint32_t size, unsigned int major, unsigned int minor,
		    uint32_t flags)
{
	memset(io, 0, size);
	io->version[0] = DM_VERSION_MAJOR;
	io->data_size = size;
	io->data_start = sizeof(*io);
	io->dev = makedev(major, minor);
	io->flags = flags;
}

struct dm_ioctl *dm_table(unsigned int major, unsigned int minor, struct fault *f)
{
	int fd = open_control(f);
	struct dm_ioctl *io = NULL;

	if (fd < 0)
		return NULL;
	for (uint32_t size = 1 << 14; size <= 1 << 28; size *= 4) {
		free(io);
		if (!(io = malloc(size)))
			break;
		prepare(io, size, major, minor, DM_STATUS_TABLE_FLAG);
		if (ioctl(fd, DM_TABLE_STATUS, io))
			break;
		if (io->flags & DM_BUFFER_FULL_FLAG)
			continue;
		close(fd);
		return io;
	}
	fault_errno(f, "dm device %u:%u: read its table", major, minor);
	free(io);
	close(fd);
	return NULL;
}

static int suspend(int control, unsigned int major, unsigned int minor)
{
	struct dm_ioctl io;

	prepare(&io, sizeof(io), major, minor, DM_SUSPEND_FLAG | DM_SKIP_LOCKFS_FLAG);
	return ioctl(control, DM_DEV_SUSPEND, &io);
}

static int resume(int control, unsigned int major, unsigned int minor)
{
	struct dm_ioctl io;
	int bad;

	do {
		prepare(&io, sizeof(io), major, minor, 0);
		bad = ioctl(control, DM_DEV_SUSPEND, &io);
	} while (bad && errno == EINTR);
	return bad;
}

// A process that resumes the device if this one dies, or is stopped, before it says a word. The
// pid, or -1.
static pid_t guard(int control, unsigned int major, unsigned int minor, unsigned int timeout_s,
		   int *word)
{
	int pipes[2];
	char c;

	if (pipe2(pipes, O_CLOEXEC))
		return -1;
	pid_t pid = fork();
	*word = pipes[1];
	if (pid) {
		close(pipes[0]);
		if (pid < 0)
			close(pipes[1]);
		return pid;
	}
	close(pipes[1]);
	// what is not in memory now may lie on the device that is suspended
	mlockall(MCL_CURRENT);
	struct pollfd p = {.fd = pipes[0], .events = POLLIN};
	if (poll(&p, 1, (int)(timeout_s + GUARD_S) * 1000) <= 0 || read(pipes[0], &c, 1) <= 0)
		resume(control, major, minor);
	_exit(0);
}

static void too_long(int number)
{
	(void)number;
}

// With all signals blocked but the alarm, and all memory locked.
static int drain_locked(int control, unsigned int major, unsigned int minor, unsigned int timeout_s)
{
	int word;
	pid_t pid = guard(control, major, minor, timeout_s, &word);

	if (pid < 0)
		return -1;
	alarm(timeout_s);
	int bad = suspend(control, major, minor), why = errno;
	alarm(0);
	if (!bad && (bad = resume(control, major, minor)))
		why = errno;
	// not resumed: the other process tries again
	if (!bad || why == EINTR)
		bad |= write(word, "", 1) != 1;
	close(word);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	errno = why;
	return bad;
}

// Somebody who loads a table and suspends is in the midst of exchanging it.
static int check_unchanging(int control, unsigned int major, unsigned int minor, struct fault *f)
{
	struct dm_ioctl io;

	prepare(&io, sizeof(io), major, minor, 0);
	if (ioctl(control, DM_DEV_STATUS, &io))
		return fault_errno(f, "dm device %u:%u: status", major, minor);
	if (io.flags & (DM_SUSPEND_FLAG | DM_INACTIVE_PRESENT_FLAG))
		return fault_set(f, BLX_BUSY,
				 "dm device %u:%u: its table is being changed: try again", major,
				 minor);
	return 0;
}

int dm_drain(unsigned int major, unsigned int minor, unsigned int timeout_s, struct fault *f)
{
	struct sigaction old, act = {.sa_handler = too_long};
	int control = open_control(f), bad = -1;
	sigset_t most, before;

	if (control < 0)
		return -1;
	if (!check_unchanging(control, major, minor, f)) {
		sigfillset(&most);
		sigdelset(&most, SIGALRM);
		sigaction(SIGALRM, &act, &old);
		sigprocmask(SIG_SETMASK, &most, &before);
		if (mlockall(MCL_CURRENT | MCL_FUTURE))
			fault_errno(f, "dm device %u:%u: lock memory (it takes CAP_IPC_LOCK)",
				    major, minor);
		else if (!(bad = drain_locked(control, major, minor, timeout_s)))
			;
		else if (errno == EINTR)
			fault_set(f, BLX_BUSY,
				  "dm device %u:%u: writes were in flight for all of %u s", major,
				  minor, timeout_s);
		else
			fault_errno(f, "dm device %u:%u: suspend and resume", major, minor);
		munlockall();
		sigprocmask(SIG_SETMASK, &before, NULL);
		sigaction(SIGALRM, &old, NULL);
	}
	close(control);
	return bad;
}
