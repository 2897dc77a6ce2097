/* test_allocation.c: every vector with each of its allocations failing, and the memory that changed vectors ask for. */
#include "hostile.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EVERY = 512 }; /* allocations of one reading that fail one by one; of those behind it some do */

/* Bytes of memory beside the bitmaps (1 GiB at most, untouched memory for the most part) and a zstd window. */
#define MEMORY_FIXED  (((size_t)1 << 30) + ((size_t)1 << 28))
#define MEMORY_FACTOR ((size_t)256)

/* ---- Allocations ---- */

#if !SANITIZED

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void __libc_free(void *memory);

#endif

/* Counted while `armed`; the allocation number `failing`, from 1, fails. */
static struct {
	bool armed;
	size_t count, failing;
	size_t live; /* blocks that were not freed */
	size_t bytes, peak;
} heap;

#if !SANITIZED

static bool refuses(void)
{
	return heap.armed && ++heap.count == heap.failing;
}

static void *note(void *memory)
{
	if (!heap.armed || !memory)
		return memory;
	heap.live++;
	heap.bytes += malloc_usable_size(memory);
	if (heap.bytes > heap.peak)
		heap.peak = heap.bytes;
	return memory;
}

static void forget(void *memory)
{
	if (!heap.armed || !memory)
		return;
	heap.live--;
	heap.bytes -= malloc_usable_size(memory);
}

void *malloc(size_t size)
{
	return refuses() ? NULL : note(__libc_malloc(size));
}

void *calloc(size_t nmemb, size_t size)
{
	return refuses() ? NULL : note(__libc_calloc(nmemb, size));
}

void *realloc(void *ptr, size_t size)
{
	void *moved;
	size_t before;

	if (refuses())
		return NULL;
	before = heap.armed && ptr ? malloc_usable_size(ptr) : 0;
	moved = __libc_realloc(ptr, size);
	if (moved && ptr && heap.armed) {
		heap.live--;
		heap.bytes -= before;
	}
	return moved ? note(moved) : NULL;
}

void free(void *ptr)
{
	forget(ptr);
	__libc_free(ptr);
}

#endif

static void arm(size_t failing)
{
	memset(&heap, 0, sizeof(heap));
	heap.failing = failing;
	heap.armed = true;
}

static bool has_place(const struct hostile_place *places, size_t count, const struct hostile_place *place)
{
	for (size_t i = 0; i < count; i++)
		if (places[i].rule == place->rule && places[i].channel == place->channel &&
		    places[i].backward == place->backward && places[i].offset == place->offset)
			return true;
	return false;
}

/* A finding that is lost must be made up for by an error or by a finding that says so. */
static bool is_silent_loss(const struct hostile_place *expected, size_t count)
{
	bool lost = false;

	if (hostile.refused)
		return false;
	for (size_t i = 0; i < hostile.findings && i < HOSTILE_SEEN_MAX; i++)
		if (!has_place(expected, count, &hostile.seen[i]))
			return false;
	for (size_t i = 0; i < count; i++)
		lost = lost || !has_place(hostile.seen, hostile.findings, &expected[i]);
	return lost;
}

static void fail_allocations(struct mr_vector *vector)
{
	static struct hostile_place expected[HOSTILE_SEEN_MAX];
	size_t count, allocations;

	arm(0);
	hostile_read(vector, NULL);
	heap.armed = false;
	allocations = heap.count;
	count = hostile.findings < HOSTILE_SEEN_MAX ? hostile.findings : HOSTILE_SEEN_MAX;
	memcpy(expected, hostile.seen, count * sizeof(expected[0]));
	/* the thousands of one JSON text differ in nothing but the depth */
	for (size_t failing = 1; failing <= allocations; failing += failing < EVERY ? 1 : failing / 64) {
		arm(failing);
		hostile_read(vector, NULL);
		heap.armed = false;
		if (hostile.broken || heap.live != 0)
			fail_msg("%s: allocation %zu of %zu fails: %zu blocks not freed%s", vector->id, failing,
				 allocations, heap.live, hostile.broken ? ", records that do not tile" : "");
		if (is_silent_loss(expected, count))
			fail_msg("%s: allocation %zu of %zu fails, and a finding is missing without a word", vector->id,
				 failing, allocations);
	}
}

static void measure_numbers(struct mr_vector *vector)
{
	const uint64_t extremes[] = {0, 1, UINT64_MAX, UINT64_MAX - 1};

	hostile_find_targets(vector);
	for (size_t i = 0; i < hostile_target_count; i++) {
		const struct hostile_target target = hostile_targets[i];
		uint8_t *at = vector->channels[target.channel].bytes + target.offset;
		uint8_t before[8];

		if (!target.number || target.length > sizeof(before))
			continue;
		memcpy(before, at, target.length);
		for (size_t j = 0; j < sizeof(extremes) / sizeof(extremes[0]); j++) {
			hostile_set_number(at, target.length, extremes[j]);
			arm(0);
			hostile_read(vector, NULL);
			heap.armed = false;
			if (heap.live != 0 || heap.peak > MEMORY_FIXED + MEMORY_FACTOR * hostile.bytes)
				fail_msg("%s, byte %zu: %zu bytes of memory for %zu of input, %zu blocks not freed",
					 vector->id, target.offset, heap.peak, hostile.bytes, heap.live);
		}
		memcpy(at, before, target.length);
	}
}

static void test_allocations(void **state)
{
	(void)state;
	/* they bring allocators of their own, which cannot be told to fail */
	if (SANITIZED || RUNNING_ON_VALGRIND)
		skip();
	hostile_each_vector(fail_allocations);
}

static void test_memory(void **state)
{
	(void)state;
	if (SANITIZED || RUNNING_ON_VALGRIND)
		skip();
	hostile_each_vector(measure_numbers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_allocations),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
