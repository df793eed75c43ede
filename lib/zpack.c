// SPDX-License-Identifier: BSD-2-Clause
// A ring of jobs: the owner fills and empties it in order, the threads pick the next one that
// nobody works on.
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <zstd.h>

#include "zpack.h"

struct zpack_opener {
	ZSTD_DCtx *z;
};

struct zpack_opener *zpack_opener_new(void)
{
	struct zpack_opener *o = malloc(sizeof(*o));

	if (o && !(o->z = ZSTD_createDCtx())) {
		free(o);
		o = NULL;
	}
	if (!o)
		errno = ENOMEM;
	return o;
}

void zpack_opener_free(struct zpack_opener *o)
{
	if (o)
		ZSTD_freeDCtx(o->z);
	free(o);
}

int zpack_open(struct zpack_opener *o, const void *packed, size_t packed_n, void *content, size_t n,
	       const char **why)
{
	// Both calls look at the zstd frame's headers only.
	if (ZSTD_getFrameContentSize(packed, packed_n) != n) {
		*why = "its zstd frame says another length, or none";
		return -1;
	}
	if (ZSTD_findFrameCompressedSize(packed, packed_n) != packed_n) {
		*why = "not exactly one zstd frame";
		return -1;
	}
	// In one pass into a buffer of the content's size, zstd allocates no window, however large
	// its header says it is.
	size_t r = ZSTD_decompressDCtx(o->z, content, n, packed, packed_n);
	if (ZSTD_isError(r)) {
		*why = ZSTD_getErrorName(r);
		return -1;
	}
	*why = "shorter than its zstd frame says";
	return r == n ? 0 : -1;
}

// ---- the pool

enum state { EMPTY, GIVEN, WORKED_ON, FINISHED };

struct slot {
	struct zpack_job job;
	enum state state;
};

struct zpack_pool {
	pthread_mutex_t lock;
	pthread_cond_t given, finished;
	bool ending;
	int level;
	size_t packed_max;
	unsigned int slots, head, tail,
		next; // head: to fill; tail: oldest given; next: for a thread. Modulo slots.
	unsigned int threads;
	struct slot *slot;
	pthread_t *thread;
};

static void compress(struct zpack_pool *p, ZSTD_CCtx *z, struct zpack_job *j)
{
	size_t r =
		ZSTD_compressCCtx(z, j->packed, p->packed_max, j->content, j->content_n, p->level);

	j->error = ZSTD_isError(r) ? ENOMEM : 0;
	j->packed_n = j->error || r >= j->content_n ? 0 : r;
}

static void *work(void *arg)
{
	struct zpack_pool *p = arg;
	ZSTD_CCtx *z = ZSTD_createCCtx();

	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct slot *s = &p->slot[p->next];
		if (p->ending)
			break;
		if (s->state != GIVEN) {
			pthread_cond_wait(&p->given, &p->lock);
			continue;
		}
		p->next = (p->next + 1) % p->slots;
		s->state = WORKED_ON;
		pthread_mutex_unlock(&p->lock);
		if (z)
			compress(p, z, &s->job);
		else
			s->job.error = ENOMEM;
		pthread_mutex_lock(&p->lock);
		s->state = FINISHED;
		pthread_cond_signal(&p->finished);
	}
	pthread_mutex_unlock(&p->lock);
	ZSTD_freeCCtx(z);
	return NULL;
}

static int make_slots(struct zpack_pool *p, size_t content_max)
{
	p->slot = calloc(p->slots, sizeof(*p->slot));
	if (!p->slot)
		return -1;
	for (unsigned int i = 0; i < p->slots; i++) {
		struct zpack_job *j = &p->slot[i].job;
		j->content = malloc(content_max);
		j->packed = malloc(p->packed_max);
		if (!j->content || !j->packed)
			return -1;
	}
	return 0;
}

// Signals are the business of the thread that owns the pool.
static int start_threads(struct zpack_pool *p, unsigned int threads)
{
	sigset_t all, before;
	int error = 0;

	p->thread = calloc(threads, sizeof(*p->thread));
	if (!p->thread)
		return -1;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (; p->threads < threads && !error; p->threads += !error)
		error = pthread_create(&p->thread[p->threads], NULL, work, p);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = error;
	return error ? -1 : 0;
}

struct zpack_pool *zpack_pool_new(int level, int threads, size_t content_max)
{
	struct zpack_pool *p;

	if (level < 1 || level > 19 || threads < 1 || threads > 64) {
		errno = EINVAL;
		return NULL;
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->given, NULL);
	pthread_cond_init(&p->finished, NULL);
	p->level = level;
	p->packed_max = ZSTD_compressBound(content_max);
	p->slots = (unsigned int)threads + 2; // one being filled, one being written out
	if (make_slots(p, content_max) || start_threads(p, (unsigned int)threads)) {
		int keep = errno;
		zpack_pool_free(p);
		errno = keep;
		return NULL;
	}
	return p;
}

void zpack_pool_free(struct zpack_pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->ending = true;
	pthread_cond_broadcast(&p->given);
	pthread_mutex_unlock(&p->lock);
	for (unsigned int i = 0; i < p->threads; i++)
		pthread_join(p->thread[i], NULL);
	for (unsigned int i = 0; p->slot && i < p->slots; i++) {
		free(p->slot[i].job.content);
		free(p->slot[i].job.packed);
	}
	pthread_cond_destroy(&p->finished);
	pthread_cond_destroy(&p->given);
	pthread_mutex_destroy(&p->lock);
	free(p->slot);
	free(p->thread);
	free(p);
}

struct zpack_job *zpack_room(struct zpack_pool *p)
{
	struct slot *s = &p->slot[p->head];

	pthread_mutex_lock(&p->lock);
	bool empty = s->state == EMPTY;
	pthread_mutex_unlock(&p->lock);
	return empty ? &s->job : NULL;
}

void zpack_give(struct zpack_pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->slot[p->head].state = GIVEN;
	p->head = (p->head + 1) % p->slots;
	pthread_cond_signal(&p->given);
	pthread_mutex_unlock(&p->lock);
}

struct zpack_job *zpack_take(struct zpack_pool *p, int wait)
{
	struct slot *s = &p->slot[p->tail];

	pthread_mutex_lock(&p->lock);
	while (wait && s->state != EMPTY && s->state != FINISHED)
		pthread_cond_wait(&p->finished, &p->lock);
	bool finished = s->state == FINISHED;
	pthread_mutex_unlock(&p->lock);
	return finished ? &s->job : NULL;
}

void zpack_drop(struct zpack_pool *p)
{
	struct slot *s = &p->slot[p->tail];

	pthread_mutex_lock(&p->lock);
	s->job.content_n = s->job.packed_n = 0;
	s->state = EMPTY;
	p->tail = (p->tail + 1) % p->slots;
	pthread_mutex_unlock(&p->lock);
}
