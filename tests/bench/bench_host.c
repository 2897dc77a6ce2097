/* bench_host.c: real userfaultfd: what our loop costs beside the barest one, and what placing runs of pages gains. */
#include "tests/bench/bench.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "sim/host/probe.h"
#include "sim/host/userfault.h"

enum { ROUNDS = 9, FAULTS = 8192, FAULTS_HUGE = 8, MOST = 2 << 20, POPULATED = 128 << 20 };

static struct mr_host_memory memory;
static struct mr_userfault *userfault;
static uint32_t block;
static uint8_t *content; /* of the longest chunk */

static void need(int error, const struct mr_host_problem *problem)
{
	if (error)
		bench_die(problem->text);
}

static void begin(enum mr_host_kind kind, uint64_t size)
{
	struct mr_host_problem problem;

	need(mr_host_memory_allocate(&memory, kind, size, &problem), &problem);
	userfault = mr_userfault_open(&problem);
	need(!userfault, &problem);
	need(mr_userfault_add(userfault, &memory, &block, &problem), &problem);
}

/* All pages are missing again. */
static void discard(void)
{
	struct mr_host_problem problem;

	need(mr_host_memory_discard(&memory, 0, memory.size, &problem), &problem);
}

static void end(void)
{
	mr_userfault_close(userfault);
	mr_host_memory_free(&memory);
}

static void copy_bare(uint64_t address, uint64_t length)
{
	struct uffdio_copy copy = {.dst = address, .src = (uintptr_t)content, .len = length};

	if (ioctl(mr_userfault_descriptor(userfault), UFFDIO_COPY, &copy) != 0)
		bench_die("UFFDIO_COPY fails");
}

static void copy_ours(uint32_t in, uint64_t offset, uint64_t length)
{
	struct mr_userfault_placed placed;

	if (mr_userfault_place(userfault, in, offset, content, length, &placed) != 0 || placed.placed != length)
		bench_die("a page was not placed");
}

/* ---- From the fault to the page ---- */

static void *serve_bare(void *argument)
{
	const unsigned faults = *(const unsigned *)argument;
	struct pollfd file = {.fd = mr_userfault_descriptor(userfault), .events = POLLIN};
	struct uffd_msg message;

	for (unsigned i = 0; i < faults;) {
		if (poll(&file, 1, -1) != 1)
			bench_die("poll fails");
		if (read(file.fd, &message, sizeof(message)) != sizeof(message))
			continue;
		copy_bare(message.arg.pagefault.address, memory.page_size);
		i++;
	}
	return NULL;
}

static void *serve_ours(void *argument)
{
	const unsigned faults = *(const unsigned *)argument;
	struct mr_userfault_event events[16];

	for (unsigned i = 0; i < faults;) {
		int count;

		if (mr_userfault_wait(userfault, -1) != MR_USERFAULT_READABLE)
			bench_die("waiting for events fails");
		count = mr_userfault_read(userfault, events, 16);
		for (int j = 0; j < count; j++, i++)
			copy_ours(events[j].block, events[j].offset, memory.page_size);
	}
	return NULL;
}

/* Seconds for each fault, in ascending order. */
static void time_faults(void *(*serve)(void *), unsigned faults, double *taken)
{
	pthread_t server;

	discard();
	if (pthread_create(&server, NULL, serve, &faults) != 0)
		bench_die("no thread");
	for (unsigned i = 0; i < faults; i++) {
		const double start = bench_clock(CLOCK_MONOTONIC);

		(void)__atomic_load_n(memory.data + i * memory.page_size, __ATOMIC_RELAXED);
		taken[i] = bench_clock(CLOCK_MONOTONIC) - start;
	}
	pthread_join(server, NULL);
	qsort(taken, faults, sizeof(*taken), bench_compare_doubles);
}

struct latency {
	double median[ROUNDS], late[ROUNDS]; /* the second: of the 99 in 100 fastest, the slowest */
};

static void note(struct latency *latency, unsigned round, const double *taken, unsigned faults)
{
	latency->median[round] = taken[faults / 2];
	latency->late[round] = taken[faults * 99 / 100];
}

static void measure_faults(enum mr_host_kind kind, unsigned faults)
{
	static double taken[FAULTS];
	struct latency ours, bare;
	double ratios[ROUNDS];

	begin(kind, faults * mr_host_kind_page_size(kind));
	for (unsigned i = 0; i < ROUNDS; i++) {
		time_faults(serve_bare, faults, taken);
		note(&bare, i, taken, faults);
		time_faults(serve_ours, faults, taken);
		note(&ours, i, taken, faults);
		ratios[i] = ours.median[i] / bare.median[i];
	}
	end();
	printf("%-34s %8.2f %8.2f %8.2f %8.2f %13.2f %7.2f\n", mr_host_kind_name(kind),
	       bench_median(ours.median, ROUNDS) * 1e6, bench_median(ours.late, ROUNDS) * 1e6,
	       bench_median(bare.median, ROUNDS) * 1e6, bench_median(bare.late, ROUNDS) * 1e6,
	       bench_median(ratios, ROUNDS), 1.15);
	fflush(stdout);
}

/* ---- Filling ---- */

static struct bench_time fill_bare(uint64_t chunk)
{
	struct bench_time start;

	discard();
	start = bench_now();
	for (uint64_t offset = 0; offset < memory.size; offset += chunk)
		copy_bare((uintptr_t)memory.data + offset, chunk);
	return bench_since(start);
}

static struct bench_time fill_ours(uint64_t chunk)
{
	struct bench_time start;

	discard();
	start = bench_now();
	for (uint64_t offset = 0; offset < memory.size; offset += chunk)
		copy_ours(block, offset, chunk);
	return bench_since(start);
}

static void measure_filling(const char *name, uint64_t chunk)
{
	struct bench_samples ours = {0}, bare = {0};

	for (unsigned i = 0; i < ROUNDS; i++) {
		bench_add(&bare, fill_bare(chunk));
		bench_add(&ours, fill_ours(chunk));
	}
	bench_table_row(name, &ours, &bare, 0.95);
}

static void measure_runs(const char *name, uint64_t chunk)
{
	struct bench_samples runs = {0}, pages = {0};

	for (unsigned i = 0; i < ROUNDS; i++) {
		bench_add(&pages, fill_ours(memory.page_size));
		bench_add(&runs, fill_ours(chunk));
	}
	bench_table_row(name, &runs, &pages, 0);
}

/* ---- All ---- */

/* One processor for all threads: waking across two would be most of what is measured. */
static void pin(void)
{
	cpu_set_t allowed, one;

	CPU_ZERO(&one);
	if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
		return;
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed)) {
			CPU_SET(cpu, &one);
			break;
		}
	if (sched_setaffinity(0, sizeof(one), &one) != 0)
		bench_die("no processor to stay on");
}

static void measure_all_faults(const struct mr_host_probe *probe)
{
	char line[MR_HOST_LINE];

	printf("A fault until it is resolved, all threads on one processor, against poll, read, copy\n");
	printf("%-34s %17s %17s %13s %7s\n", "", "migref", "bare", "ratio", "target");
	printf("%-34s %8s %8s %8s %8s\n", "microseconds, medians", "median", "99%", "median", "99%");
	measure_faults(MR_HOST_ANONYMOUS, FAULTS);
	measure_faults(MR_HOST_SHARED, FAULTS);
	if (probe->pools[MR_HOST_HUGE_2M].free >= FAULTS_HUGE)
		measure_faults(MR_HOST_HUGE_2M, FAULTS_HUGE);
	else if (!mr_host_has(probe, MR_HOST_WANT_POSTCOPY, MR_HOST_HUGE_2M, line))
		printf("%-34s %s\n", mr_host_kind_name(MR_HOST_HUGE_2M), line);
}

int main(void)
{
	static struct mr_host_probe probe;
	uint64_t state = 1;
	char line[MR_HOST_LINE];

	mr_host_probe(&probe);
	if (!mr_host_has(&probe, MR_HOST_WANT_POSTCOPY, MR_HOST_ANONYMOUS, line)) {
		printf("not measured: %s\n", line);
		return 0;
	}
	content = bench_map(MOST, false);
	bench_fill_random(content, MOST, &state);
	pin();
	measure_all_faults(&probe);
	begin(MR_HOST_ANONYMOUS, POPULATED);
	printf("\n%d MiB of anonymous memory filled, against the bare system call\n", POPULATED >> 20);
	bench_table_head("UFFDIO_COPY");
	measure_filling("by 4 KiB", 4 << 10);
	measure_filling("by 64 KiB", 64 << 10);
	measure_filling("by 2 MiB", 2 << 20);
	printf("\nRuns of pages by one system call, against page by page\n");
	bench_table_head("page by page");
	measure_runs("runs of 64 KiB", 64 << 10);
	measure_runs("runs of 2 MiB", 2 << 20);
	end();
	return 0;
}
