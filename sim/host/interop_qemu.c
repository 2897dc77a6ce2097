/* interop_qemu.c: the QEMU of a migration with an end of ours: its guest, its settings, and how it is asked. */
#include "sim/guest/predict.h"
#include "sim/host/clock.h"
#include "sim/host/interop_state.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	ERROR_MAX = 300,
	PAGES_PER_MIB = 256,
	REGION_SHARE = 8, /* of memory: where KVM is slow, filling it takes long */
	WORKING_SET = 64, /* pages that a vCPU writes to for a while: few enough for precopy to come to its end */
	PHASE = 100000,   /* touches on one working set */
};

/* ---- The guest ---- */

static void set_patterns(const struct mr_interop *interop, struct mr_guest_parameters *parameters)
{
	mr_guest_parameters_default(parameters);
	parameters->region_pages = (uint64_t)interop->options->memory_mib * PAGES_PER_MIB / REGION_SHARE;
	parameters->vcpus = interop->options->vcpus;
	parameters->filled = 1000;
	parameters->vcpu[0] = (struct mr_guest_vcpu){.kind = MR_PATTERN_PHASED,
						     .write_permille = 500,
						     .pages = parameters->region_pages,
						     .working_set = WORKING_SET,
						     .phase = PHASE};
	/* The others read anywhere: in postcopy they miss pages, in precopy they make none dirty. */
	for (uint32_t i = 1; i < MR_GUEST_VCPUS_MAX; i++)
		parameters->vcpu[i] =
			(struct mr_guest_vcpu){.kind = MR_PATTERN_RANDOM, .pages = parameters->region_pages};
}

static bool write_image(struct mr_interop *interop)
{
	static uint8_t image[MR_GUEST_IMAGE_SIZE];
	struct mr_guest_parameters parameters;
	char line[MR_GUEST_LINE];
	FILE *file;
	bool written;

	set_patterns(interop, &parameters);
	if (!mr_guest_image_make(&parameters, image, line))
		return mr_interop_fail(interop, "test guest: %s", line);
	file = fopen(interop->image, "wb");
	written = file && fwrite(image, 1, sizeof(image), file) == sizeof(image);
	if (file && fclose(file) != 0)
		written = false;
	return written || mr_interop_fail(interop, "%s: the image cannot be written", interop->image);
}

static uint64_t touches_of(const struct mr_guest_status *status)
{
	uint64_t touches = 0;

	for (uint32_t i = 0; i < MR_GUEST_VCPUS_MAX; i++)
		touches += status->vcpu[i].done;
	return touches;
}

bool mr_interop_wait_for_guest(struct mr_interop *interop, uint64_t touches, uint64_t *now)
{
	struct mr_guest_status status = {0};
	struct mr_guest_memory memory;
	char line[MR_GUEST_LINE] = "";
	bool runs = false;

	if (!mr_guest_memory_open(&memory, mr_qemu_memory_path(interop->qemu), line))
		return mr_interop_fail(interop, "guest: %s", line);
	while (!runs && mr_interop_has_time(interop, "for the guest to run")) {
		runs = mr_guest_status_read(&memory, &status, line) && status.state == MR_GUEST_RUNNING &&
		       touches_of(&status) > touches;
		if (status.state == MR_GUEST_HALTED) {
			mr_interop_fail(interop, "guest: halted: %s", mr_guest_error_text(status.error));
			break;
		}
		if (!runs)
			mr_clock_sleep(MR_INTEROP_LOOK);
	}
	mr_guest_memory_close(&memory);
	if (now)
		*now = touches_of(&status);
	return runs;
}

/* ---- Commands ---- */

bool mr_interop_ask(struct mr_interop *interop, const char *command, json_t *arguments)
{
	char error[ERROR_MAX];

	if (mr_qemu_execute(interop->qemu, command, arguments, NULL, error, sizeof(error)) == MR_QMP_DONE)
		return true;
	return mr_interop_fail(interop, "%s", error);
}

bool mr_interop_status(struct mr_interop *interop, char status[40], char reason[200])
{
	char error[ERROR_MAX];
	const char *name, *why;
	json_t *answer;

	if (mr_qemu_execute(interop->qemu, "query-migrate", NULL, &answer, error, sizeof(error)) != MR_QMP_DONE)
		return mr_interop_fail(interop, "%s", error);
	name = json_string_value(json_object_get(answer, "status"));
	why = json_string_value(json_object_get(answer, "error-desc"));
	snprintf(status, 40, "%s", name ? name : "none");
	if (reason)
		snprintf(reason, 200, "%s", why ? why : "no reason given");
	json_decref(answer);
	return true;
}

/* ---- Settings ---- */

/* What this QEMU has not is no fault of anybody's. */
static bool set(struct mr_interop *interop, const char *command, json_t *arguments)
{
	char error[ERROR_MAX];
	const enum mr_qmp_status status =
		mr_qemu_execute(interop->qemu, command, arguments, NULL, error, sizeof(error));

	if (status == MR_QMP_DONE)
		return true;
	mr_interop_fail(interop, "%s", error);
	if (status == MR_QMP_REFUSED)
		interop->result->verdict = MR_INTEROP_SKIPPED;
	return false;
}

static bool set_capabilities(struct mr_interop *interop)
{
	const char *list = interop->options->mode->capabilities;
	json_t *array = json_array();

	while (*list) {
		const size_t length = strcspn(list, ",");

		json_array_append_new(array, json_pack("{s:s%, s:b}", "capability", list, length, "state", 1));
		list += length + (list[length] == ',');
	}
	return set(interop, "migrate-set-capabilities", json_pack("{s:o}", "capabilities", array));
}

static bool set_parameters(struct mr_interop *interop)
{
	const struct mr_interop_mode *mode = interop->options->mode;
	json_t *parameters = json_pack("{s:I}", "max-bandwidth", (json_int_t)mr_interop_bandwidth(mode));

	if (mode->switches)
		json_object_set_new(parameters, "max-postcopy-bandwidth", json_integer(MR_INTEROP_POSTCOPY_BANDWIDTH));
	if (mode->rewrites)
		json_object_set_new(parameters, "downtime-limit", json_integer(1));
	if (mode->compression) {
		json_object_set_new(parameters, "multifd-channels", json_integer(MR_INTEROP_MULTIFD_CHANNELS));
		json_object_set_new(parameters, "multifd-compression", json_string(mode->compression));
	}
	return set(interop, "migrate-set-parameters", parameters);
}

bool mr_interop_start_qemu(struct mr_interop *interop)
{
	const struct mr_interop_options *options = interop->options;
	const struct mr_qemu_options start = {
		.name = options->direction == MR_INTEROP_RECEIVE ? "source" : "destination",
		.binary = options->qemu,
		.machine = options->machine,
		.accel = options->accel,
		.memory_mib = options->memory_mib,
		.backend = MR_QEMU_FILE,
		.vcpus = options->vcpus,
		.image = interop->image,
		.incoming = options->direction == MR_INTEROP_SEND,
	};
	char error[ERROR_MAX];

	if (!write_image(interop))
		return false;
	if (mr_qemu_start(&interop->qemu, &start, error, sizeof(error)) < 0) {
		mr_interop_fail(interop, "%s", error);
		interop->result->verdict = MR_INTEROP_UNABLE;
		return false;
	}
	snprintf(interop->result->release, sizeof(interop->result->release), "%s", mr_qemu_release(interop->qemu));
	return set_capabilities(interop) && set_parameters(interop);
}
