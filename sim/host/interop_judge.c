/* interop_judge.c: whether memory and guest are what they must be behind a migration with an end of ours. */
#include "sim/guest/predict.h"
#include "sim/host/clock.h"
#include "sim/host/interop_state.h"

#include <inttypes.h>
#include <string.h>

enum { PAGE_SIZE = 4096, TOUCHES_ON = 100 };

/* ---- Memory that was received ---- */

static void compare(struct mr_interop *interop, const struct mr_guest_memory *sent,
		    const struct mr_guest_memory *received)
{
	struct mr_interop_result *result = interop->result;
	uint64_t first = 0;

	if (sent->size != received->size) {
		mr_interop_fail(interop, "memory: expected %" PRIu64 " bytes, found %" PRIu64, sent->size,
				received->size);
		return;
	}
	result->pages = sent->size / PAGE_SIZE;
	for (uint64_t at = 0; at < sent->size; at += PAGE_SIZE) {
		if (memcmp(sent->bytes + at, received->bytes + at, PAGE_SIZE) == 0)
			continue;
		if (result->lost++ == 0)
			first = at;
	}
	if (result->lost == 0)
		return;
	mr_interop_fail(interop, "memory: %" PRIu64 " pages differ from the source's, the first at 0x%" PRIx64,
			result->lost, first);
	if (!mr_interop_loses_writes(interop) || !interop->guest_ran)
		return;
	result->verdict = MR_INTEROP_LOST;
	snprintf(result->line, sizeof(result->line),
		 "writes to %" PRIu64 " pages were lost by QEMU %s itself, as by all before 9.0 under TCG",
		 result->lost, result->release);
}

/* The region must also be what the guest's own counts of touches make of it. */
static void predict(struct mr_interop *interop, const struct mr_guest_memory *memory)
{
	struct mr_guest_parameters parameters;
	char line[MR_GUEST_LINE];

	if (!mr_guest_parameters_read(memory, &parameters, line) ||
	    mr_guest_check(&parameters, memory, line) != MR_GUEST_HOLDS)
		mr_interop_fail(interop, "guest's memory: %s", line);
}

bool mr_interop_judge_received(struct mr_interop *interop)
{
	struct mr_guest_memory sent, received;
	char line[MR_GUEST_LINE];

	if (!mr_guest_memory_open(&sent, mr_qemu_memory_path(interop->qemu), line))
		return mr_interop_fail(interop, "source's memory: %s", line);
	if (!mr_guest_memory_open(&received, interop->memory, line)) {
		mr_guest_memory_close(&sent);
		return mr_interop_fail(interop, "received memory: %s", line);
	}
	compare(interop, &sent, &received);
	if (interop->result->verdict == MR_INTEROP_HOLDS)
		predict(interop, &received);
	mr_guest_memory_close(&received);
	mr_guest_memory_close(&sent);
	return interop->result->verdict == MR_INTEROP_HOLDS;
}

/* ---- A guest that was sent ---- */

bool mr_interop_judge_sent(struct mr_interop *interop)
{
	struct mr_guest_memory memory;
	uint64_t begin, end;
	char line[MR_GUEST_LINE];

	if (!mr_interop_wait_for_guest(interop, 0, &begin) ||
	    !mr_interop_wait_for_guest(interop, begin + TOUCHES_ON, &end) || !mr_interop_ask(interop, "stop", NULL))
		return false;
	interop->result->touches = end - begin;
	if (!mr_guest_memory_open(&memory, mr_qemu_memory_path(interop->qemu), line))
		return mr_interop_fail(interop, "destination's memory: %s", line);
	interop->result->pages = memory.size / PAGE_SIZE;
	predict(interop, &memory);
	mr_guest_memory_close(&memory);
	return interop->result->verdict == MR_INTEROP_HOLDS;
}
