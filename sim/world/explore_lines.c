/* explore_lines.c: what happens on connections, told to who looks on. */
#include "sim/world/explore_lines.h"
#include "sim/world/explore_world.h"

#include <string.h>

void mr_told_begin(struct explore_lines *lines)
{
	*lines = (struct explore_lines){0};
	memset(lines->arrives, 0xff, sizeof(lines->arrives));
}

void mr_told_begin_again(struct explore_lines *lines, const struct mr_watch *watch)
{
	lines->watch = watch;
	memset(lines->sent, 0, sizeof(lines->sent));
	memset(lines->cut, 0, sizeof(lines->cut));
	memset(lines->closed, 0, sizeof(lines->closed));
	memset(lines->accepted, 0, sizeof(lines->accepted));
	memset(lines->ended, 0, sizeof(lines->ended));
}

/* ---- Telling ---- */

static bool is_told(const struct explore_scene *scene)
{
	return scene->lines && scene->lines->watch;
}

static void tell_line(const struct explore_scene *scene, const struct mr_line *line)
{
	const struct mr_watch *watch = scene->lines->watch;

	if (watch->line)
		watch->line(watch->argument, line);
}

static void tell_destination(const struct explore_scene *scene, const struct mr_log_record *record)
{
	const struct mr_watch *watch = scene->lines->watch;

	if (watch->destination)
		watch->destination(watch->argument, record, mr_machines_destination(scene->machines), NULL);
}

static uint64_t arrived(const struct explore_lines *lines, uint32_t channel, unsigned direction)
{
	const uint64_t sent = lines->sent[channel][direction], most = lines->arrives[channel][direction];

	return sent < most ? sent : most;
}

/* The destination is told where the bytes end, once it has the connection. */
static void tell_end(const struct explore_scene *scene, uint32_t channel)
{
	struct explore_lines *lines = scene->lines;
	const struct mr_log_record record = {
		.kind = MR_LOG_END,
		.channel = channel,
		.bytes = arrived(lines, channel, FORWARD),
		.error = lines->is_cut[channel] ? HOST_EIO : 0,
	};

	if (!lines->accepted[channel] || lines->ended[channel] || !(lines->cut[channel] || lines->closed[channel]))
		return;
	lines->ended[channel] = true;
	tell_destination(scene, &record);
}

/* What it sends from now on is refused. */
static void tell_return_end(const struct explore_scene *scene, uint32_t channel)
{
	const struct mr_log_record record = {
		.kind = MR_LOG_RETURN_END, .channel = channel, .bytes = scene->lines->sent[channel][BACKWARD]};

	if (scene->lines->accepted[channel])
		tell_destination(scene, &record);
}

/* ---- What happens ---- */

void mr_told_open(const struct explore_scene *scene, uint32_t channel)
{
	const struct mr_line line = {.event = MR_LINE_OPEN, .channel = channel};

	if (is_told(scene))
		tell_line(scene, &line);
}

void mr_told_accepted(const struct explore_scene *scene, uint32_t channel)
{
	if (!is_told(scene))
		return;
	scene->lines->accepted[channel] = true;
	if (scene->lines->cut[channel])
		tell_return_end(scene, channel);
	tell_end(scene, channel);
}

void mr_told_sent(const struct explore_scene *scene, uint32_t channel, bool backward, uint32_t message)
{
	struct explore_lines *lines = scene->lines;
	struct mr_line line = {.event = MR_LINE_BYTES, .channel = channel, .backward = backward};

	if (!lines)
		return;
	line.head = mr_queues_message_bytes(scene->queues, message);
	line.offset = lines->sent[channel][backward ? BACKWARD : FORWARD];
	line.length = line.head.length;
	lines->sent[channel][backward ? BACKWARD : FORWARD] += line.length;
	if (!lines->watch)
		return;
	tell_line(scene, &line);
}

void mr_told_cut(const struct explore_scene *scene, uint32_t channel)
{
	struct explore_lines *lines = scene->lines;
	struct mr_line line = {.event = MR_LINE_CUT, .channel = channel};

	if (!lines)
		return;
	lines->cut[channel] = lines->is_cut[channel] = true;
	if (!lines->watch) {
		memcpy(lines->arrives[channel], lines->sent[channel], sizeof(lines->arrives[channel]));
		return;
	}
	for (unsigned direction = 0; direction < DIRECTIONS; direction++) {
		line.backward = direction == BACKWARD;
		line.length = arrived(lines, channel, direction);
		tell_line(scene, &line);
	}
	tell_return_end(scene, channel);
	tell_end(scene, channel);
}

void mr_told_lost(const struct explore_scene *scene, uint32_t channel, bool backward, uint32_t left)
{
	struct explore_lines *lines = scene->lines;
	const uint64_t taken = backward ? mr_outgoing_consumed(mr_machines_source(scene->machines), channel)
					: mr_incoming_consumed(mr_machines_destination(scene->machines), channel);

	if (lines && !lines->watch)
		lines->arrives[channel][backward ? BACKWARD : FORWARD] = taken + mr_queues_length(scene->queues, left);
}

void mr_told_closed(const struct explore_scene *scene, uint32_t channel, bool by_source)
{
	struct explore_lines *lines = scene->lines;
	const struct mr_line line = {.event = MR_LINE_EOF, .channel = channel, .backward = !by_source};

	if (!lines)
		return;
	lines->closed[channel] |= by_source;
	if (!lines->watch || lines->cut[channel])
		return;
	tell_line(scene, &line);
	if (by_source)
		tell_end(scene, channel);
}
