// SPDX-License-Identifier: BSD-2-Clause
// blxtls --listen: one process waits, and shakes hands with all who come at once; who has proved
// who he is gets a process of his own. Until then a connection costs a descriptor and, once it has
// said something, the memory of its handshake.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blxtls.h"
#include "die.h"
#include "user.h"

enum {
	PENDING_MAX = 4096,
	ACCEPT_MAX = 256,
	OTHER_FILES = 64,
	LINGER_MS = 2000,
	LINGER_MAX = 16 << 20,
	STOP_MS = 10000
};

// A connection that has not proved who it is, or that is told no.
struct pending {
	struct pending *next;
	int fd;          // -1: gone, and off the list after this turn
	struct tls *tls; // NULL: it has not said a word
	struct remote remote;
	int64_t end_ms;
	bool leaving;  // all is said: read what it sends until it goes
	size_t unread; // of that
	short events;
};

struct serving {
	pid_t pid;
	struct remote remote;
};

struct listener {
	const struct options *o;
	struct tls_context *x;
	int at[LISTEN_MAX], nat, signals;
	struct pending *first, **last; // the oldest first
	size_t npending, room;
	struct serving *serving;
	size_t nserving;
	struct pollfd *polls;
	struct rlimit files; // as it was
	int once;            // the exit code of the one connection; -1: none yet
};

// ---- those who wait

static void drop(struct listener *l, struct pending *p)
{
	tls_free(p->tls);
	p->tls = NULL;
	close(p->fd);
	p->fd = -1;
	l->npending--;
}

static void sweep(struct listener *l)
{
	struct pending *p;

	l->last = &l->first;
	while ((p = *l->last)) {
		if (p->fd >= 0) {
			l->last = &p->next;
		} else {
			*l->last = p->next;
			free(p);
		}
	}
}

static void leave(struct pending *p)
{
	shutdown(p->fd, SHUT_WR);
	tls_free(p->tls);
	p->tls = NULL;
	p->leaving = true;
	p->events = POLLIN;
	p->end_ms = net_now_ms() + LINGER_MS;
}

static void drop_oldest(struct listener *l)
{
	struct pending *p = l->first;

	while (p->fd < 0)
		p = p->next;
	warn("%s: dropped: too many connections that do not prove who they are", p->remote.address);
	drop(l, p);
}

static void accept_from(struct listener *l, int fd)
{
	// those who are there already have their turn, too
	for (int n = 0; n < ACCEPT_MAX; n++) {
		int new = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (new < 0 && (errno == EMFILE || errno == ENFILE) && l->npending) {
			drop_oldest(l);
			continue;
		}
		if (new < 0 &&
		    (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
			warn("accept: %s", strerror(errno));
			poll(NULL, 0, 100);
		}
		if (new < 0)
			return; // nobody is there any more
		if (l->npending == l->room)
			drop_oldest(l);
		struct pending *p = calloc(1, sizeof(*p));
		if (!p) {
			close(new);
			return;
		}
		p->fd = new;
		p->events = POLLIN;
		p->end_ms = net_now_ms() + (int64_t)l->o->connect_timeout * 1000;
		p->remote.o = l->o;
		net_peer(new, p->remote.address);
		net_tune(new, l->o->keepalive);
		*l->last = p;
		l->last = &p->next;
		l->npending++;
	}
}

static void expire(struct listener *l, int64_t now)
{
	for (struct pending *p = l->first; p; p = p->next) {
		if (p->fd < 0 || p->end_ms > now)
			continue;
		if (!p->leaving)
			warn("%s: %s in %llu s (--connect-timeout)", p->remote.address,
			     p->tls ? "no whole handshake" : "not a word",
			     (unsigned long long)l->o->connect_timeout);
		drop(l, p);
	}
}

// ---- those who are served

static void close_all_but(const struct listener *l, const struct pending *but)
{
	for (int i = 0; i < l->nat; i++)
		close(l->at[i]);
	close(l->signals);
	for (const struct pending *p = l->first; p; p = p->next)
		if (p != but && p->fd >= 0)
			close(p->fd);
}

// Whether there is room for one more. Else tell it, if it is one of ours.
static bool has_room(const struct listener *l, const struct pending *p)
{
	struct wire_end end = {.how = WIRE_FULL, .status = BLX_BUSY};
	const struct remote *r = &p->remote;
	uint8_t message[WIRE_END_BYTES];
	struct fault f;
	size_t same = 0;

	for (size_t i = 0; i < l->nserving; i++)
		same += !strcmp(l->serving[i].remote.name, r->name) &&
			(*r->name || !strcmp(l->serving[i].remote.id, r->id));
	if (same >= l->o->per_peer)
		end.how = WIRE_PEER_BUSY;
	else if (l->nserving < l->o->max)
		return true;
	warn("%s %s: busy: %s", r->address, *r->name ? r->name : r->id,
	     end.how == WIRE_FULL ? "--max connections are served"
				  : "it has --per-peer connections already");
	wire_put_end(message, &end);
	if (tls_is_ours(p->tls) && tls_write(p->tls, message, sizeof(message), &f) > 0)
		tls_close(p->tls, &f);
	return false;
}

// In a process of its own, which does not outlive this one.
static _Noreturn void serve_alone(struct listener *l, struct pending *p, pid_t parent)
{
	sigset_t none;

	close_all_but(l, p);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setrlimit(RLIMIT_NOFILE, &l->files);
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) || getppid() != parent)
		_exit(BLX_SYSTEM);
	_exit((int)serve(&p->remote, p->tls, p->fd));
}

static void take_no_more(struct listener *l)
{
	for (int i = 0; i < l->nat; i++) {
		close(l->at[i]);
		l->at[i] = -1;
	}
	for (struct pending *p = l->first; p; p = p->next)
		if (p->fd >= 0)
			drop(l, p);
}

// The session's ends are its own: who is behind them must see when it closes one.
static void let_go_of_ends(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		warn("/dev/null: %s", strerror(errno));
	if (null >= 0)
		close(null);
}

static void begin(struct listener *l, struct pending *p)
{
	pid_t parent = getpid(), pid;

	if (!has_room(l, p)) {
		leave(p);
		return;
	}
	if (!(pid = fork()))
		serve_alone(l, p, parent);
	if (pid < 0)
		warn("%s %s: fork: %s", p->remote.address, p->remote.name, strerror(errno));
	else
		l->serving[l->nserving++] = (struct serving){pid, p->remote};
	drop(l, p);
	if (l->o->once && pid > 0)
		take_no_more(l);
	if (!l->o->cmd && pid > 0)
		let_go_of_ends();
}

static void reap(struct listener *l)
{
	int status;

	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
		size_t i = 0;
		while (i < l->nserving && l->serving[i].pid != pid)
			i++;
		if (i == l->nserving)
			continue;
		const struct remote *r = &l->serving[i].remote;
		if (WIFSIGNALED(status))
			warn("%s %s: the process that served it was killed by signal %d",
			     r->address, *r->name ? r->name : r->id, WTERMSIG(status));
		l->once = WIFEXITED(status) ? WEXITSTATUS(status) : BLX_SYSTEM;
		l->serving[i] = l->serving[--l->nserving];
	}
}

// ---- handshakes

static void shake(struct listener *l, struct pending *p)
{
	struct fault f;

	if (!p->tls && !(p->tls = tls_new(l->x, p->fd, NULL, &p->remote))) {
		warn("%s: %s", p->remote.address, strerror(errno));
		drop(l, p);
		return;
	}
	int r = tls_handshake(p->tls, &f);
	p->events = tls_events(p->tls);
	if (!r) {
		begin(l, p);
	} else if (r != TLS_AGAIN) {
		warn("%s: %s", p->remote.address, f.text);
		leave(p);
	}
}

// Whom we have told no: what it still sends is of no interest, but must be read, or it does not
// hear us.
static void linger(struct listener *l, struct pending *p)
{
	char sink[16384];
	ssize_t n = recv(p->fd, sink, sizeof(sink), MSG_DONTWAIT);

	if (n > 0)
		p->unread += (size_t)n;
	if (n < 0 ? errno != EAGAIN : !n || p->unread > LINGER_MAX)
		drop(l, p);
}

// ---- signals

static void reload(struct listener *l)
{
	struct fault f;
	struct tls_context *x = make_context(l->o, &f);

	if (!x) {
		warn("SIGHUP: %s; what was read before stays", f.text);
		return;
	}
	tls_context_free(l->x);
	l->x = x;
}

static _Noreturn void stop_all(struct listener *l, int sig)
{
	int64_t end = net_now_ms() + STOP_MS;

	for (int i = 0; i < l->nat; i++)
		close(l->at[i]); // for whoever comes next
	for (size_t i = 0; i < l->nserving; i++)
		kill(l->serving[i].pid, SIGTERM);
	while (l->nserving && net_now_ms() < end) {
		poll(NULL, 0, 10);
		reap(l);
	}
	sigset_t this;
	sigemptyset(&this);
	sigaddset(&this, sig);
	signal(sig, SIG_DFL);
	raise(sig);
	sigprocmask(SIG_UNBLOCK, &this, NULL);
	_exit(BLX_SYSTEM);
}

static void take_signals(struct listener *l)
{
	struct signalfd_siginfo s;

	while (read(l->signals, &s, sizeof(s)) == sizeof(s)) {
		if (s.ssi_signo == SIGCHLD)
			reap(l);
		else if (s.ssi_signo == SIGHUP)
			reload(l);
		else
			stop_all(l, (int)s.ssi_signo);
	}
}

// ---- the loop

static int time_left(const struct listener *l, int64_t now)
{
	int64_t end = INT64_MAX;

	for (const struct pending *p = l->first; p; p = p->next)
		end = p->end_ms < end ? p->end_ms : end;
	if (end == INT64_MAX)
		return -1;
	return end <= now ? 0 : end - now < INT32_MAX ? (int)(end - now) + 1 : INT32_MAX;
}

static void turn(struct listener *l)
{
	struct pollfd *all = l->polls;
	nfds_t n = 0;

	sweep(l);
	all[n++] = (struct pollfd){.fd = l->signals, .events = POLLIN};
	for (int i = 0; i < l->nat; i++)
		all[n++] = (struct pollfd){.fd = l->at[i], .events = POLLIN};
	const struct pollfd *of = all + n;
	for (const struct pending *p = l->first; p; p = p->next)
		all[n++] = (struct pollfd){.fd = p->fd, .events = p->events};
	if (poll(all, n, time_left(l, net_now_ms())) < 0)
		return; // EINTR, ENOMEM
	for (struct pending *p = l->first; p; p = p->next, of++) {
		if (p->fd < 0 || !of->revents)
			continue;
		if (p->leaving)
			linger(l, p);
		else
			shake(l, p);
	}
	expire(l, net_now_ms());
	if (all[0].revents)
		take_signals(l);
	for (int i = 0; i < l->nat; i++)
		if (all[1 + i].revents && l->at[i] >= 0)
			accept_from(l, l->at[i]);
}

static void hold_signals(struct listener *l)
{
	sigset_t held;

	sigemptyset(&held);
	sigaddset(&held, SIGCHLD);
	sigaddset(&held, SIGHUP);
	sigaddset(&held, SIGINT);
	sigaddset(&held, SIGTERM);
	sigprocmask(SIG_BLOCK, &held, NULL);
	l->signals = signalfd(-1, &held, SFD_CLOEXEC | SFD_NONBLOCK);
	if (l->signals < 0)
		die_errno("signalfd");
}

// As many files as are permitted, and room in memory for as many connections.
static void prepare(struct listener *l)
{
	struct rlimit all;

	if (getrlimit(RLIMIT_NOFILE, &l->files))
		die_errno("RLIMIT_NOFILE");
	all = l->files;
	all.rlim_cur = all.rlim_max;
	setrlimit(RLIMIT_NOFILE, &all);
	getrlimit(RLIMIT_NOFILE, &all);
	l->room = PENDING_MAX;
	if (all.rlim_cur < PENDING_MAX + OTHER_FILES)
		l->room = all.rlim_cur > 2 * OTHER_FILES ? all.rlim_cur - OTHER_FILES : OTHER_FILES;
	l->last = &l->first;
	l->serving = calloc(l->o->max, sizeof(*l->serving));
	l->polls = calloc(l->room + LISTEN_MAX + 1, sizeof(*l->polls));
	if (!l->serving || !l->polls)
		die_errno("--listen");
}

static void bind_all(struct listener *l, const int *more, int n)
{
	char text[NET_TEXT];
	struct fault f;

	for (int i = 0; i < n; i++)
		l->at[l->nat++] = more[i];
	for (int i = 0; i < l->o->nat; i++) {
		int got = net_listen(&l->o->at[i], l->o->family, l->at + l->nat,
				     LISTEN_MAX - l->nat, &f);
		if (got < 0)
			die_fault(&f);
		if (!got)
			die(BLX_USAGE, "--listen: %d addresses at most", LISTEN_MAX);
		l->nat += got;
	}
	for (int i = 0; i < l->nat && l->o->verbose; i++) {
		net_own(l->at[i], text);
		warn("listening at %s", text);
	}
}

enum blx_exit listen_and_serve(const struct options *o, const int *more, int n)
{
	struct listener l = {.o = o, .once = -1};
	struct peers p = {0};
	struct fault f;

	if (!(l.x = make_context(o, &f)))
		die_fault(&f);
	prepare(&l);
	bind_all(&l, more, n);
	if (o->user && user_become(o->user, &f))
		die_fault(&f);
	// read anew for each connection; but somebody is there now to hear that it is wrong
	if (o->allow && load_allowed(&p, o, &f))
		die_fault(&f);
	peers_free(&p);
	if (o->verbose)
		warn("our key is %s", tls_context_fingerprint(l.x));
	hold_signals(&l);
	while (!o->once || l.once < 0)
		turn(&l);
	free(l.serving);
	free(l.polls);
	tls_context_free(l.x);
	return (enum blx_exit)l.once;
}
