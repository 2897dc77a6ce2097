/* writer_timeline.c: when bytes of which connection were sent, as few lines as tell it to the millisecond. */
#include "sim/record/writer_state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	CHUNK_TIME = 1000000,  /* ns that one line may stand for */
	CHUNK_BYTES = 1 << 20, /* and bytes */
	CHUNKS_MAX = 4 << 20,  /* then lines of one direction are put together whatever lies between */
};

/* ---- Gathering ---- */

static struct mr_timeline_event *add_event(struct mr_writer *writer, const struct mr_line *line,
					   enum mr_timeline_kind kind)
{
	struct mr_timeline_event *events = mr_writer_grow(writer, writer->timeline.events, writer->timeline.count,
							  &writer->timeline_capacity, sizeof(*events));

	if (!events)
		return NULL;
	writer->timeline.events = events;
	events[writer->timeline.count] = (struct mr_timeline_event){
		.t_ns = line->time,
		.channel = (int)line->channel,
		.kind = kind,
		.direction = line->backward ? MR_TIMELINE_RETURN : MR_TIMELINE_FORWARD,
	};
	return &events[writer->timeline.count++];
}

static bool goes_on(const struct mr_writer *writer, size_t last, const struct mr_line *line)
{
	const struct mr_timeline_event *chunk;

	if (last == SIZE_MAX)
		return false;
	chunk = &writer->timeline.events[last];
	if (chunk->offset + chunk->length != line->offset)
		return false;
	if (writer->timeline.count >= CHUNKS_MAX)
		return true;
	return last + 1 == writer->timeline.count && line->time - chunk->t_ns < CHUNK_TIME &&
	       chunk->length + line->length <= CHUNK_BYTES;
}

static void take_bytes(struct mr_writer *writer, struct mr_writer_channel *channel, const struct mr_line *line)
{
	size_t *last = &channel->last_chunk[line->backward];
	struct mr_timeline_event *chunk;

	if (line->length == 0 || channel->is_cut[line->backward])
		return;
	if (goes_on(writer, *last, line)) {
		writer->timeline.events[*last].length += line->length;
		return;
	}
	chunk = add_event(writer, line, MR_TIMELINE_CHUNK);
	if (!chunk)
		return;
	chunk->offset = line->offset;
	chunk->length = line->length;
	*last = writer->timeline.count - 1;
}

/* What was still on its way has not crossed. */
static void drop_lost(struct mr_writer *writer, const struct mr_line *line)
{
	const enum mr_timeline_direction direction = line->backward ? MR_TIMELINE_RETURN : MR_TIMELINE_FORWARD;

	for (size_t i = writer->timeline.count; i-- > 0;) {
		struct mr_timeline_event *chunk = &writer->timeline.events[i];

		if (chunk->kind != MR_TIMELINE_CHUNK || chunk->channel != (int)line->channel ||
		    chunk->direction != direction)
			continue;
		if (chunk->offset + chunk->length <= line->length)
			return;
		chunk->length = chunk->offset < line->length ? line->length - chunk->offset : 0;
	}
}

/* One line for all connections that break at a time. */
static void take_cut(struct mr_writer *writer, const struct mr_line *line)
{
	struct mr_timeline_event *cut;
	bool told = false;

	drop_lost(writer, line);
	writer->channels[line->channel].is_cut[line->backward] = true;
	for (size_t i = writer->timeline.count; i-- > 0 && writer->timeline.events[i].t_ns == line->time;)
		told |= writer->timeline.events[i].kind == MR_TIMELINE_CUT;
	cut = told ? NULL : add_event(writer, line, MR_TIMELINE_CUT);
	if (cut)
		cut->channel = -1;
	add_event(writer, line, MR_TIMELINE_EOF);
}

void mr_writer_take_line(struct mr_writer *writer, const struct mr_line *line)
{
	if (line->channel >= MR_RECORDING_CHANNELS_MAX)
		return;
	switch (line->event) {
	case MR_LINE_OPEN:
		add_event(writer, line, MR_TIMELINE_OPEN);
		break;
	case MR_LINE_BYTES:
		take_bytes(writer, &writer->channels[line->channel], line);
		break;
	case MR_LINE_EOF:
		add_event(writer, line, MR_TIMELINE_EOF);
		break;
	case MR_LINE_CUT:
		take_cut(writer, line);
		break;
	}
}

/* ---- Writing ---- */

static void write_event(FILE *out, const struct mr_timeline_event *event)
{
	const char *direction = event->direction == MR_TIMELINE_RETURN ? "ret" : "fwd";

	fprintf(out, "{\"t_ns\": %" PRIu64, event->t_ns);
	if (event->kind != MR_TIMELINE_CUT)
		fprintf(out, ", \"ch\": %d", event->channel);
	switch (event->kind) {
	case MR_TIMELINE_CHUNK:
		fprintf(out, ", \"dir\": \"%s\", \"off\": %" PRIu64 ", \"len\": %" PRIu64, direction, event->offset,
			event->length);
		break;
	case MR_TIMELINE_OPEN:
		fputs(", \"ev\": \"open\"", out);
		break;
	case MR_TIMELINE_EOF:
		fprintf(out, ", \"dir\": \"%s\", \"ev\": \"eof\"", direction);
		break;
	case MR_TIMELINE_CUT:
		fputs(", \"ev\": \"cut\"", out);
		break;
	}
	fputs("}\n", out);
}

/* Of one time those first that were told first. */
static int compare_events(const void *left, const void *right)
{
	const struct mr_timeline_event *a = *(const struct mr_timeline_event *const *)left;
	const struct mr_timeline_event *b = *(const struct mr_timeline_event *const *)right;

	if (a->t_ns != b->t_ns)
		return a->t_ns < b->t_ns ? -1 : 1;
	return a < b ? -1 : a > b;
}

void mr_writer_write_timeline(struct mr_writer *writer)
{
	const size_t count = writer->timeline.count;
	struct mr_packed_file *file = mr_writer_create(writer, "timeline.jsonl");
	FILE *out = file ? mr_packed_stream(file) : NULL;
	const struct mr_timeline_event **sorted = calloc(count + 1, sizeof(const struct mr_timeline_event *));

	if (!sorted)
		mr_writer_no_memory(writer);
	for (size_t i = 0; sorted && i < count; i++)
		sorted[i] = &writer->timeline.events[i];
	if (sorted)
		qsort(sorted, count, sizeof(*sorted), compare_events);
	for (size_t i = 0; sorted && out && i < count; i++)
		if (sorted[i]->kind != MR_TIMELINE_CHUNK || sorted[i]->length)
			write_event(out, sorted[i]);
	free(sorted);
	mr_writer_close(writer, &file, NULL);
}
