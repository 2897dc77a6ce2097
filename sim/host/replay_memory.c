/* replay_memory.c: real guest memory for the replay of a recording: the kernel catches the faults, threads raise them.
 */
#include "sim/host/replay_memory.h"

#include "sim/host/clock.h"
#include "sim/host/toucher.h"
#include "sim/host/userfault.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
	ORDINARY_PAGE_SIZE = 4096,
	PATIENCE = 10000, /* ms for the kernel to tell of a fault, or for a thread to go on */
	LOOK_EVERY = 20,  /* ms */
	HOST_EEXIST = 17, /* as the machine is told errors */
	HOST_EINVAL = 22,
};

struct block {
	char name[MR_NAME_MAX + 1];
	struct mr_host_memory memory; /* no data: the block is empty */
	uint64_t length;              /* bytes that the guest has of it */
	uint64_t unit;                /* bytes of a page, as the guest's hosts had it */
	uint64_t pages;
	uint64_t *there; /* bitmap: pages that hold something, by our own account */
	bool caught;
	uint32_t number; /* as the userfault calls it, while it is caught */
};

struct mr_replay_memory {
	struct mr_backing backing;
	enum mr_host_kind ordinary;
	uint32_t target_page_size;
	struct block *blocks;
	uint32_t block_count;
	struct mr_userfault *userfault; /* NULL: no faults are caught */
	uint32_t blocks_by_number[MR_USERFAULT_BLOCKS_MAX];
	struct mr_touchers *touchers;
	unsigned waiting;     /* touches that are not over */
	char host_error[160]; /* what the host refused where nobody could be told */
	struct mr_backing_result result;
};

/* Something behaved otherwise than recorded: the first such thing is told, and then nobody touches any more. */
__attribute__((format(printf, 2, 3))) static void differs(struct mr_replay_memory *memory, const char *format, ...)
{
	va_list arguments;

	if (!memory->result.holds)
		return;
	memory->result.holds = false;
	va_start(arguments, format);
	vsnprintf(memory->result.text, sizeof(memory->result.text), format, arguments);
	va_end(arguments);
}

/* ---- Blocks ---- */

/* Huge pages of other hosts, and their ordinary ones, are made of ordinary ones here, which come and go together. */
static int fail_block(const struct block *block, enum mr_host_kind kind, const struct mr_host_problem *problem,
		      char *error, size_t error_size)
{
	const bool huge = kind == MR_HOST_HUGE_2M || kind == MR_HOST_HUGE_1G;

	snprintf(error, error_size, "block %s: %s%s", block->name, huge ? "not enough huge pages: " : "",
		 problem->text);
	return -1;
}

static int open_block(struct mr_replay_memory *memory, struct block *block, uint64_t length, char *error,
		      size_t error_size)
{
	const enum mr_host_kind kind = mr_host_kind_of(block->unit, memory->ordinary);
	struct mr_host_problem problem;

	if (length == 0)
		return 0;
	block->length = length;
	block->pages = length / block->unit + (length % block->unit != 0);
	block->there = calloc(mr_bitmap_words(block->pages), sizeof(uint64_t));
	if (!block->there) {
		snprintf(error, error_size, "block %s: no memory for a bitmap", block->name);
		return -1;
	}
	if (mr_host_memory_allocate(&block->memory, kind, block->pages * block->unit, &problem) < 0) {
		block->memory.data = NULL;
		return fail_block(block, kind, &problem, error, error_size);
	}
	return 0;
}

static int open_memory(void *argument, const struct mr_incoming_config *config, char *error, size_t error_size)
{
	struct mr_replay_memory *memory = argument;
	const uint64_t ordinary = config->host_page_size ? config->host_page_size : ORDINARY_PAGE_SIZE;

	memory->target_page_size = config->target_page_size ? config->target_page_size : ORDINARY_PAGE_SIZE;
	memory->blocks = calloc((size_t)config->block_count + 1, sizeof(*memory->blocks));
	memory->touchers = mr_touchers_open();
	if (!memory->blocks || !memory->touchers) {
		snprintf(error, error_size, "no memory for blocks");
		return -1;
	}
	for (uint32_t i = 0; i < config->block_count; i++) {
		const struct mr_incoming_block *told = &config->blocks[i];
		struct block *block = &memory->blocks[memory->block_count++];

		snprintf(block->name, sizeof(block->name), "%s", told->name);
		block->unit = told->page_size ? told->page_size : ordinary;
		if (open_block(memory, block, told->used_length, error, error_size) < 0)
			return -1;
	}
	return 0;
}

/* The block, if `length` bytes from `offset` on are in it. */
static struct block *block_at(struct mr_replay_memory *memory, uint32_t index, uint64_t offset, uint64_t length)
{
	struct block *block;

	if (index >= memory->block_count)
		return NULL;
	block = &memory->blocks[index];
	if (!block->memory.data || offset > block->memory.size || length > block->memory.size - offset)
		return NULL;
	return block;
}

static uint64_t page_of(const struct block *block, uint64_t offset)
{
	return offset / block->unit;
}

static uint64_t start_of(const struct block *block, uint64_t offset)
{
	return offset - offset % block->unit;
}

static bool is_huge(const struct block *block)
{
	return block->memory.page_size != mr_host_kind_page_size(MR_HOST_ANONYMOUS);
}

/* ---- The machine's own writes ---- */

/* A huge page that the pool has not got must not become a signal: it is asked for, which may be refused. */
static bool populate(struct mr_replay_memory *memory, struct block *block, uint64_t offset)
{
	if (!is_huge(block))
		return true;
	if (madvise(block->memory.data + start_of(block, offset), block->memory.page_size, MADV_POPULATE_WRITE) == 0)
		return true;
	snprintf(memory->host_error, sizeof(memory->host_error),
		 "block %.40s offset 0x%" PRIx64 ": not enough huge pages: raise nr_hugepages", block->name, offset);
	return false;
}

/* Who writes a page that is missing, and caught, would wait for it, and here there is nobody else to go on. */
static uint8_t *page(void *argument, uint32_t index, uint64_t offset)
{
	struct mr_replay_memory *memory = argument;
	struct block *block = block_at(memory, index, offset, memory->target_page_size);
	const uint64_t last = offset + memory->target_page_size - 1;

	if (!block)
		return NULL;
	for (uint64_t at = start_of(block, offset); at <= last; at += block->unit) {
		if (mr_bitmap_test(block->there, page_of(block, at)))
			continue;
		if (block->caught) {
			differs(memory, "block %s offset 0x%" PRIx64 ": written in place while its page is missing",
				block->name, offset);
			return NULL;
		}
		if (!populate(memory, block, at))
			return NULL;
		mr_bitmap_set(block->there, page_of(block, at), 1);
	}
	return block->memory.data + offset;
}

/* As QEMU does: what reads as zero is not written, but the reading puts the page of zeros there. */
static void zero(void *argument, uint32_t index, uint64_t offset)
{
	const struct mr_replay_memory *memory = argument;
	const size_t size = memory->target_page_size;
	uint8_t *at = page(argument, index, offset);

	if (at && (at[0] != 0 || memcmp(at, at + 1, size - 1) != 0))
		memset(at, 0, size);
}

/* ---- Threads that wait ---- */

/* What a touch read is what memory holds, since nobody has written to it since. */
static void finish_touch(struct mr_replay_memory *memory, unsigned index)
{
	uint8_t held[MR_TOUCH_LENGTH];
	struct mr_touch_wait touch;
	struct block *block;

	if (!mr_touchers_await(memory->touchers, index, PATIENCE)) {
		mr_touchers_look(memory->touchers, index, &touch);
		differs(memory,
			"block %s offset 0x%" PRIx64 ": thread %" PRIu64 " goes on waiting although the page is there",
			memory->blocks[touch.block].name, touch.offset, touch.name);
		return;
	}
	mr_touchers_look(memory->touchers, index, &touch);
	block = &memory->blocks[touch.block];
	if (mr_host_memory_read(&block->memory, touch.offset, held, sizeof(held), NULL) < 0 ||
	    memcmp(held, touch.bytes, sizeof(held)) != 0)
		differs(memory, "block %s offset 0x%" PRIx64 ": thread %" PRIu64 " read other bytes than memory holds",
			block->name, touch.offset, touch.name);
	mr_touchers_forget(memory->touchers, index);
	memory->waiting--;
}

static bool touches_within(const struct mr_replay_memory *memory, unsigned index, uint32_t block, uint64_t offset,
			   uint64_t length)
{
	struct mr_touch_wait touch;

	return mr_touchers_look(memory->touchers, index, &touch) && touch.block == block && touch.offset >= offset &&
	       touch.offset - offset < length;
}

/* Pages of the range have come: who waited for them goes on. Returns how many did. */
static uint64_t finish_touches(struct mr_replay_memory *memory, uint32_t block, uint64_t offset, uint64_t length)
{
	uint64_t count = 0;

	for (unsigned i = 0; memory->waiting && i < mr_touchers_count(memory->touchers); i++) {
		if (!touches_within(memory, i, block, offset, length))
			continue;
		finish_touch(memory, i);
		count++;
	}
	return count;
}

/* ---- Faults ---- */

static bool waits_already(const struct mr_replay_memory *memory, uint64_t thread, uint32_t block, uint64_t offset)
{
	for (unsigned i = 0; i < mr_touchers_count(memory->touchers); i++) {
		struct mr_touch_wait touch;

		if (mr_touchers_look(memory->touchers, i, &touch) && touch.name == thread && touch.block == block &&
		    touch.offset == offset)
			return true;
	}
	return false;
}

static bool is_told_by(const struct mr_replay_memory *memory, const struct mr_userfault_event *event, unsigned index)
{
	const uint32_t block = memory->blocks_by_number[event->block];
	struct mr_touch_wait touch;

	return mr_touchers_look(memory->touchers, index, &touch) && touch.block == block &&
	       touch.offset == event->offset && (event->thread == 0 || event->thread == touch.number);
}

/* The events at hand: true if one of them is about the touch. Who waits already may be told again. */
static bool read_events(struct mr_replay_memory *memory, unsigned index)
{
	enum { BATCH = 16 };
	struct mr_userfault_event events[BATCH];
	const int count = mr_userfault_read(memory->userfault, events, BATCH);
	bool told = false;

	if (count < 0)
		differs(memory, "reading faults: %s", mr_userfault_explain(count));
	for (int i = 0; i < count; i++) {
		bool known = is_told_by(memory, &events[i], index);

		told |= known;
		for (unsigned j = 0; j < mr_touchers_count(memory->touchers) && !known; j++)
			known = is_told_by(memory, &events[i], j);
		if (!known)
			differs(memory,
				"block %s offset 0x%" PRIx64 ": the kernel tells of a fault that was not recorded",
				memory->blocks[memory->blocks_by_number[events[i].block]].name, events[i].offset);
	}
	return told;
}

/* Waits until the kernel tells of the touch. */
static void await_event(struct mr_replay_memory *memory, unsigned index)
{
	const uint64_t until = mr_clock() + (uint64_t)PATIENCE * 1000000;
	struct mr_touch_wait touch = {0};

	while (memory->result.holds) {
		if (mr_userfault_wait(memory->userfault, LOOK_EVERY) > 0 && read_events(memory, index))
			return;
		mr_touchers_look(memory->touchers, index, &touch);
		if (touch.bytes || mr_clock() > until)
			differs(memory,
				"block %s offset 0x%" PRIx64 ": thread %" PRIu64
				" touches it, the page is missing, yet %s",
				memory->blocks[touch.block].name, touch.offset, touch.name,
				touch.bytes ? "it does not wait" : "the kernel tells of no fault");
	}
}

static int fault(void *argument, uint32_t index, uint64_t offset, uint64_t thread, char *error, size_t error_size)
{
	struct mr_replay_memory *memory = argument;
	struct block *block = block_at(memory, index, offset, 1);
	uint64_t start;
	int toucher;

	if (!block || !memory->result.holds)
		return 0;
	start = start_of(block, offset);
	if (!block->caught || mr_bitmap_test(block->there, page_of(block, start))) {
		memory->result.present++;
		return 0;
	}
	if (waits_already(memory, thread, index, start)) {
		memory->result.repeated++;
		return 0;
	}
	toucher = mr_touchers_touch(memory->touchers, thread, index, start, block->memory.data + start);
	if (toucher < 0) {
		snprintf(error, error_size,
			 "block %s offset 0x%" PRIx64 ": no thread to touch it: expected at most %d that wait at once",
			 block->name, offset, MR_TOUCHERS_MAX);
		return -1;
	}
	memory->result.raised++;
	memory->waiting++;
	await_event(memory, (unsigned)toucher);
	return 0;
}

/* ---- Actions ---- */

/* The machine takes what the kernel says of a page or a range; any other refusal is the host's. */
static int refused(const struct block *block, uint64_t offset, int error, char *text, size_t size)
{
	if (error == -EINVAL)
		return HOST_EINVAL;
	snprintf(text, size, "block %s offset 0x%" PRIx64 ": %s", block->name, offset, mr_userfault_explain(error));
	return -1;
}

static int place(struct mr_replay_memory *memory, const struct mr_action_placed *placed, char *text, size_t size)
{
	struct block *block = block_at(memory, placed->block, placed->offset, placed->length);
	struct mr_userfault_placed done = {0};
	int error;

	if (!block || !block->caught || (placed->offset | placed->length) % block->unit != 0)
		return HOST_EINVAL;
	if (placed->zero || !placed->data)
		error = mr_userfault_zero(memory->userfault, block->number, placed->offset, placed->length, &done);
	else
		error = mr_userfault_place(memory->userfault, block->number, placed->offset, placed->data,
					   placed->length, &done);
	if (error)
		return refused(block, placed->offset, error, text, size);
	memory->result.placed += done.placed / memory->target_page_size;
	mr_bitmap_set(block->there, page_of(block, placed->offset), placed->length / block->unit);
	finish_touches(memory, placed->block, placed->offset, placed->length);
	return done.present ? HOST_EEXIST : 0;
}

static int discard(struct mr_replay_memory *memory, const struct mr_action_range *range, char *text, size_t size)
{
	struct block *block = block_at(memory, range->block, range->start, range->length);
	struct mr_host_problem problem;
	uint64_t length = range->length;
	int error;

	if (!block)
		return range->length ? HOST_EINVAL : 0;
	/* The block need not fill its last page. */
	if (range->start + length == block->length)
		length = block->memory.size - range->start;
	if ((range->start | length) % block->unit != 0)
		return HOST_EINVAL;
	error = mr_host_memory_discard(&block->memory, range->start, length, &problem);
	if (error == -EINVAL)
		return HOST_EINVAL;
	if (error) {
		snprintf(text, size, "block %s: %s", block->name, problem.text);
		return -1;
	}
	mr_bitmap_clear(block->there, page_of(block, range->start), length / block->unit);
	return 0;
}

static int begin_catching(struct mr_replay_memory *memory, char *text, size_t size)
{
	struct mr_host_problem problem;

	if (memory->userfault)
		return 0;
	memory->userfault = mr_userfault_open(&problem);
	if (memory->userfault)
		return 0;
	snprintf(text, size, "%s", problem.text);
	return -1;
}

static int catch_block(struct mr_replay_memory *memory, uint32_t index, char *text, size_t size)
{
	struct block *block = block_at(memory, index, 0, 0);
	struct mr_host_problem problem;

	if (!block || block->caught)
		return 0;
	if (!memory->userfault)
		return HOST_EINVAL;
	if (mr_userfault_add(memory->userfault, &block->memory, &block->number, &problem) < 0) {
		snprintf(text, size, "block %s: %s", block->name, problem.text);
		return -1;
	}
	memory->blocks_by_number[block->number] = index;
	block->caught = true;
	return 0;
}

/* Who waits in a huge page would be killed if the pool has none left: it is given the page beforehand. */
static int serve_huge(struct mr_replay_memory *memory, uint32_t index, char *text, size_t size)
{
	const struct block *block = &memory->blocks[index];

	for (unsigned i = 0; is_huge(block) && i < mr_touchers_count(memory->touchers); i++) {
		struct mr_userfault_placed done;
		struct mr_touch_wait touch;
		int error;

		if (!mr_touchers_look(memory->touchers, i, &touch) || touch.block != index)
			continue;
		error = mr_userfault_zero(memory->userfault, block->number, touch.offset, block->memory.page_size,
					  &done);
		if (error)
			return refused(block, touch.offset, error, text, size);
	}
	return 0;
}

/* Who still waits finds zeros. */
static int let_block_go(struct mr_replay_memory *memory, uint32_t index, char *text, size_t size)
{
	struct block *block = block_at(memory, index, 0, 0);
	struct mr_host_problem problem;

	if (!block || !block->caught)
		return 0;
	if (serve_huge(memory, index, text, size) != 0)
		return -1;
	if (mr_userfault_remove(memory->userfault, block->number, &problem) < 0) {
		snprintf(text, size, "block %s: %s", block->name, problem.text);
		return -1;
	}
	block->caught = false;
	memory->result.unserved += finish_touches(memory, index, 0, block->memory.size);
	return 0;
}

static int end_catching(struct mr_replay_memory *memory, char *text, size_t size)
{
	for (uint32_t i = 0; i < memory->block_count; i++)
		if (let_block_go(memory, i, text, size) < 0)
			return -1;
	mr_userfault_close(memory->userfault);
	memory->userfault = NULL;
	return 0;
}

static int carry_out(void *argument, const struct mr_action *action, char *error, size_t error_size)
{
	struct mr_replay_memory *memory = argument;

	switch (action->kind) {
	case MR_ACTION_PLACE:
		return place(memory, &action->placed, error, error_size);
	case MR_ACTION_DISCARD:
		return discard(memory, &action->range, error, error_size);
	case MR_ACTION_CATCH:
		return begin_catching(memory, error, error_size);
	case MR_ACTION_REGISTER:
		return catch_block(memory, action->range.block, error, error_size);
	case MR_ACTION_UNREGISTER:
		return let_block_go(memory, action->range.block, error, error_size);
	case MR_ACTION_RELEASE:
		return end_catching(memory, error, error_size);
	case MR_ACTION_HUGE_PAGES:
		if (block_at(memory, action->range.block, 0, 0))
			mr_host_memory_allow_huge(&memory->blocks[action->range.block].memory);
		return 0;
	default:
		return 0;
	}
}

/* ---- The end ---- */

/* Nobody is left who waits for a page that came: each placing saw to that, and nothing else brings pages. */
static int end(void *argument, struct mr_backing_result *result, char *error, size_t error_size)
{
	struct mr_replay_memory *memory = argument;
	struct mr_touch_wait touch;

	for (unsigned i = 0; i < mr_touchers_count(memory->touchers); i++) {
		if (!mr_touchers_look(memory->touchers, i, &touch))
			continue;
		memory->result.unserved++;
		if (mr_bitmap_test(memory->blocks[touch.block].there,
				   page_of(&memory->blocks[touch.block], touch.offset)))
			differs(memory, "block %s offset 0x%" PRIx64 ": thread %" PRIu64 " still waits for it",
				memory->blocks[touch.block].name, touch.offset, touch.name);
	}
	memory->result.threads = mr_touchers_count(memory->touchers);
	*result = memory->result;
	if (!memory->host_error[0])
		return 0;
	snprintf(error, error_size, "%s", memory->host_error);
	return -1;
}

static int read_memory(void *argument, uint32_t index, uint64_t offset, void *bytes, size_t length, char *error,
		       size_t error_size)
{
	struct mr_replay_memory *memory = argument;
	const struct block *block = block_at(memory, index, offset, length);
	struct mr_host_problem problem;

	if (!block) {
		snprintf(error, error_size, "no block %" PRIu32 " with %zu bytes at 0x%" PRIx64, index, length, offset);
		return -1;
	}
	if (mr_host_memory_read(&block->memory, offset, bytes, length, &problem) == 0)
		return 0;
	snprintf(error, error_size, "block %s: %s", block->name, problem.text);
	return -1;
}

/* ---- There and gone ---- */

struct mr_replay_memory *mr_replay_memory_new(enum mr_host_kind ordinary)
{
	struct mr_replay_memory *memory = calloc(1, sizeof(*memory));

	if (!memory)
		return NULL;
	memory->ordinary = ordinary;
	memory->result.holds = true;
	memory->backing = (struct mr_backing){
		.argument = memory,
		.name = mr_host_backing_name(ordinary),
		.open = open_memory,
		.page = page,
		.zero = zero,
		.carry_out = carry_out,
		.fault = fault,
		.end = end,
		.read = read_memory,
	};
	return memory;
}

/*
 * Who still waits in a huge page would be given one, or killed if the pool has none left: it finds ordinary memory in
 * its place.
 */
static void replace_huge(struct block *block)
{
	if (!block->caught || !is_huge(block))
		return;
	(void)mmap(block->memory.data, block->memory.size, PROT_READ | PROT_WRITE,
		   MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

void mr_replay_memory_free(struct mr_replay_memory *memory)
{
	if (!memory)
		return;
	for (uint32_t i = 0; i < memory->block_count; i++)
		if (memory->blocks[i].memory.data)
			replace_huge(&memory->blocks[i]);
	mr_userfault_close(memory->userfault);
	mr_touchers_close(memory->touchers);
	for (uint32_t i = 0; i < memory->block_count; i++) {
		if (memory->blocks[i].memory.data)
			mr_host_memory_free(&memory->blocks[i].memory);
		free(memory->blocks[i].there);
	}
	free(memory->blocks);
	free(memory);
}

const struct mr_backing *mr_replay_memory_backing(const struct mr_replay_memory *memory)
{
	return &memory->backing;
}
