/* source_send.c: how the source's bytes go out: records, commands, pages; and the connections that they go out by. */
#include "source.h"

void mr_source_count_ram(struct mr_outgoing *outgoing, uint64_t bytes)
{
	struct mr_outgoing_statistics *statistics = &outgoing->statistics;

	if (outgoing->in_postcopy)
		statistics->postcopy_bytes += bytes;
	else if (outgoing->guest_stopped)
		statistics->downtime_bytes += bytes;
	else
		statistics->precopy_bytes += bytes;
	if (!source_does(outgoing, MR_SWITCH_TRANSFERRED_EVERYTHING))
		statistics->transferred += bytes;
}

/* Packets are counted by their senders, since a release may count those that it does not write. */
uint64_t mr_source_transferred(const struct mr_outgoing *outgoing)
{
	return outgoing->statistics.transferred + outgoing->statistics.multifd_bytes;
}

/* The limit counts what goes by the main file and the multifd channels, later all there is. */
static void count(struct mr_outgoing *outgoing, const struct connection *connection, uint64_t bytes)
{
	const bool everything = source_does(outgoing, MR_SWITCH_TRANSFERRED_EVERYTHING);

	if (everything && connection->role != MR_ROLE_MULTIFD)
		outgoing->statistics.transferred += bytes;
	if (everything || connection->role != MR_ROLE_PREEMPT) {
		outgoing->pace.window_bytes += bytes;
		outgoing->pace.measure_bytes += bytes;
	}
}

void mr_source_write(struct mr_outgoing *outgoing, struct mr_source_action *action, uint32_t channel, enum mr_kind kind,
		     struct mr_bytes head, struct mr_bytes body)
{
	struct connection *connection = connection_at(outgoing, channel);
	const uint64_t bytes = head.length + body.length;

	action->send.channel = channel;
	action->send.kind = kind;
	action->send.offset = connection->sent;
	action->send.head = head;
	action->send.body = body;
	action->send.block = NO_BLOCK;
	action->send.page = 0;
	action->send.requested = false;
	connection->sent += bytes;
	count(outgoing, connection, bytes);
}

enum outcome mr_source_emit_bytes(struct mr_outgoing *outgoing, struct source_actor *actor,
				  struct mr_source_action *action, uint32_t channel, enum mr_kind kind,
				  struct mr_bytes head, struct mr_bytes body)
{
	mr_source_write(outgoing, action, channel, kind, head, body);
	return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_SEND);
}

/* Into the package, which is sent as a whole. */
static enum outcome collect(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_bytes bytes)
{
	uint8_t *package = source_at(outgoing, outgoing->places.package);

	if (bytes.length > outgoing->config.package_max - outgoing->package_length) {
		mr_source_blame(outgoing, MR_SRC_016,
				mr_text("a package of at most %zu bytes", outgoing->config.package_max),
				mr_text("more"));
		return mr_source_fail(outgoing, actor);
	}
	/* Whoever counts every byte counts these here, and again when they go out. */
	if (source_does(outgoing, MR_SWITCH_TRANSFERRED_EVERYTHING))
		outgoing->statistics.transferred += bytes.length;
	memcpy(package + outgoing->package_length, bytes.data, bytes.length);
	outgoing->package_length += bytes.length;
	return ON;
}

static enum outcome put(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action,
			enum mr_kind kind, struct mr_bytes head)
{
	if (outgoing->in_package)
		return collect(outgoing, actor, head);
	return mr_source_emit_bytes(outgoing, actor, action, outgoing->main_channel, kind, head, (struct mr_bytes){0});
}

/* Bodies of sections may be long: they go as they are. */
enum outcome mr_source_emit_body(struct mr_outgoing *outgoing, struct source_actor *actor,
				 struct mr_source_action *action, enum mr_kind kind, struct mr_bytes body)
{
	return put(outgoing, actor, action, kind, body);
}

struct mr_bytes mr_source_description_head(const struct mr_outgoing *outgoing, struct source_actor *actor)
{
	const size_t length = outgoing->body.length;

	if (length == 0 || length > MR_DESCRIPTION_MAX)
		return (struct mr_bytes){0};
	actor->head[0] = TYPE_DESCRIPTION;
	mr_put_be32(actor->head + 1, (uint32_t)length);
	return (struct mr_bytes){actor->head, 5};
}

enum outcome mr_source_emit(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action,
			    const struct mr_record *record)
{
	const size_t length = mr_encode(record, actor->head, sizeof(actor->head));

	return put(outgoing, actor, action, record->kind, (struct mr_bytes){actor->head, length});
}

enum outcome mr_source_command(struct mr_outgoing *outgoing, struct source_actor *actor,
			       struct mr_source_action *action, enum mr_command_number number, uint32_t value)
{
	const bool early = source_does(outgoing, MR_SWITCH_COMMAND_RESUME_IS_8) && number == MR_COMMAND_POSTCOPY_RESUME;
	const struct mr_record record = {
		.kind = MR_COMMAND,
		.command = {.number = (uint16_t)number,
			    .sent = (uint16_t)(early ? number - 1 : number),
			    .length = number == MR_COMMAND_PING ? 4 : 0,
			    .value = value},
	};

	return mr_source_emit(outgoing, actor, action, &record);
}

enum outcome mr_source_connect(struct mr_outgoing *outgoing, struct source_actor *actor,
			       struct mr_source_action *action, enum mr_role role, uint32_t multifd, source_phase *then)
{
	struct connection *connection;

	if (outgoing->connection_count == outgoing->connections_max) {
		mr_source_blame(outgoing, MR_SRC_030, mr_text("at most %u connections", outgoing->connections_max),
				mr_text("another"));
		return mr_source_fail(outgoing, actor);
	}
	connection = connection_at(outgoing, outgoing->connection_count);
	*connection = (struct connection){.role = role};
	action->connect.channel = outgoing->connection_count++;
	outgoing->connecting = true;
	action->connect.role = role;
	action->connect.multifd = multifd;
	if (role == MR_ROLE_MULTIFD)
		outgoing->multifd_channels[multifd] = action->connect.channel;
	else if (role == MR_ROLE_PREEMPT)
		outgoing->preempt_channel = action->connect.channel;
	else
		outgoing->main_channel = action->connect.channel;
	actor->phase = then;
	return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_CONNECT);
}

void mr_source_connected(struct mr_outgoing *outgoing, int error)
{
	struct connection *connection = connection_at(outgoing, outgoing->connection_count - 1);

	outgoing->connecting = false;
	connection->open = error == 0;
	outgoing->broken += connection->open && connection->error;
}

void mr_source_break(struct mr_outgoing *outgoing, uint32_t channel, int error)
{
	struct connection *connection = connection_at(outgoing, channel);

	if (connection->error)
		return;
	connection->error = error ? error : FAULT_IO;
	outgoing->broken += connection->open;
}

void mr_source_close(struct mr_outgoing *outgoing, uint32_t channel)
{
	struct connection *connection = connection_at(outgoing, channel);

	outgoing->broken -= connection->error != 0;
	connection->open = false;
}
