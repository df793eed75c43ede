// SPDX-License-Identifier: BSD-2-Clause
// A ring of jobs, each one chunk that was read, between the reads and the caller.
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "blocks.h"

enum { JOBS = 32, WORKERS = 4, STACK = 128 * 1024 };

struct job {
	struct readahead_chunk chunk;
	uint8_t *digests;
	bool *zero;
	bool done;
};

struct blocks {
	struct source *source;
	uint32_t block;
	size_t digest_size;
	struct job ring[JOBS];
	uint8_t *digests; // of all jobs
	bool *zero;

	struct digest *digest[WORKERS];
	pthread_t worker[WORKERS];
	int workers;
	pthread_mutex_t lock;
	pthread_cond_t work, finished;
	uint64_t put, taken, out; // jobs counted from the beginning
	bool stop;
};

static struct job *job(struct blocks *b, uint64_t i)
{
	return &b->ring[i % JOBS];
}

static void digest_chunk(const struct blocks *b, struct digest *d, struct job *j)
{
	uint64_t n;

	for (uint64_t at = 0, i = 0; j->chunk.data && at < j->chunk.length; at += n, i++) {
		const uint8_t *p = j->chunk.data + at;
		n = j->chunk.length - at < b->block ? j->chunk.length - at : b->block;
		j->zero[i] = digest_is_zero(p, n);
		if (!j->zero[i])
			digest_of(d, p, n, j->digests + i * b->digest_size);
	}
}

struct hand {
	struct blocks *b;
	struct digest *d;
};

static void *worker(void *arg)
{
	struct hand hand = *(struct hand *)arg;
	struct blocks *b = hand.b;

	free(arg);
	pthread_mutex_lock(&b->lock);
	for (;;) {
		while (!b->stop && b->taken == b->put)
			pthread_cond_wait(&b->work, &b->lock);
		if (b->stop)
			break;
		struct job *j = job(b, b->taken++);
		pthread_mutex_unlock(&b->lock);
		digest_chunk(b, hand.d, j);
		pthread_mutex_lock(&b->lock);
		j->done = true;
		pthread_cond_signal(&b->finished);
	}
	pthread_mutex_unlock(&b->lock);
	return NULL;
}

static int start_worker(struct blocks *b, enum digest_algorithm a, struct fault *f)
{
	struct hand *hand = malloc(sizeof(*hand));
	pthread_attr_t attr;

	if (!hand)
		return fault_errno(f, "digests");
	b->digest[b->workers] = digest_new(a, f);
	if (!b->digest[b->workers]) {
		free(hand);
		return -1;
	}
	*hand = (struct hand){b, b->digest[b->workers]};
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	errno = pthread_create(&b->worker[b->workers], &attr, worker, hand);
	pthread_attr_destroy(&attr);
	if (errno) {
		free(hand);
		digest_free(b->digest[b->workers]);
		return fault_errno(f, "digests: thread");
	}
	b->workers++;
	return 0;
}

// One for each processor that this process may run on.
static int start_workers(struct blocks *b, enum digest_algorithm a, struct fault *f)
{
	cpu_set_t may;
	int want = sched_getaffinity(0, sizeof(may), &may) ? 1 : CPU_COUNT(&may);

	while (b->workers < want && b->workers < WORKERS)
		if (start_worker(b, a, f))
			return -1;
	return 0;
}

struct blocks *blocks_new(struct source *source, enum digest_algorithm a, uint32_t block,
			  struct fault *f)
{
	struct blocks *b = calloc(1, sizeof(*b));
	size_t each = READAHEAD_MAX / block;

	if (!b) {
		fault_errno(f, "digests");
		return NULL;
	}
	b->source = source;
	b->block = block;
	b->digest_size = digest_size(a);
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->work, NULL);
	pthread_cond_init(&b->finished, NULL);
	b->digests = malloc(JOBS * each * b->digest_size);
	b->zero = malloc(JOBS * each * sizeof(*b->zero));
	if (!b->digests || !b->zero) {
		fault_errno(f, "digests");
		blocks_free(b);
		return NULL;
	}
	for (size_t i = 0; i < JOBS; i++) {
		b->ring[i].digests = b->digests + i * each * b->digest_size;
		b->ring[i].zero = b->zero + i * each;
	}
	if (start_workers(b, a, f)) {
		blocks_free(b);
		return NULL;
	}
	return b;
}

void blocks_free(struct blocks *b)
{
	if (!b)
		return;
	pthread_mutex_lock(&b->lock);
	b->stop = true;
	pthread_cond_broadcast(&b->work);
	pthread_mutex_unlock(&b->lock);
	for (int i = 0; i < b->workers; i++) {
		pthread_join(b->worker[i], NULL);
		digest_free(b->digest[i]);
	}
	pthread_cond_destroy(&b->finished);
	pthread_cond_destroy(&b->work);
	pthread_mutex_destroy(&b->lock);
	free(b->digests);
	free(b->zero);
	free(b);
}

int blocks_queue(struct blocks *b, struct extent *e, struct fault *f)
{
	return source_queue(b->source, e, f);
}

// Hand over one chunk. 1; 0: nothing is being read; -1.
static int take_chunk(struct blocks *b, struct fault *f)
{
	struct job *j = job(b, b->put);
	int got = source_next(b->source, &j->chunk, f);

	if (got <= 0)
		return got;
	pthread_mutex_lock(&b->lock);
	j->done = false;
	b->put++;
	pthread_cond_signal(&b->work);
	pthread_mutex_unlock(&b->lock);
	return 1;
}

// All that has been read is handed over; what has not is waited for only if there is nothing else.
int blocks_next(struct blocks *b, struct blocks_result *r, struct fault *f)
{
	while (b->put - b->out < JOBS && (b->put == b->out || readahead_ready(b->source->ahead))) {
		int got = take_chunk(b, f);
		if (got < 0)
			return -1;
		if (!got)
			return 0;
	}
	struct job *j = job(b, b->out);
	pthread_mutex_lock(&b->lock);
	while (!j->done)
		pthread_cond_wait(&b->finished, &b->lock);
	pthread_mutex_unlock(&b->lock);
	*r = (struct blocks_result){.offset = j->chunk.offset,
				    .length = j->chunk.length,
				    .hole = !j->chunk.data,
				    .digests = j->digests,
				    .zero = j->zero};
	return 1;
}

void blocks_release(struct blocks *b)
{
	readahead_release(b->source->ahead);
	b->out++;
}
