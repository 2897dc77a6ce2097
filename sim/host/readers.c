/* readers.c: threads, or turns, that read pages by patterns. */
#include "sim/host/readers.h"

#include "sim/host/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	SLEEP_AT_LEAST = 60000, /* ns: less is not worth a system call */
	SLEEP_AT_MOST = 2000000,
	MICROSECOND = 1000,
};

struct reader {
	struct mr_readers *all;
	struct mr_reader setup;
	struct mr_pattern pattern;
	uint64_t made; /* touches */
	uint64_t due;

	/* as a thread */
	pthread_t thread;
	bool started;
	_Atomic uint32_t number; /* of the thread */
	_Atomic bool faulted;

	/* without */
	bool waits, ended;
	uint64_t offset, since;

	pthread_mutex_t lock; /* of the figures */
	struct mr_readers_figures figures;
};

struct mr_readers {
	struct mr_readers_setup setup;
	_Atomic bool stops;
	struct reader readers[];
};

struct mr_readers *mr_readers_new(const struct mr_readers_setup *setup)
{
	struct mr_readers *readers = calloc(1, sizeof(*readers) + setup->count * sizeof(struct reader));

	if (!readers)
		return NULL;
	readers->setup = *setup;
	for (uint32_t i = 0; i < setup->count; i++) {
		struct reader *reader = &readers->readers[i];

		reader->all = readers;
		reader->setup = setup->readers[i];
		pthread_mutex_init(&reader->lock, NULL);
		mr_pattern_init(&reader->pattern, &reader->setup.pattern, setup->seed, i);
	}
	readers->setup.readers = NULL;
	return readers;
}

void mr_readers_free(struct mr_readers *readers)
{
	for (uint32_t i = 0; readers && i < readers->setup.count; i++)
		pthread_mutex_destroy(&readers->readers[i].lock);
	free(readers);
}

/* ---- Figures ---- */

static size_t bucket_of(uint64_t latency)
{
	size_t bucket = 0;

	for (uint64_t left = latency / MICROSECOND; left > 1 && bucket + 1 < MR_READERS_BUCKETS; left /= 2)
		bucket++;
	return bucket;
}

static void count(struct reader *reader, bool fault, uint64_t latency)
{
	struct mr_readers_figures *figures = &reader->figures;

	pthread_mutex_lock(&reader->lock);
	figures->touches += !fault;
	if (fault) {
		figures->faults++;
		figures->latency_sum += latency;
		figures->latency[bucket_of(latency)]++;
		if (latency > figures->latency_max)
			figures->latency_max = latency;
	}
	pthread_mutex_unlock(&reader->lock);
}

void mr_readers_figures(struct mr_readers *readers, struct mr_readers_figures *sum)
{
	*sum = (struct mr_readers_figures){0};
	for (uint32_t i = 0; i < readers->setup.count; i++) {
		struct reader *reader = &readers->readers[i];
		const struct mr_readers_figures *figures = &reader->figures;

		pthread_mutex_lock(&reader->lock);
		sum->touches += figures->touches;
		sum->faults += figures->faults;
		sum->latency_sum += figures->latency_sum;
		if (figures->latency_max > sum->latency_max)
			sum->latency_max = figures->latency_max;
		for (size_t j = 0; j < MR_READERS_BUCKETS; j++)
			sum->latency[j] += figures->latency[j];
		pthread_mutex_unlock(&reader->lock);
	}
}

/* ---- Touches ---- */

/* False if there will be none. */
static bool next(struct reader *reader, struct mr_touch *touch)
{
	const uint64_t most = reader->all->setup.touches;

	if ((most && reader->made == most) || !mr_pattern_next(&reader->pattern, touch))
		return false;
	reader->made++;
	reader->due += reader->setup.interval * (1 + (uint64_t)touch->pauses);
	return true;
}

static void read_page(struct reader *reader, const struct mr_touch *touch)
{
	const struct mr_readers_setup *setup = &reader->all->setup;
	const uint64_t before = mr_clock();
	uint8_t bytes[8];

	mr_host_load(bytes, setup->memories[reader->setup.block].data + touch->page * setup->target_page_size,
		     sizeof(bytes));
	count(reader, false, 0);
	if (atomic_exchange(&reader->faulted, false))
		count(reader, true, mr_clock() - before);
}

/* ---- As threads ---- */

static bool sleep_until_due(const struct reader *reader)
{
	for (;;) {
		const uint64_t now = mr_clock();

		if (atomic_load(&reader->all->stops))
			return false;
		if (now + SLEEP_AT_LEAST >= reader->due)
			return true;
		mr_clock_sleep(reader->due - now < SLEEP_AT_MOST ? reader->due - now : SLEEP_AT_MOST);
	}
}

static void *run(void *argument)
{
	struct reader *reader = argument;
	struct mr_touch touch;

	atomic_store(&reader->number, (uint32_t)gettid());
	reader->due = mr_clock();
	while (next(reader, &touch) && sleep_until_due(reader)) {
		read_page(reader, &touch);
		/* time in which it waited is not made up for */
		if (mr_clock() > reader->due + SLEEP_AT_MOST)
			reader->due = mr_clock();
	}
	return NULL;
}

int mr_readers_start(struct mr_readers *readers)
{
	for (uint32_t i = 0; i < readers->setup.count; i++) {
		struct reader *reader = &readers->readers[i];
		const int error = pthread_create(&reader->thread, NULL, run, reader);

		if (error)
			return error;
		reader->started = true;
	}
	return 0;
}

void mr_readers_ask_to_stop(struct mr_readers *readers)
{
	atomic_store(&readers->stops, true);
}

void mr_readers_stop(struct mr_readers *readers)
{
	mr_readers_ask_to_stop(readers);
	for (uint32_t i = 0; i < readers->setup.count; i++) {
		if (readers->readers[i].started)
			pthread_join(readers->readers[i].thread, NULL);
		readers->readers[i].started = false;
	}
}

int mr_readers_find(const struct mr_readers *readers, uint32_t thread)
{
	for (uint32_t i = 0; thread && i < readers->setup.count; i++)
		if (atomic_load(&readers->readers[i].number) == thread)
			return (int)i;
	return -1;
}

void mr_readers_note_fault(struct mr_readers *readers, int reader)
{
	if (reader >= 0)
		atomic_store(&readers->readers[reader].faulted, true);
}

/* ---- Without threads ---- */

void mr_readers_begin(struct mr_readers *readers, uint64_t now)
{
	for (uint32_t i = 0; i < readers->setup.count; i++)
		readers->readers[i].due = now;
}

uint64_t mr_readers_due(const struct mr_readers *readers)
{
	uint64_t due = UINT64_MAX;

	for (uint32_t i = 0; i < readers->setup.count; i++) {
		const struct reader *reader = &readers->readers[i];

		if (!reader->waits && !reader->ended && reader->due < due)
			due = reader->due;
	}
	return due;
}

bool mr_readers_touch(struct mr_readers *readers, uint64_t now, uint32_t *reader, uint32_t *block, uint64_t *offset)
{
	for (uint32_t i = 0; i < readers->setup.count; i++) {
		struct reader *candidate = &readers->readers[i];
		struct mr_touch touch;

		if (candidate->waits || candidate->ended || candidate->due > now)
			continue;
		if (!next(candidate, &touch)) {
			candidate->ended = true;
			continue;
		}
		count(candidate, false, 0);
		*reader = i;
		*block = candidate->setup.block;
		*offset = candidate->offset = touch.page * readers->setup.target_page_size;
		return true;
	}
	return false;
}

void mr_readers_wait(struct mr_readers *readers, uint32_t reader, uint64_t now)
{
	readers->readers[reader].waits = true;
	readers->readers[reader].since = now;
}

void mr_readers_wake(struct mr_readers *readers, uint32_t block, uint64_t offset, uint64_t length, uint64_t now)
{
	for (uint32_t i = 0; i < readers->setup.count; i++) {
		struct reader *reader = &readers->readers[i];

		if (!reader->waits || reader->setup.block != block || reader->offset < offset ||
		    reader->offset - offset >= length)
			continue;
		reader->waits = false;
		reader->due = now + reader->setup.interval;
		count(reader, true, now - reader->since);
	}
}
