/* report_trace.c: what the traces of both ends tell a report: statuses, faults, and how long each waited. */
#include "sim/record/report_trace.h"
#include "sim/record/trace.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum {
	WAITING_MAX = 1024, /* faults that are not answered yet: more than a guest has threads */
	LINE_MAX = 4096,    /* bytes of a line of src.trace that is looked at */
	NANOSECONDS_PER_MICROSECOND = 1000,
};

/* ---- Lists of the report ---- */

int mr_report_request_add(struct mr_report_requests *requests, const struct mr_report_request *request)
{
	requests->total++;
	if (requests->count == MR_REPORT_REQUESTS_MAX)
		return 0;
	if (requests->count == requests->capacity) {
		const size_t capacity = requests->capacity ? requests->capacity * 2 : 64;
		struct mr_report_request *larger = realloc(requests->items, capacity * sizeof(*larger));

		if (!larger)
			return -1;
		requests->items = larger;
		requests->capacity = capacity;
	}
	requests->items[requests->count++] = *request;
	return 0;
}

void mr_report_change_add(struct mr_report *report, enum mr_report_band band, mr_position at, const char *name)
{
	struct mr_report_change *change = &report->changes[report->change_count];

	for (size_t i = report->change_count; i > 0; i--) {
		if (report->changes[i - 1].band != band)
			continue;
		if (strcmp(report->changes[i - 1].name, name) == 0)
			return;
		at = at < report->changes[i - 1].at ? report->changes[i - 1].at : at;
		break;
	}
	if (report->change_count == MR_REPORT_CHANGES_MAX)
		return;
	report->change_count++;
	*change = (struct mr_report_change){.band = band, .at = at};
	snprintf(change->name, sizeof(change->name), "%s", name);
	report->length = at > report->length ? at : report->length;
}

static void add_line(char lines[][MR_REPORT_TEXT], size_t *count, const char *format, va_list arguments)
{
	if (*count < MR_REPORT_NOTES_MAX)
		vsnprintf(lines[(*count)++], MR_REPORT_TEXT, format, arguments);
}

void mr_report_add_error(struct mr_report *report, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	add_line(report->errors, &report->error_count, format, arguments);
	va_end(arguments);
}

void mr_report_add_missing(struct mr_report *report, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	add_line(report->missing, &report->missing_count, format, arguments);
	va_end(arguments);
}

/* ---- The destination ---- */

struct follower {
	struct mr_report *report;
	const struct mr_report_clock *clock;
	size_t waiting[WAITING_MAX]; /* of the report's traced requests */
	size_t waiting_count;
	bool tells_added; /* the trace has a line for a request that is new */
	bool no_memory;
};

static uint64_t host_page(const struct mr_report *report, uint32_t block)
{
	const uint64_t size = block < report->block_count ? report->blocks[block].page_size : 0;

	return size ? size : report->recording->host_page_size ? report->recording->host_page_size : report->page_size;
}

static void take_fault(struct follower *follower, const struct mr_event *event)
{
	struct mr_report_requests *requests = &follower->report->traced;
	const uint64_t length = host_page(follower->report, event->block);
	const struct mr_report_request request = {
		.block = event->block,
		.offset = event->offset - event->offset % length,
		.length = length,
		.thread = event->value,
		.at = mr_report_clock_trace(follower->clock, event->microseconds),
		.latency = MR_REPORT_NEVER,
		.outcome = MR_OUTCOME_DROPPED,
	};
	const size_t before = requests->count;

	follower->no_memory |= mr_report_request_add(requests, &request) < 0;
	if (requests->count > before && follower->waiting_count < WAITING_MAX)
		follower->waiting[follower->waiting_count++] = before;
}

/* The fault thread handles one fault at a time: its verdict is about the latest one. */
static void take_verdict(struct follower *follower, enum mr_report_outcome outcome)
{
	struct mr_report_requests *requests = &follower->report->traced;

	if (requests->count && requests->items[requests->count - 1].outcome == MR_OUTCOME_DROPPED)
		requests->items[requests->count - 1].outcome = outcome;
}

static void take_placement(struct follower *follower, const struct mr_event *event)
{
	const mr_position at = mr_report_clock_trace(follower->clock, event->microseconds);
	size_t kept = 0;

	for (size_t i = 0; i < follower->waiting_count; i++) {
		struct mr_report_request *request = &follower->report->traced.items[follower->waiting[i]];

		if (request->block == event->block && event->offset >= request->offset &&
		    event->offset - request->offset < request->length)
			request->latency = at > request->at ? at - request->at : 0;
		else
			follower->waiting[kept++] = follower->waiting[i];
	}
	follower->waiting_count = kept;
}

static void take_state(struct follower *follower, const struct mr_event *event, enum mr_postcopy_state state)
{
	mr_report_change_add(follower->report, MR_BAND_POSTCOPY,
			     mr_report_clock_trace(follower->clock, event->microseconds),
			     mr_postcopy_state_name(state));
}

static void take_event(struct follower *follower, const struct mr_event *event)
{
	switch (event->kind) {
	case MR_EVENT_STATUS:
		mr_report_change_add(follower->report, MR_BAND_DESTINATION,
				     mr_report_clock_trace(follower->clock, event->microseconds),
				     mr_status_name(event->status));
		break;
	case MR_EVENT_ADVISE:
		take_state(follower, event, MR_POSTCOPY_ADVISE);
		break;
	case MR_EVENT_DISCARD:
		take_state(follower, event, MR_POSTCOPY_DISCARD);
		break;
	case MR_EVENT_LISTEN_ENTER:
		take_state(follower, event, MR_POSTCOPY_LISTENING);
		break;
	case MR_EVENT_RUN:
		take_state(follower, event, MR_POSTCOPY_RUNNING);
		break;
	case MR_EVENT_LISTEN_EXIT:
		take_state(follower, event, MR_POSTCOPY_END);
		break;
	case MR_EVENT_FAULT:
		take_fault(follower, event);
		break;
	case MR_EVENT_REQUEST_ADDED:
		take_verdict(follower, MR_OUTCOME_ADDED);
		break;
	case MR_EVENT_MESSAGE:
		/* After a recovery another thread asks again. */
		if ((event->value == MR_RETURN_REQ_PAGES_ID || event->value == MR_RETURN_REQ_PAGES) &&
		    event->actor != MR_ACTOR_LISTEN)
			take_verdict(follower, follower->tells_added ? MR_OUTCOME_REPEATED : MR_OUTCOME_ADDED);
		break;
	case MR_EVENT_PLACED:
	case MR_EVENT_PLACE_ZERO:
		take_placement(follower, event);
		break;
	default:
		break;
	}
}

/* The first connection stands in both the trace and the timeline. */
static void fit_clock(struct mr_report_clock *clock, uint64_t microseconds)
{
	uint64_t opened = clock->begin;

	clock->has_trace = true;
	for (size_t i = 0; i < clock->timeline.count; i++) {
		if (clock->timeline.events[i].kind == MR_TIMELINE_OPEN) {
			opened = clock->timeline.events[i].t_ns;
			break;
		}
	}
	opened = clock->timeline.count ? (opened - clock->begin) / NANOSECONDS_PER_MICROSECOND : 0;
	clock->trace_begin = microseconds > opened ? microseconds - opened : 0;
}

static void follow(struct follower *follower, struct mr_report_clock *clock, const struct mr_trace *trace)
{
	const struct mr_event *anchor = trace->count ? &trace->events[0] : NULL;

	for (size_t i = 0; i < trace->count; i++) {
		if (trace->events[i].kind == MR_EVENT_ACCEPTED) {
			anchor = &trace->events[i];
			break;
		}
	}
	if (!anchor)
		return;
	fit_clock(clock, anchor->microseconds);
	follower->report->has_faults = true;
	follower->tells_added = trace->seen[MR_EVENT_REQUEST_ADDED] != 0;
	for (size_t i = 0; i < trace->count; i++)
		take_event(follower, &trace->events[i]);
	for (unsigned band = MR_BAND_DESTINATION; band <= MR_BAND_POSTCOPY; band++)
		follower->report->changes_from_trace[band] = true;
}

static int read_destination(struct mr_report *report, struct mr_report_clock *clock,
			    const struct mr_recording *recording)
{
	struct follower *follower = calloc(1, sizeof(*follower));
	struct mr_bytes *names = calloc(report->block_count + 1, sizeof(*names));
	struct mr_trace trace;
	char error[MR_REPORT_TEXT];
	int status = follower && names ? 0 : -1;

	for (uint32_t i = 0; names && i < report->block_count; i++)
		names[i] = (struct mr_bytes){(const uint8_t *)report->blocks[i].name, strlen(report->blocks[i].name)};
	if (status == 0 && mr_trace_open(&trace, recording, names, report->block_count, error, sizeof(error)) < 0) {
		mr_report_add_error(report, "%s", error);
	} else if (status == 0) {
		follower->report = report;
		follower->clock = clock;
		follow(follower, clock, &trace);
		status = follower->no_memory ? -1 : 0;
		mr_trace_close(&trace);
	}
	free(names);
	free(follower);
	return status;
}

/* ---- The source ---- */

/*
 * Only clock, event and its first words count here, so the line is read as another one of the same clock: the reader of
 * destinations' traces knows neither the source's threads nor all of its statuses.
 */
static bool read_clock(const char *line, const char *event, uint64_t *microseconds)
{
	char text[LINE_MAX + 64], error[MR_REPORT_TEXT];
	const int length =
		snprintf(text, sizeof(text), "%.*smigrate_set_state new state active\n", (int)(event - line), line);
	struct mr_trace trace;
	bool read;

	if (mr_trace_read(&trace, "src.trace", NULL, (struct mr_bytes){(const uint8_t *)text, (size_t)length}, NULL, 0,
			  error, sizeof(error)) < 0)
		return false;
	read = trace.count == 1;
	*microseconds = read ? trace.events[0].microseconds : 0;
	mr_trace_close(&trace);
	return read;
}

static void take_source_line(struct mr_report *report, struct mr_report_clock *clock, const char *line)
{
	static const char status[] = "migrate_set_state new state ",
			  connected[] = "migration_socket_outgoing_connected";
	const char *event = strstr(line, status);
	uint64_t microseconds;

	if (!clock->has_trace) {
		const char *first = strstr(line, connected);

		first = first ? first : event;
		if (first && read_clock(line, first, &microseconds))
			fit_clock(clock, microseconds);
	}
	if (!event || !read_clock(line, event, &microseconds))
		return;
	mr_report_change_add(report, MR_BAND_SOURCE, mr_report_clock_trace(clock, microseconds),
			     event + sizeof(status) - 1);
	report->changes_from_trace[MR_BAND_SOURCE] = true;
}

static int read_source(struct mr_report *report, struct mr_report_clock *clock, const struct mr_recording *recording)
{
	struct mr_input *input;
	char line[LINE_MAX], error[MR_REPORT_TEXT];
	const uint8_t *window;
	size_t length;
	bool at_end;

	if (mr_recording_open_file(recording, "src.trace", &input, error, sizeof(error)) < 0) {
		mr_report_add_error(report, "%s", error);
		return 0;
	}
	do {
		const uint8_t *end;

		if (mr_input_fill(input, LINE_MAX) < 0) {
			mr_report_add_error(report, "%s", mr_input_error(input));
			break;
		}
		window = mr_input_window(input, &length, &at_end);
		length = length < LINE_MAX - 1 ? length : LINE_MAX - 1;
		end = length ? memchr(window, '\n', length) : NULL;
		length = end ? (size_t)(end - window) : length;
		if (length)
			memcpy(line, window, length);
		line[length] = '\0';
		mr_input_consume(input, length + (end ? 1 : 0));
		take_source_line(report, clock, line);
		mr_input_window(input, &length, &at_end);
	} while (length || !at_end);
	mr_input_close(input);
	return 0;
}

int mr_report_read_traces(struct mr_report *report, struct mr_report_clock *clock, const struct mr_recording *recording)
{
	if (recording->has_destination_trace) {
		if (read_destination(report, clock, recording) < 0)
			return -1;
	} else if (recording->channel_count) {
		mr_report_add_missing(report, "No dst.trace: when faults happened is told by the return path alone, "
					      "the destination's states by the replay.");
	}
	if (recording->has_source_trace)
		return read_source(report, clock, recording);
	mr_report_add_missing(report, "No src.trace: the source's statuses are not known.");
	return 0;
}
