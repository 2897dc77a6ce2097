/* report_clock.c: when a byte of a recording crossed the tap, and a trace's lines on the same clock. */
#include "sim/record/report_clock.h"

#include <stdlib.h>
#include <string.h>

enum { MILLION = 1000000, NANOSECONDS_PER_MICROSECOND = 1000 };

static int compare_chunks(const void *left, const void *right)
{
	const struct mr_report_chunk *a = left, *b = right;

	if (a->lane != b->lane)
		return a->lane < b->lane ? -1 : 1;
	if (a->end != b->end)
		return a->end < b->end ? -1 : 1;
	return a->t_ns < b->t_ns ? -1 : a->t_ns > b->t_ns;
}

static void add_chunks(struct mr_report_clock *clock)
{
	clock->begin = UINT64_MAX;
	for (size_t i = 0; i < clock->timeline.count; i++) {
		const struct mr_timeline_event *event = &clock->timeline.events[i];

		clock->begin = event->t_ns < clock->begin ? event->t_ns : clock->begin;
		clock->end = event->t_ns > clock->end ? event->t_ns : clock->end;
		if (event->kind != MR_TIMELINE_CHUNK || event->channel < 0)
			continue;
		clock->chunks[clock->chunk_count++] = (struct mr_report_chunk){
			.lane = (uint32_t)event->channel * 2 + (event->direction == MR_TIMELINE_RETURN),
			.end = event->offset + event->length,
			.t_ns = event->t_ns,
		};
	}
	qsort(clock->chunks, clock->chunk_count, sizeof(*clock->chunks), compare_chunks);
}

int mr_report_clock_init(struct mr_report_clock *clock, const struct mr_recording *recording, char *error,
			 size_t error_size)
{
	memset(clock, 0, sizeof(*clock));
	if (!recording->has_timeline)
		return 0;
	if (mr_recording_read_timeline(recording, &clock->timeline, error, error_size) < 0)
		return -1;
	if (!clock->timeline.count)
		return 0;
	clock->chunks = calloc(clock->timeline.count, sizeof(*clock->chunks));
	if (!clock->chunks) {
		snprintf(error, error_size, "%s: no memory for the timeline", recording->directory);
		mr_timeline_clear(&clock->timeline);
		return -1;
	}
	add_chunks(clock);
	return 0;
}

void mr_report_clock_clear(struct mr_report_clock *clock)
{
	mr_timeline_clear(&clock->timeline);
	free(clock->chunks);
	memset(clock, 0, sizeof(*clock));
}

/* Main channels follow each other; any other channel lies beside all of them. */
void mr_report_clock_measure(struct mr_report_clock *clock, const struct mr_migration *migration)
{
	uint64_t main = 0;

	for (size_t i = 0; i < migration->channel_count; i++) {
		const struct mr_channel *channel = &migration->channels[i];
		const bool is_main = channel->role == MR_ROLE_MAIN || channel->role == MR_ROLE_RECOVERY;

		if (channel->role == MR_ROLE_RETURN || channel->number >= MR_RECORDING_CHANNELS_MAX)
			continue;
		clock->before[channel->number] = is_main ? main : 0;
		clock->whole[channel->number] = channel->decoder->offset;
		main += is_main ? channel->decoder->offset : 0;
	}
	for (size_t i = 0; i < migration->channel_count; i++) {
		const struct mr_channel *channel = &migration->channels[i];

		if ((channel->role == MR_ROLE_MAIN || channel->role == MR_ROLE_RECOVERY) &&
		    channel->number < MR_RECORDING_CHANNELS_MAX)
			clock->whole[channel->number] = main;
	}
}

static mr_position share(const struct mr_report_clock *clock, unsigned channel, uint64_t offset)
{
	const uint64_t whole = channel < MR_RECORDING_CHANNELS_MAX ? clock->whole[channel] : 0;
	double part;

	if (!whole)
		return 0;
	part = (double)(clock->before[channel] + offset) / (double)whole;
	return part >= 1 ? MILLION : (mr_position)(part * MILLION);
}

mr_position mr_report_clock_byte(const struct mr_report_clock *clock, unsigned channel, bool backward, uint64_t offset)
{
	const uint32_t lane = channel * 2 + backward;
	size_t low = 0, high = clock->chunk_count;

	if (!clock->timeline.count)
		return backward ? 0 : share(clock, channel, offset);
	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		const struct mr_report_chunk *chunk = &clock->chunks[middle];

		if (chunk->lane < lane || (chunk->lane == lane && chunk->end <= offset))
			low = middle + 1;
		else
			high = middle;
	}
	if (low == clock->chunk_count || clock->chunks[low].lane != lane)
		return clock->end - clock->begin;
	return clock->chunks[low].t_ns - clock->begin;
}

mr_position mr_report_clock_trace(const struct mr_report_clock *clock, uint64_t microseconds)
{
	if (microseconds <= clock->trace_begin)
		return 0;
	microseconds -= clock->trace_begin;
	return microseconds > UINT64_MAX / NANOSECONDS_PER_MICROSECOND ? UINT64_MAX / 2
								       : microseconds * NANOSECONDS_PER_MICROSECOND;
}
