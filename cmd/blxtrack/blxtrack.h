// SPDX-License-Identifier: BSD-2-Clause
// The subcommands, and what they share.
#ifndef BLX_BLXTRACK_H
#define BLX_BLXTRACK_H

#include "changes.h"
#include "extents.h"
#include "flip.h"
#include "kernel.h"
#include "state.h"

// Each gets argv from its own name on, dies at the first failure, and returns the exit code.
int cmd_start(int argc, char **argv);
int cmd_stop(int argc, char **argv);
int cmd_save(int argc, char **argv);
int cmd_drain(int argc, char **argv);
int cmd_commit(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_consumer(int argc, char **argv);
int cmd_resync(int argc, char **argv);
int cmd_follow(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_upgrade(int argc, char **argv);

// Refuse a command line: the message (NULL: getopt has printed it) and where the help of the
// running command is; exits.
_Noreturn void usage_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define DEFAULT_CONSUMER "default"
enum { LOCK_WAIT_S = 60 };

// The lock, the kernel side and all tracked devices; which of them were named.
struct session {
	int lock;
	struct kernel k;
	struct tracked *all;
	size_t n;
	bool *wanted;          // parallel to all
	struct stamp *stamps;  // parallel to all: of the wanted ones, by session_flip()
	struct tracked **want; // those that were named, in that order
	const char **names;    // parallel to want: as they were named
	size_t nwant;
};

// DEVS: N paths or MAJ:MIN. 0, or -1 with the fault: not tracked is BLX_TARGET. One that is
// named twice counts once. What was saved for a reboot is BLX_BUSY.
int session_open(struct session *s, char *const *devs, size_t n, struct fault *f);
// The same with what was saved.
int session_open_any(struct session *s, char *const *devs, size_t n, struct fault *f);
// All tracked devices were named.
int session_want_all(struct session *s, struct fault *f);
void session_close(struct session *s);

// Flip once, then prove each of the wanted devices.
int session_flip(struct session *s, struct fault *f);
// The flip's stamp of a wanted device.
const struct stamp *session_stamp(const struct session *s, const struct tracked *t);

// Have the device marked in its slot, which is allocated; what is in flight, and would not be seen,
// is done then.
int activate(struct kernel *k, struct tracked *t, struct fault *f);

// Ranges that an epoch's acks say could not be read, ascending, and the epoch's token.
struct unread {
	struct token token;
	struct extents all;
};

// A device whose acks are awaited.
struct awaited {
	const char *dev; // as it was named
	uint32_t major, minor;
	uint64_t epoch; // that must be acked; 0: any
	bool done;      // a done ack, or an upto that was the last of a limited list, for it
	struct unread unread;
};

// What came of a pipe of acks.
struct verdict {
	enum blx_exit code; // of the first failure; BLX_OK if none
	const char *dev;    // whose it is; NULL: not of one device
	char why[320];
	bool told;    // the receiver itself said why it failed
	bool gave_up; // before the pipe's end
};

// The session's devices; NULL with errno.
struct awaited *awaited_new(const struct session *s);
void awaited_free(struct awaited *a, size_t n);

// Read acks of any of the N devices from FD until its end; move the consumer's position on each.
// TIMEOUT_S: 0: for ever. STOP: give up when nobody reads this pipe any more; -1: none.
void commit_acks(struct awaited *a, size_t n, const char *consumer, int fd, int stop,
		 uint64_t timeout_s, struct verdict *v);
// Exit code and words of a verdict; says the words on stderr.
int verdict_report(const struct verdict *v, const struct awaited *a, size_t n,
		   const char *consumer);

#endif
