/* host_support.h: what the tests on a real host share: skipping where it cannot be done, and pages that tell their
 * number. */
#ifndef TEST_HOST_SUPPORT_H
#define TEST_HOST_SUPPORT_H

#include "hostile.h"

#include "sim/host/probe.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The sanitizer of threads slows everything down, too. */
#if defined(__SANITIZE_THREAD__)
#define THREADS_WATCHED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREADS_WATCHED 1
#endif
#endif
#ifndef THREADS_WATCHED
#define THREADS_WATCHED 0
#endif

/* What the host offers, tried once. */
static inline const struct mr_host_probe *host_probed(void)
{
	static struct mr_host_probe probe;

	if (probe.page_size == 0)
		mr_host_probe(&probe);
	return &probe;
}

/* Skips the test that calls it, with the reason, where the host has not what it needs. */
static inline void host_need(enum mr_host_want want, enum mr_host_kind kind)
{
	char line[MR_HOST_LINE];

	if (RUNNING_ON_VALGRIND && want != MR_HOST_WANT_MEMORY) {
		print_message("skipped: valgrind knows no userfaultfd\n");
		skip();
	}
	if (!mr_host_has(host_probed(), want, kind, line)) {
		print_message("skipped: %s\n", line);
		skip();
	}
}

/* Memory of so many pages, of which the pool may have too few. */
static inline void host_allocate(struct mr_host_memory *memory, enum mr_host_kind kind, uint64_t pages)
{
	struct mr_host_problem problem;
	const int error = mr_host_memory_allocate(memory, kind, pages * mr_host_kind_page_size(kind), &problem);

	if (error == -ENOMEM) {
		print_message("skipped: %s\n", problem.text);
		skip();
	}
	if (error)
		fail_msg("%s", problem.text);
}

/* Fills a page with words that follow from its number and a version; none is 0. */
static inline void host_fill(void *page, uint64_t size, uint64_t number, uint64_t version)
{
	for (uint64_t i = 0; i < size / sizeof(uint64_t); i++) {
		const uint64_t word = (number + 1) << 40 ^ version << 24 ^ (i + 1);

		memcpy((uint8_t *)page + i * sizeof(word), &word, sizeof(word));
	}
}

/* Whether a page holds that in a word at its start, at its middle and at its end. Faults if the page is missing. */
static inline bool host_holds(const void *page, uint64_t size, uint64_t number, uint64_t version)
{
	const uint64_t words = size / sizeof(uint64_t), tried[] = {0, words / 2, words - 1};
	bool holds = true;

	for (unsigned i = 0; i < 3; i++) {
		uint64_t word;

		mr_host_load(&word, (const uint8_t *)page + tried[i] * sizeof(word), sizeof(word));
		holds = holds && word == ((number + 1) << 40 ^ version << 24 ^ (tried[i] + 1));
	}
	return holds;
}

#endif
