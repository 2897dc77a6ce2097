/* record_guest.c: the guest of a recorded migration: its image, whether it runs, what its memory must be. */
#include "sim/host/clock.h"
#include "sim/host/record_state.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum {
	PAGE = MR_GUEST_PAGE_SIZE,
	HOLE_FROM = 0xa0000, /* what of the first MiB is no memory of the guest's, or is set by firmware and devices */
	HOLE_TO = 0x100000,
	MIB = 1 << 20,
	PRIVATE_MIB_MAX = 2048, /* more of it is not in one piece */
};

/* ---- The image ---- */

bool mr_recorder_make_image(struct mr_recorder *record)
{
	uint8_t image[MR_GUEST_IMAGE_SIZE];
	char error[MR_GUEST_LINE], path[MR_RECORDER_PATH];
	FILE *file;
	bool written;

	if (!mr_guest_image_make(&record->plan->guest, image, error)) {
		mr_recorder_fail(record, MR_RECORDER_FAILED, "guest: %s", error);
		return false;
	}
	mr_recorder_path(record, "guest.img", path);
	file = fopen(path, "wbe");
	written = file && fwrite(image, sizeof(image), 1, file) == 1;
	if (file && fclose(file) != 0)
		written = false;
	if (!written)
		mr_recorder_fail(record, MR_RECORDER_FAILED, "%s: %s", path, strerror(errno));
	return written;
}

/* ---- Memory ---- */

/* Guest-physical memory up to `size`; of private memory a copy, which a file of this name keeps until it is closed. */
static bool open_memory(struct mr_recorder *record, struct mr_qemu *qemu, const char *name, uint64_t size,
			struct mr_guest_memory *memory)
{
	const char *shared = mr_qemu_memory_path(qemu);
	char error[MR_GUEST_LINE], path[MR_RECORDER_PATH];
	bool opened;

	mr_recorder_path(record, name, path);
	if (!shared &&
	    !mr_recorder_command(record, qemu, "pmemsave",
				 json_pack("{s:i, s:I, s:s}", "val", 0, "size", (json_int_t)size, "filename", path),
				 NULL))
		return false;
	opened = mr_guest_memory_open(memory, shared ? shared : path, error);
	if (!shared)
		unlink(path);
	if (!opened)
		mr_recorder_fail(record, MR_RECORDER_FAILED, "%s", error);
	return opened;
}

static uint64_t whole(const struct mr_recorder *record)
{
	const uint64_t mib = record->plan->memory_mib;

	return (record->plan->backend == MR_QEMU_ANON && mib > PRIVATE_MIB_MAX ? PRIVATE_MIB_MAX : mib) * MIB;
}

/* ---- Before ---- */

static bool read_status(struct mr_recorder *record, struct mr_qemu *qemu, struct mr_guest_status *status)
{
	struct mr_guest_memory memory;
	char error[MR_GUEST_LINE];

	*status = (struct mr_guest_status){.state = MR_GUEST_NOT_STARTED};
	if (!open_memory(record, qemu, "page", MR_GUEST_STATUS_BASE + PAGE, &memory))
		return false;
	/* none is there until the guest has begun */
	mr_guest_status_read(&memory, status, error);
	mr_guest_memory_close(&memory);
	return true;
}

bool mr_recorder_await_guest(struct mr_recorder *record)
{
	struct mr_guest_status status;

	while (read_status(record, record->source, &status)) {
		if (status.state == MR_GUEST_RUNNING)
			return true;
		if (status.state == MR_GUEST_HALTED) {
			mr_recorder_fail(record, MR_RECORDER_FAILED, "guest: %s", mr_guest_error_text(status.error));
			return false;
		}
		mr_recorder_show(record, "filling memory", -1, status.filled * PAGE);
		if (!mr_recorder_wait(record, "the guest has not filled its memory"))
			return false;
	}
	return false;
}

/* ---- Behind ---- */

/* Both guests stand still, and the destination's has not run. */
static void compare(struct mr_recorder *record)
{
	struct mr_guest_memory source, destination;

	if (!open_memory(record, record->source, "page", whole(record), &source))
		return;
	if (open_memory(record, record->destination, "page", whole(record), &destination)) {
		record->equal = 1;
		for (uint64_t at = 0; at + PAGE <= source.size && at + PAGE <= destination.size; at += PAGE) {
			if ((at >= HOLE_FROM && at < HOLE_TO) ||
			    memcmp(source.bytes + at, destination.bytes + at, PAGE) == 0)
				continue;
			record->equal = 0;
			record->pages_lost++;
		}
		mr_guest_memory_close(&destination);
	}
	mr_guest_memory_close(&source);
}

static uint64_t heartbeats(const struct mr_guest_status *status)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < MR_GUEST_VCPUS_MAX; i++)
		sum += status->vcpu[i].heartbeat;
	return sum;
}

static bool stands_still(struct mr_recorder *record)
{
	json_t *answer;
	bool still;

	if (!mr_recorder_command(record, record->destination, "query-status", NULL, &answer))
		return false;
	still = !json_is_true(json_object_get(answer, "running"));
	json_decref(record->destination_run_state);
	record->destination_run_state = answer;
	return still;
}

/* False if it failed; `*went_on`: it has touched, or at least turned. */
static bool run_on(struct mr_recorder *record, bool still, bool *went_on)
{
	struct mr_guest_status before, after;
	const uint64_t until = mr_clock() + (uint64_t)record->plan->run_on_ms * 1000000;

	*went_on = false;
	if (!read_status(record, record->destination, &before) ||
	    (still && !mr_recorder_command(record, record->destination, "cont", NULL, NULL)))
		return false;
	/* a slow host may not have let it run at all */
	while (mr_clock() < until || (!*went_on && mr_clock() < until + UINT64_C(5000000000))) {
		if (!mr_recorder_wait(record, "the destination's guest runs on") ||
		    !read_status(record, record->destination, &after))
			return false;
		*went_on = heartbeats(&after) > heartbeats(&before);
	}
	return mr_recorder_command(record, record->destination, "stop", NULL, NULL);
}

static void name_loss(struct mr_recorder *record)
{
	char count[64] = "writes";

	record->result->memory = MR_RECORDER_LOST;
	if (record->pages_lost)
		snprintf(count, sizeof(count), "writes to %" PRIu64 " pages", record->pages_lost);
	snprintf(record->result->note, sizeof(record->result->note),
		 "QEMU %s under TCG lost %s in precopy: known of releases before 9.0", record->result->source_release,
		 count);
}

static void conclude(struct mr_recorder *record, enum mr_guest_verdict verdict, bool went_on, const char *error)
{
	struct mr_recorder_result *result = record->result;

	if (verdict == MR_GUEST_HOLDS && record->equal != 0) {
		result->memory = MR_RECORDER_EQUAL;
	} else if (!record->stopped_first && mr_recorder_loses_writes(record) &&
		   (verdict == MR_GUEST_HOLDS || verdict == MR_GUEST_DIFFERS)) {
		name_loss(record);
		return;
	} else if (verdict == MR_GUEST_HOLDS || verdict == MR_GUEST_DIFFERS) {
		result->memory = MR_RECORDER_DIFFERS;
		mr_recorder_fail(record, MR_RECORDER_OTHERWISE, "the destination's memory: %s",
				 verdict == MR_GUEST_DIFFERS ? error : "it is not equal to the source's");
	} else {
		mr_recorder_fail(record, MR_RECORDER_OTHERWISE, "the destination's memory: %s", error);
	}
	if (!went_on)
		mr_recorder_fail(record, MR_RECORDER_OTHERWISE, "the destination's guest did not go on");
}

void mr_recorder_judge(struct mr_recorder *record)
{
	struct mr_guest_memory memory;
	enum mr_guest_verdict verdict;
	char error[MR_GUEST_LINE] = "";
	bool still, went_on;

	mr_recorder_show(record, "judging", -1, 0);
	still = stands_still(record);
	if (mr_recorder_has_failed(record))
		return;
	if (still && record->plan->destination_paused)
		compare(record);
	if (!run_on(record, still, &went_on) ||
	    !open_memory(record, record->destination, "page", whole(record), &memory))
		return;
	verdict = mr_guest_check(&record->plan->guest, &memory, error);
	mr_guest_memory_close(&memory);
	conclude(record, verdict, went_on, error);
}
