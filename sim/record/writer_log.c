/* writer_log.c: the destination's log of a recording that is written. */
#include "sim/record/writer_state.h"

#include <inttypes.h>
#include <string.h>

/* ---- What was told too late ---- */

/* The log as it is read: a refusal stands before what was refused, the end of a return path behind its opening. */
struct settling {
	struct mr_writer *writer;
	struct mr_log log;
	uint64_t steps[MR_ACTOR_COUNT];
};

static void put(struct settling *settling, const struct mr_log_record *record)
{
	if (mr_log_append(&settling->log, record) < 0)
		mr_writer_no_memory(settling->writer);
}

static void put_steps(struct settling *settling, struct mr_log_record record, uint64_t count)
{
	record.count = count;
	settling->steps[record.actor] += count;
	if (count)
		put(settling, &record);
}

static void settle_step(struct settling *settling, const struct mr_log_record *record)
{
	const struct mr_writer *writer = settling->writer;
	const uint64_t end = settling->steps[record->actor] + record->count;

	for (size_t i = 0; i < writer->refusal_count; i++) {
		const struct mr_writer_refusal *refusal = &writer->refusals[i];
		const struct mr_log_record error = {.kind = MR_LOG_ERROR,
						    .actor = refusal->actor,
						    .channel = MR_INCOMING_CHANNELS_MAX,
						    .error = refusal->error};

		if (refusal->actor != record->actor || refusal->step <= settling->steps[record->actor] ||
		    refusal->step > end)
			continue;
		put_steps(settling, *record, refusal->step - 1 - settling->steps[record->actor]);
		put(settling, &error);
		put_steps(settling, *record, 1);
	}
	put_steps(settling, *record, end - settling->steps[record->actor]);
}

static void settle_open(struct settling *settling, const struct mr_log_record *record)
{
	const uint64_t limit = settling->writer->channels[record->channel % MR_RECORDING_CHANNELS_MAX].return_limit;
	const struct mr_log_record end = {.kind = MR_LOG_RETURN_END, .channel = record->channel, .bytes = limit};

	put(settling, record);
	if (limit != UINT64_MAX)
		put(settling, &end);
}

static void settle(struct mr_writer *writer)
{
	struct settling settling = {.writer = writer};

	for (size_t i = 0; i < writer->log.count && !writer->failed; i++) {
		const struct mr_log_record *record = &writer->log.records[i];

		if (record->kind == MR_LOG_STEP)
			settle_step(&settling, record);
		else if (record->kind == MR_LOG_OPEN)
			settle_open(&settling, record);
		else
			put(&settling, record);
	}
	mr_log_clear(&writer->log);
	writer->log = settling.log;
}

/* ---- Writing ---- */

/* The machine type makes the profiles, and is the source's where the destination goes by none. */
void mr_writer_write_log(struct mr_writer *writer, const struct mr_writer_end *end)
{
	struct mr_packed_file *file = mr_writer_create(writer, "nondeterminism.jsonl");
	FILE *out = file ? mr_packed_stream(file) : NULL;
	struct mr_incoming_config config = *end->destination;
	const char *machine = end->source->machine;

	if (!config.context.machine[0] && machine && strlen(machine) <= MR_MACHINE_NAME_MAX)
		memcpy(config.context.machine, machine, strlen(machine) + 1);
	if (!mr_writer_has_source(writer))
		settle(writer);
	writer->log.unassembled = !config.temporary[0];
	if (out && mr_log_write(&writer->log, &config, out) < 0)
		mr_writer_fail(writer,
			       "%s/nondeterminism.jsonl: a log cannot tell what the destination was set up with",
			       writer->directory);
	mr_writer_close(writer, &file, NULL);
}
