// SPDX-License-Identifier: BSD-2-Clause
// What goes over a connection once both ends know each other, until it ends.
#ifndef BLX_SESSION_H
#define BLX_SESSION_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fault.h"
#include "progress.h"
#include "rate.h"
#include "tls.h"
#include "wire.h"

struct session {
	struct tls *tls; // the handshake is done
	int socket;
	int in, out; // what is read goes to the other end, what comes from there is written; closed
		     // when they end
	bool serves; // they are a command's standard output and input; else our own input and
		     // output
	pid_t command;      // it; 0: it could not be started
	int64_t timeout_ms; // of nothing going either way; 0: none
	int64_t silence_ms; // of the other host to what we send; 0: as long as the kernel will
	struct rate *rate;
	struct progress *progress; // or NULL
	// Set by the handler of signals that are blocked but while waiting: cut it. NULL: none.
	const volatile sig_atomic_t *stop;
	sigset_t waiting;        // what is blocked while waiting, if STOP
	uint64_t received, sent; // bytes of data
};

// Until it ends. Its exit code; if that is not 0, or it is the command's, F says why, or how, in
// words. What the command started is gone if the connection was cut before all of its input had
// come.
enum blx_exit session_run(struct session *s, struct fault *f);

#endif
