// SPDX-License-Identifier: BSD-2-Clause
// A ring of reads over a ring of memory, and two engines to carry them out: io_uring and a pool of
// threads.
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifdef HAVE_LIBURING
#include <liburing.h>
#endif

#include "io.h"
#include "readahead.h"

enum {
	DEPTH = 64,   // entries, a power of two
	WORKERS = 16, // threads; more would only queue up in the kernel
	PAGE = 4096,
	ARENA = 16 * READAHEAD_MAX,
	STACK = 128 * 1024,
};

struct entry {
	uint64_t offset, length; // as asked for
	uint64_t from;           // where the aligned read begins
	size_t n;                // and its length; 0: a hole
	size_t place, room;      // in the arena
	bool done;
	int error; // errno, 0: all of offset and length is there
};

struct engine {
	const char *name;
	int (*start)(struct readahead *r);
	void (*queue)(struct readahead *r, struct entry *e);
	void (*wait)(struct readahead *r, struct entry *e); // until it is done
	bool (*look)(struct readahead *r, struct entry *e); // is it done?
	void (*stop)(struct readahead *r);                  // nothing is in flight any more
};

struct readahead {
	const struct engine *engine;
	int fd;
	uint32_t align;
	uint8_t *arena;
	size_t head, tail; // bytes of the arena in use: from tail to head, wrapping
	struct entry ring[DEPTH];
	uint64_t put, got, released; // entries counted from the beginning

	pthread_mutex_t lock; // threads only
	pthread_cond_t work, finished;
	pthread_t worker[WORKERS];
	int workers;
	uint64_t taken; // entries that a worker has begun
	bool stop;
	bool broken; // the kernel may still write into the arena
#ifdef HAVE_LIBURING
	struct io_uring uring;
#endif
};

static struct entry *entry(struct readahead *r, uint64_t i)
{
	return &r->ring[i % DEPTH];
}

// A bad sector is ENODATA to the block layer (BLK_STS_MEDIUM), which here says that the device
// ends.
static int read_error(int error)
{
	return error == ENODATA ? EIO : error;
}

// GOT bytes of the read have come. A short read is finished here, in the ordinary way, so that the
// end of the device is told from a read that was merely cut.
static int complete(struct readahead *r, const struct entry *e, size_t got)
{
	size_t need = (size_t)(e->offset - e->from + e->length);

	if (e->n && got < need) {
		got -= got % r->align;
		ssize_t more =
			io_pread_full(r->fd, r->arena + e->place + got, e->n - got, e->from + got);
		if (more < 0)
			return read_error(errno);
		got += (size_t)more;
	}
	return e->n && got < need ? ENODATA : 0;
}

// ---- threads

static void *worker(void *arg)
{
	struct readahead *r = arg;

	pthread_mutex_lock(&r->lock);
	for (;;) {
		while (!r->stop && r->taken == r->put)
			pthread_cond_wait(&r->work, &r->lock);
		if (r->stop)
			break;
		struct entry *e = entry(r, r->taken++);
		pthread_mutex_unlock(&r->lock);
		int error = complete(r, e, 0);
		pthread_mutex_lock(&r->lock);
		e->error = error;
		e->done = true;
		pthread_cond_signal(&r->finished);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

static int threads_start(struct readahead *r)
{
	pthread_attr_t attr;

	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->work, NULL);
	pthread_cond_init(&r->finished, NULL);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	int bad = 0;
	while (!bad && r->workers < WORKERS) {
		bad = pthread_create(&r->worker[r->workers], &attr, worker, r);
		r->workers += !bad;
	}
	pthread_attr_destroy(&attr);
	errno = bad;
	return r->workers ? 0 : -1; // fewer are slower, not wrong
}

static void threads_queue(struct readahead *r, struct entry *e)
{
	(void)e;
	pthread_mutex_lock(&r->lock);
	r->put++;
	pthread_cond_signal(&r->work);
	pthread_mutex_unlock(&r->lock);
}

static void threads_wait(struct readahead *r, struct entry *e)
{
	pthread_mutex_lock(&r->lock);
	while (!e->done)
		pthread_cond_wait(&r->finished, &r->lock);
	pthread_mutex_unlock(&r->lock);
}

static bool threads_look(struct readahead *r, struct entry *e)
{
	pthread_mutex_lock(&r->lock);
	bool yes = e->done;
	pthread_mutex_unlock(&r->lock);
	return yes;
}

static void threads_stop(struct readahead *r)
{
	pthread_mutex_lock(&r->lock);
	r->stop = true;
	pthread_cond_broadcast(&r->work);
	pthread_mutex_unlock(&r->lock);
	for (int i = 0; i < r->workers; i++)
		pthread_join(r->worker[i], NULL);
	pthread_cond_destroy(&r->finished);
	pthread_cond_destroy(&r->work);
	pthread_mutex_destroy(&r->lock);
}

static const struct engine threads = {"threads",    threads_start, threads_queue,
				      threads_wait, threads_look,  threads_stop};

// ---- io_uring

#ifdef HAVE_LIBURING
static int uring_start(struct readahead *r)
{
	int bad = io_uring_queue_init(DEPTH, &r->uring, 0);

	errno = -bad;
	return bad ? -1 : 0;
}

// Handed to the kernel when somebody waits, many with one system call; but at once when nothing
// else is in flight, so that the disk has work meanwhile.
static void uring_queue(struct readahead *r, struct entry *e)
{
	// There are as many submission entries as ring entries: one is always free.
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);

	r->put++;
	if (!e->n) // a hole
		io_uring_prep_nop(sqe);
	else
		io_uring_prep_read(sqe, r->fd, r->arena + e->place, (unsigned int)e->n, e->from);
	io_uring_sqe_set_data(sqe, e);
	if (io_uring_sq_ready(&r->uring) >= DEPTH / 4 || r->put - r->released == 1)
		io_uring_submit(&r->uring);
}

static void uring_reap(struct readahead *r, struct io_uring_cqe *cqe)
{
	struct entry *e = io_uring_cqe_get_data(cqe);
	int res = cqe->res;

	io_uring_cqe_seen(&r->uring, cqe);
	if (res >= 0 || res == -EAGAIN || res == -EINTR)
		e->error = complete(r, e, res < 0 ? 0 : (size_t)res);
	else
		e->error = read_error(-res);
	e->done = true;
}

static bool passing(int error)
{
	return error == -EAGAIN || error == -EBUSY || error == -EINTR;
}

// Hand over what is queued and reap one completion. 0, or the errno of a ring that does not work
// any more.
static int uring_step(struct readahead *r)
{
	struct io_uring_cqe *cqe;
	int sent = io_uring_sq_ready(&r->uring) ? io_uring_submit(&r->uring) : 0;

	if (sent < 0 && !passing(sent))
		return -sent;
	// Nothing may be in flight when handing over has failed: wait only a moment then, and try
	// again.
	struct __kernel_timespec ms = {.tv_nsec = 1000000};
	int got = sent < 0 ? io_uring_wait_cqe_timeout(&r->uring, &cqe, &ms)
			   : io_uring_wait_cqe(&r->uring, &cqe);
	if (!got)
		uring_reap(r, cqe);
	return !got || got == -ETIME || passing(got) ? 0 : -got;
}

static void uring_wait(struct readahead *r, struct entry *e)
{
	while (!e->done) {
		int bad = uring_step(r);
		if (!bad)
			continue;
		e->error = bad;
		r->broken = e->done = true;
	}
}

// What is queued is handed over, too: the disk has work while the caller has.
static bool uring_look(struct readahead *r, struct entry *e)
{
	struct io_uring_cqe *cqe;

	if (io_uring_sq_ready(&r->uring))
		io_uring_submit(&r->uring);
	while (!e->done && !io_uring_peek_cqe(&r->uring, &cqe))
		uring_reap(r, cqe);
	return e->done;
}

static void uring_stop(struct readahead *r)
{
	for (uint64_t i = r->released; i < r->put; i++)
		uring_wait(r, entry(r, i));
	io_uring_queue_exit(&r->uring);
}

static const struct engine uring = {"io_uring", uring_start, uring_queue,
				    uring_wait, uring_look,  uring_stop};
#endif

static int start_engine(struct readahead *r, bool force_threads)
{
#ifdef HAVE_LIBURING
	r->engine = &uring;
	if (!force_threads && !r->engine->start(r))
		return 0;
#endif
	(void)force_threads;
	r->engine = &threads;
	return r->engine->start(r);
}

// ---- the ring

struct readahead *readahead_new(int fd, uint32_t align, bool force_threads)
{
	struct readahead *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->fd = fd;
	r->align = align;
	r->arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (r->arena != MAP_FAILED)
		madvise(r->arena, ARENA, MADV_HUGEPAGE); // less for the kernel to pin per read
	if (r->arena != MAP_FAILED && !start_engine(r, force_threads))
		return r;
	int keep = errno;
	if (r->arena != MAP_FAILED)
		munmap(r->arena, ARENA);
	free(r);
	errno = keep;
	return NULL;
}

void readahead_free(struct readahead *r)
{
	if (!r)
		return;
	r->engine->stop(r);
	if (!r->broken)
		munmap(r->arena, ARENA);
	free(r);
}

const char *readahead_engine(const struct readahead *r)
{
	return r->engine->name;
}

// ROOM bytes in one piece, or -1. Head meets tail only when nothing is in use, so one page always
// stays free between them.
static long arena_take(struct readahead *r, size_t room)
{
	if (r->put == r->released)
		r->head = r->tail = 0;
	if (r->head < r->tail)
		return r->tail - r->head > room ? (long)r->head : -1;
	if (ARENA - r->head >= room)
		return (long)r->head;
	return r->tail > room ? 0 : -1;
}

int readahead_put(struct readahead *r, uint64_t offset, size_t n)
{
	uint64_t mask = (uint64_t)r->align - 1;
	uint64_t from = offset & ~mask;
	size_t len = (size_t)(((offset + n + mask) & ~mask) - from);
	size_t room = (len + PAGE - 1) / PAGE * PAGE;

	if (r->put - r->released == DEPTH)
		return 0;
	long place = arena_take(r, room);
	if (place < 0)
		return 0;
	struct entry *e = entry(r, r->put);
	*e = (struct entry){.offset = offset,
			    .length = n,
			    .from = from,
			    .n = len,
			    .place = (size_t)place,
			    .room = room};
	r->head = (size_t)place + room;
	r->engine->queue(r, e);
	return 1;
}

int readahead_put_hole(struct readahead *r, uint64_t offset, uint64_t length)
{
	if (r->put - r->released == DEPTH)
		return 0;
	struct entry *e = entry(r, r->put);
	*e = (struct entry){.offset = offset, .length = length};
	r->engine->queue(r, e);
	return 1;
}

int readahead_get(struct readahead *r, struct readahead_chunk *c)
{
	if (r->put == r->got)
		return 0;
	struct entry *e = entry(r, r->got++);
	r->engine->wait(r, e);
	c->offset = e->offset;
	c->length = e->length;
	c->data = e->n ? r->arena + e->place + (e->offset - e->from) : NULL;
	errno = e->error;
	return e->error ? -1 : 1;
}

bool readahead_ready(struct readahead *r)
{
	return r->put > r->got && r->engine->look(r, entry(r, r->got));
}

void readahead_release(struct readahead *r)
{
	struct entry *e = entry(r, r->released);

	if (e->n)
		r->tail = e->place + e->room;
	r->released++;
}
