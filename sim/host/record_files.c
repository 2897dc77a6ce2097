/* record_files.c: what a recorded migration keeps beside the streams: memory, traces, standard errors, the manifest. */
#include "sim/host/record_state.h"
#include "sim/record/packed_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum {
	CHUNK = 256 << 10,
	PRIVATE_MIB_MAX = 2048, /* more of it is not in one piece */
};

/* ---- Files ---- */

static void copy(struct mr_recorder *record, struct mr_packed_file *to, int from, const char *path)
{
	static uint8_t chunk[CHUNK];
	ssize_t length;

	while ((length = read(from, chunk, sizeof(chunk))) > 0)
		mr_packed_write(to, (struct mr_bytes){chunk, (size_t)length});
	if (length < 0)
		mr_recorder_fail(record, MR_RECORDER_FAILED, "%s: %s", path, strerror(errno));
}

/* Puts a file into the recording, unless it is empty. `path` is for messages. */
static void keep_open(struct mr_recorder *record, int from, const char *path, const char *name)
{
	struct mr_packed_content content;
	struct mr_packed_file *to;
	char error[MR_RECORDER_LINE];

	if (lseek(from, 0, SEEK_END) <= 0 || lseek(from, 0, SEEK_SET) < 0)
		return;
	if (mr_packed_open(&to, mr_tapped_folder(record->tapped), record->options->directory, name, error,
			   sizeof(error)) < 0) {
		mr_recorder_spoil(record, error);
		return;
	}
	copy(record, to, from, path);
	if (mr_packed_close(to, &content, error, sizeof(error)) < 0)
		mr_recorder_spoil(record, error);
}

/* The same of the file at `path`, if there is one. */
static void keep(struct mr_recorder *record, const char *path, const char *name)
{
	const int from = open(path, O_RDONLY | O_CLOEXEC);

	if (from < 0)
		return;
	keep_open(record, from, path, name);
	close(from);
}

void mr_recorder_keep_memory(struct mr_recorder *record)
{
	const json_int_t mib = (json_int_t)record->plan->memory_mib;
	char path[MR_RECORDER_PATH];

	/* what was given back on the way cannot be the truth */
	if (json_is_true(json_object_get(record->plan->capabilities, "release-ram")))
		return;
	mr_recorder_show(record, "writing memory", -1, 0);
	if (mr_qemu_memory_path(record->source)) {
		keep(record, mr_qemu_memory_path(record->source), "source.ram");
		return;
	}
	mr_recorder_path(record, "pmem", path);
	if (mib <= PRIVATE_MIB_MAX &&
	    mr_recorder_command(record, record->source, "pmemsave",
				json_pack("{s:i, s:I, s:s}", "val", 0, "size", mib << 20, "filename", path), NULL))
		keep(record, path, "source.pmem");
	unlink(path);
}

void mr_recorder_hold_errors(struct mr_recorder *record)
{
	struct mr_qemu *const ends[] = {record->source, record->destination};

	for (unsigned i = 0; i < 2; i++)
		if (ends[i])
			record->errors[i] = open(mr_qemu_errors_path(ends[i]), O_RDONLY | O_CLOEXEC);
}

void mr_recorder_keep_traces(struct mr_recorder *record)
{
	static const char *const names[] = {"src.trace", "dst.trace", "state.mapped"};
	static const char *const errors[] = {"src.err", "dst.err"};
	char path[MR_RECORDER_PATH];

	mr_recorder_show(record, "writing traces", -1, 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		mr_recorder_path(record, names[i], path);
		keep(record, path, names[i]);
	}
	for (size_t i = 0; i < 2; i++)
		if (record->errors[i] >= 0)
			keep_open(record, record->errors[i], errors[i], errors[i]);
}

/* ---- The manifest ---- */

static json_t *describe_vcpu(const struct mr_guest_vcpu *vcpu)
{
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "pattern",
			 mr_pattern_name((enum mr_pattern_kind)vcpu->kind), "writes", (json_int_t)vcpu->write_permille,
			 "first", (json_int_t)vcpu->first, "pages", (json_int_t)vcpu->pages, "stride",
			 (json_int_t)vcpu->stride, "working-set", (json_int_t)vcpu->working_set, "phase",
			 (json_int_t)vcpu->phase, "lag", (json_int_t)vcpu->lag, "burst", (json_int_t)vcpu->burst,
			 "pause", (json_int_t)vcpu->pause, "spins", (json_int_t)vcpu->spins);
}

static json_t *describe_guest(const struct mr_guest_parameters *guest, uint32_t vcpus)
{
	json_t *object = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:[iiii]}", "seed", (json_int_t)guest->seed, "base",
				   (json_int_t)guest->region_base, "pages", (json_int_t)guest->region_pages, "block",
				   (json_int_t)guest->block, "vcpus", (json_int_t)guest->vcpus, "filled",
				   (json_int_t)guest->filled, "shares", guest->shares[0], guest->shares[1],
				   guest->shares[2], guest->shares[3]);
	json_t *list = json_array();

	for (uint32_t i = 0; i < vcpus && i < MR_GUEST_VCPUS_MAX; i++)
		json_array_append_new(list, describe_vcpu(&guest->vcpu[i]));
	json_object_set_new(object, "vcpu", list);
	return object;
}

/* Words with a blank between them: paths of libraries of the host are no part of what was recorded. */
static json_t *describe_arguments(const char *const *arguments)
{
	char text[1024] = "";
	size_t length = 0;

	for (size_t i = 0; arguments && arguments[i] && length < sizeof(text); i++) {
		if (strcmp(arguments[i], "-L") == 0 && arguments[i + 1]) {
			i++;
			continue;
		}
		length +=
			(size_t)snprintf(text + length, sizeof(text) - length, "%s%s", length ? " " : "", arguments[i]);
	}
	return json_string(text);
}

static json_t *describe_cut(const struct mr_recorder_plan *plan)
{
	if (!plan->cuts)
		return json_null();
	return json_pack("{s:i, s:s, s:I, s:b}", "channel", (int)plan->cut_channel, "direction",
			 plan->cut_backward ? "ret" : "fwd", "byte", (json_int_t)plan->cut_byte, "since_switch",
			 plan->cut_since_switch);
}

static json_t *describe_capabilities(const struct mr_recorder_plan *plan)
{
	json_t *list = json_array(), *value;
	const char *name;

	json_object_foreach(plan->capabilities, name, value)
	{
		if (json_is_true(value))
			json_array_append_new(list, json_string(name));
	}
	return list;
}

static void describe_ends(const struct mr_recorder *record, json_t *members)
{
	if (record->source_migrate)
		json_object_set(members, "source", record->source_migrate);
	if (record->destination_migrate)
		json_object_set(members, "destination", record->destination_migrate);
	if (record->destination_run_state)
		json_object_set(members, "destination_run_state", record->destination_run_state);
	if (record->equal >= 0)
		json_object_set_new(members, "destination_ram_equal", json_boolean(record->equal));
	if (record->result->line[0])
		json_object_set_new(members, "error", json_string(record->result->line));
}

void mr_recorder_describe(struct mr_recorder *record)
{
	const struct mr_recorder_plan *plan = record->plan;
	const struct mr_recorder_result *result = record->result;
	const char *destination = plan->to_file ? result->source_release : result->destination_release;
	json_t *members;

	members = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:i, s:b, s:I, s:s, s:s}", "producer",
			    "migref record " MR_VERSION, "preset", plan->preset, "source_qemu", result->source_release,
			    "destination_qemu", destination, "accel", plan->accel, "memory_mib",
			    (json_int_t)plan->memory_mib, "backend", mr_qemu_backend_name(plan->backend), "smp",
			    (int)plan->vcpus, "destination_paused", plan->destination_paused, "host_page_size",
			    (json_int_t)mr_qemu_backend_page_size(plan->backend), "status", mr_recorder_status(record),
			    "memory", mr_recorder_memory_name(result->memory));
	json_object_set_new(members, "capabilities", describe_capabilities(plan));
	json_object_set(members, "parameters", plan->parameters);
	json_object_set_new(members, "source_arguments", describe_arguments(plan->source_arguments));
	json_object_set_new(members, "destination_arguments", describe_arguments(plan->destination_arguments));
	json_object_set_new(members, "postcopy_after_ms", json_integer(plan->switch_ms));
	json_object_set_new(members, "source_stopped_first", json_boolean(result->stopped_first));
	json_object_set_new(members, "cut", describe_cut(plan));
	json_object_set_new(members, "guest", describe_guest(&plan->guest, plan->vcpus));
	describe_ends(record, members);
	mr_tapped_tell(record->tapped, members);
}
