/* sim_net.c: connections: how they are made, fed to the machines, broken and closed. */
#include "sim/world/sim_state.h"

static struct mr_pipe *pipe_of(struct mr_sim *sim, unsigned direction, uint32_t connection)
{
	return &sim->link.pipes[direction][connection];
}

void mr_sim_line(struct mr_sim *sim, const struct mr_line *line)
{
	if (sim->watch.line)
		sim->watch.line(sim->watch.argument, line);
}

static void tell_source(struct mr_sim *sim, const struct mr_source_log_record *record)
{
	if (sim->watch.source)
		sim->watch.source(sim->watch.argument, record, NULL);
}

static void tell_destination(struct mr_sim *sim, const struct mr_log_record *record)
{
	if (sim->watch.destination)
		sim->watch.destination(sim->watch.argument, record, sim->destination, NULL);
}

/* ---- Setting up ---- */

void mr_sim_connect(struct mr_sim *sim, const struct mr_source_action *action)
{
	const uint32_t number = action->connect.channel;
	const struct mr_line line = {.event = MR_LINE_OPEN, .time = sim->now, .channel = number};
	struct sim_connection *connection = &sim->connections[number];
	uint64_t accepted = sim->now + sim->scenario->link.latency;

	*connection = (struct sim_connection){
		.opened = true, .role = action->connect.role, .multifd = action->connect.multifd};
	if (number >= sim->connection_count)
		sim->connection_count = number + 1;
	sim->last_of_role[action->connect.role] = number;
	if (action->connect.role == MR_ROLE_RECOVERY)
		sim->last_of_role[MR_ROLE_MAIN] = number;
	for (uint32_t i = 0; i < sim->scenario->fault_count; i++) {
		const struct mr_scenario_fault *fault = &sim->scenario->faults[i];
		static const enum mr_role roles[] = {MR_ROLE_MAIN, MR_ROLE_PREEMPT, MR_ROLE_MULTIFD};

		if (fault->kind != MR_FAULT_DELAY_OPEN || sim->fault_fired[i] ||
		    roles[fault->channel] != connection->role ||
		    (connection->role == MR_ROLE_MULTIFD && fault->multifd != connection->multifd))
			continue;
		sim->fault_fired[i] = true;
		sim->faults_fired++;
		accepted += fault->duration;
		mr_sim_saw(sim, MR_SOMETIMES_REORDERED);
	}
	/* One after the other, unless one is held up. */
	mr_sim_at(sim, accepted, MOMENT_ACCEPT, number, 0);
	mr_sim_line(sim, &line);
}

/* Releases that do not look at the first bytes go by the order of connections. */
static enum mr_role role_there(const struct mr_sim *sim, const struct sim_connection *connection)
{
	if (sim->ends.destination.profile.on[MR_SWITCH_CHANNEL_PEEK] || connection->role == MR_ROLE_RECOVERY)
		return connection->role;
	if (sim->all_accepted == 0)
		return MR_ROLE_MAIN;
	if (sim->scenario->migration.capabilities & MR_CAPABILITY_MULTIFD)
		return MR_ROLE_MULTIFD;
	return connection->role == MR_ROLE_MAIN ? MR_ROLE_PREEMPT : connection->role;
}

void mr_sim_accept(struct mr_sim *sim, uint32_t number)
{
	struct sim_connection *connection = &sim->connections[number];
	struct mr_log_record record = {.kind = MR_LOG_OPEN, .channel = number};

	if (connection->gone || connection->accepted || sim->destination_failed)
		return;
	record.role = role_there(sim, connection);
	if (mr_incoming_open(sim->destination, number, record.role) < 0) {
		mr_sim_break(sim, number, HOST_ECONNRESET);
		return;
	}
	connection->accepted = true;
	sim->all_accepted++;
	tell_destination(sim, &record);
	mr_sim_show(sim, MR_LINK_FORWARD, number);
	mr_sim_wake_all_destination(sim);
}

/* ---- Bytes ---- */

static void feed(struct mr_sim *sim, unsigned direction, uint32_t number)
{
	const struct sim_connection *connection = &sim->connections[number];
	const bool at_end = mr_link_is_at_end(&sim->link, direction, number);
	const int error = at_end ? connection->error : 0;
	struct mr_bytes window;

	if (direction == MR_LINK_FORWARD) {
		mr_link_consume(&sim->link, direction, number, sim->now,
				mr_incoming_consumed(sim->destination, number));
		window = mr_link_window(&sim->link, direction, number);
		mr_incoming_feed(sim->destination, number, window.data, window.length, at_end, error);
	} else {
		mr_link_consume(&sim->link, direction, number, sim->now, mr_outgoing_consumed(sim->source, number));
		window = mr_link_window(&sim->link, direction, number);
		mr_outgoing_feed(sim->source, number, window.data, window.length, at_end, error);
	}
}

static void show_forward(struct mr_sim *sim, uint32_t number)
{
	struct sim_connection *connection = &sim->connections[number];
	const struct mr_log_record record = {.kind = MR_LOG_END,
					     .channel = number,
					     .bytes = pipe_of(sim, MR_LINK_FORWARD, number)->arrived,
					     .error = connection->error};

	if (!connection->accepted)
		return;
	feed(sim, MR_LINK_FORWARD, number);
	if (mr_link_is_at_end(&sim->link, MR_LINK_FORWARD, number) && !connection->told_destination) {
		connection->told_destination = true;
		pipe_of(sim, MR_LINK_FORWARD, number)->broken = true;
		tell_destination(sim, &record);
		mr_sim_wake_all_destination(sim);
		return;
	}
	for (uint32_t i = 0; i < sim->destination_actor_count; i++)
		if (sim->destination_actors[i].reading == number)
			mr_sim_wake_destination(sim, i);
}

static void show_backward(struct mr_sim *sim, uint32_t number)
{
	struct sim_connection *connection = &sim->connections[number];
	const uint64_t arrived = pipe_of(sim, MR_LINK_BACKWARD, number)->arrived;
	const bool ended = mr_link_is_at_end(&sim->link, MR_LINK_BACKWARD, number);
	const struct mr_source_log_record record = {
		.kind = MR_SOURCE_LOG_ARRIVE, .channel = number, .bytes = arrived, .ended = ended};

	feed(sim, MR_LINK_BACKWARD, number);
	if (arrived == connection->backward_told && (!ended || connection->told_source))
		return;
	connection->backward_told = arrived;
	connection->told_source |= ended;
	tell_source(sim, &record);
	mr_sim_wake_source(sim, MR_SOURCE_RETURN);
	if (ended)
		mr_sim_wake_all_source(sim);
}

void mr_sim_show(struct mr_sim *sim, unsigned direction, uint32_t number)
{
	if (direction == MR_LINK_FORWARD)
		show_forward(sim, number);
	else
		show_backward(sim, number);
}

void mr_sim_took(struct mr_sim *sim, unsigned direction, uint32_t number, uint64_t wanted)
{
	const uint64_t consumed = direction == MR_LINK_FORWARD ? mr_incoming_consumed(sim->destination, number)
							       : mr_outgoing_consumed(sim->source, number);

	mr_link_consume(&sim->link, direction, number, sim->now, consumed);
	if (wanted)
		mr_link_want(&sim->link, direction, number, sim->now, wanted);
}

/* Writes, and feeds again what the writing moved. */
static void write_bytes(struct mr_sim *sim, unsigned direction, uint32_t number, struct mr_bytes bytes)
{
	struct mr_pipe *pipe = pipe_of(sim, direction, number);
	const uint8_t *before = pipe->bytes;
	const uint64_t base = pipe->base;

	if (mr_link_write(&sim->link, direction, number, sim->now, bytes) < 0)
		mr_sim_violate(sim, MR_PROPERTY_ACTION, "no memory for bytes on their way");
	if ((pipe->bytes == before && pipe->base == base) || sim->connections[number].gone)
		return;
	if (direction == MR_LINK_BACKWARD || sim->connections[number].accepted)
		feed(sim, direction, number);
}

static void break_source(struct mr_sim *sim, uint32_t number)
{
	const struct mr_source_log_record record = {
		.kind = MR_SOURCE_LOG_BROKEN, .channel = number, .error = HOST_EPIPE};

	mr_outgoing_broken(sim->source, number, HOST_EPIPE);
	tell_source(sim, &record);
}

void mr_sim_notice(struct mr_sim *sim, uint32_t number)
{
	if (!sim->connections[number].refused)
		return;
	sim->connections[number].refused = false;
	break_source(sim, number);
}

static void count_bytes(struct mr_sim *sim, const struct mr_source_action *action)
{
	struct mr_sim_result *result = &sim->result;
	const uint64_t length = action->send.head.length + action->send.body.length;

	result->forward_bytes += length;
	switch (action->send.kind) {
	case MR_RAM_PAGE:
		result->page_bytes += length;
		break;
	case MR_RAM_ZERO:
		result->zero_bytes += length;
		break;
	case MR_RAM_XBZRLE:
		result->xbzrle_bytes += length;
		break;
	case MR_MULTIFD_PACKET:
		result->packet_bytes += length;
		break;
	case MR_COMMAND:
		if (action->send.head.length > 2 && action->send.head.data[2] == MR_COMMAND_POSTCOPY_RAM_DISCARD)
			result->discard_bytes += length;
		else
			result->header_bytes += length;
		break;
	case MR_SECTION_DATA:
		result->device_bytes += length;
		break;
	default:
		result->header_bytes += length;
		break;
	}
}

static void count_page(struct mr_sim *sim, uint32_t block, uint64_t page)
{
	struct sim_block *here = &sim->blocks[block];

	sim->result.pages_sent++;
	sim->result.page_events++;
	sim->result.pages_sent_twice += mr_bitmap_test(here->sent, page);
	mr_bitmap_set(here->sent, page, 1);
	/* What goes out of one that nobody wrote to cannot become old. */
	if (mr_bitmap_test(here->touched, page))
		mr_page_map_find(&sim->source_map, block, page)->later = 0;
}

/* What went out of pages: by what was looked at, since a packet has many. */
static void count_pages(struct mr_sim *sim, const struct mr_source_action *action)
{
	const bool is_packet = action->send.kind == MR_MULTIFD_PACKET;
	const bool is_page = action->send.kind == MR_RAM_PAGE || action->send.kind == MR_RAM_ZERO ||
			     action->send.kind == MR_RAM_XBZRLE;

	if (!is_packet && !is_page)
		return;
	for (uint32_t i = 0; i < sim->look_count; i++)
		count_page(sim, sim->looks[i].block, sim->looks[i].page);
	sim->look_count = 0;
}

/* The migration thread of some releases leaves a huge page for an urgent one. */
static void see_page(struct mr_sim *sim, const struct mr_source_action *action)
{
	const struct sim_block *block = &sim->blocks[action->send.block];
	const uint64_t page = action->send.page / sim->scenario->guest.target_page_size;

	if (action->actor != MR_SOURCE_MIGRATION)
		return;
	if (sim->connections[action->send.channel].role == MR_ROLE_PREEMPT && sim->huge_page_open)
		mr_sim_saw(sim, MR_SOMETIMES_HUGE_BROKEN);
	sim->huge_page_open =
		sim->connections[action->send.channel].role != MR_ROLE_PREEMPT && (page + 1) % block->host_pages != 0;
}

void mr_sim_send(struct mr_sim *sim, const struct mr_source_action *action)
{
	const uint32_t number = action->send.channel;
	const struct mr_line line = {.event = MR_LINE_BYTES,
				     .time = sim->now,
				     .channel = number,
				     .offset = action->send.offset,
				     .length = action->send.head.length + action->send.body.length,
				     .head = action->send.head,
				     .body = action->send.body};

	count_bytes(sim, action);
	mr_sim_note_barrier(sim, action);
	if (sim->in_postcopy && action->send.kind != MR_MULTIFD_PACKET &&
	    action->send.block < sim->scenario->block_count)
		see_page(sim, action);
	mr_sim_line(sim, &line);
	write_bytes(sim, MR_LINK_FORWARD, number, action->send.head);
	write_bytes(sim, MR_LINK_FORWARD, number, action->send.body);
	if (!mr_link_has_room(&sim->link, MR_LINK_FORWARD, number)) {
		sim->source_actors[action->actor].writing = number;
		mr_sim_saw(sim, MR_SOMETIMES_SENDER_WAITED);
	}
	count_pages(sim, action);
}

static void count_message(struct mr_sim *sim, const struct mr_action_send *send)
{
	sim->result.return_bytes += send->bytes.length;
	if (!send->first || (send->type != MR_RETURN_REQ_PAGES && send->type != MR_RETURN_REQ_PAGES_ID))
		return;
	sim->result.requests++;
	sim->result.page_events++;
	if (send->type == MR_RETURN_REQ_PAGES)
		mr_sim_saw(sim, MR_SOMETIMES_SHORT_REQUEST);
}

int mr_sim_send_back(struct mr_sim *sim, const struct mr_action *action)
{
	const uint32_t number = action->send.channel;
	const struct mr_line line = {.event = MR_LINE_BYTES,
				     .time = sim->now,
				     .channel = number,
				     .backward = true,
				     .offset = pipe_of(sim, MR_LINK_BACKWARD, number)->written,
				     .length = action->send.bytes.length,
				     .head = action->send.bytes};

	if (sim->connections[number].gone || pipe_of(sim, MR_LINK_BACKWARD, number)->closed)
		return HOST_EIO;
	count_message(sim, &action->send);
	mr_sim_line(sim, &line);
	write_bytes(sim, MR_LINK_BACKWARD, number, action->send.bytes);
	if (!mr_link_has_room(&sim->link, MR_LINK_BACKWARD, number))
		sim->destination_actors[action->actor].writing = number;
	return 0;
}

/* ---- The end of a connection ---- */

static void free_writers(struct mr_sim *sim, unsigned direction, uint32_t number)
{
	struct sim_actor *actors = direction == MR_LINK_FORWARD ? sim->source_actors : sim->destination_actors;
	const uint32_t count = direction == MR_LINK_FORWARD ? sim->source_actor_count : sim->destination_actor_count;

	for (uint32_t i = 0; i < count; i++) {
		if (actors[i].writing != number || !mr_link_has_room(&sim->link, direction, number))
			continue;
		actors[i].writing = NOBODY;
		if (direction == MR_LINK_FORWARD)
			mr_sim_wake_source(sim, i);
		else
			mr_sim_wake_destination(sim, i);
	}
}

void mr_sim_departed(struct mr_sim *sim, unsigned direction)
{
	free_writers(sim, direction, mr_link_departed(&sim->link, direction, sim->now));
}

/* From now on the destination cannot send there. */
static void end_return(struct mr_sim *sim, uint32_t number)
{
	const struct mr_log_record record = {
		.kind = MR_LOG_RETURN_END, .channel = number, .bytes = pipe_of(sim, MR_LINK_BACKWARD, number)->written};

	if (sim->connections[number].accepted)
		tell_destination(sim, &record);
}

void mr_sim_break(struct mr_sim *sim, uint32_t number, int error)
{
	struct sim_connection *connection = &sim->connections[number];

	if (!connection->opened || connection->gone)
		return;
	connection->gone = true;
	connection->error = error;
	for (unsigned i = 0; i < MR_LINK_DIRECTIONS; i++) {
		const struct mr_line line = {.event = error ? MR_LINE_CUT : MR_LINE_EOF,
					     .time = sim->now,
					     .channel = number,
					     .backward = i == MR_LINK_BACKWARD,
					     .length = pipe_of(sim, i, number)->arrived};

		mr_sim_line(sim, &line);
	}
	end_return(sim, number);
	mr_link_break(&sim->link, number);
	mr_sim_show(sim, MR_LINK_FORWARD, number);
	mr_sim_show(sim, MR_LINK_BACKWARD, number);
	break_source(sim, number);
	free_writers(sim, MR_LINK_FORWARD, number);
	free_writers(sim, MR_LINK_BACKWARD, number);
	mr_sim_wake_all_source(sim);
	mr_sim_wake_all_destination(sim);
}

/*
 * The source sends nothing more, and reads nothing more: what it sent still arrives. The destination's host answers
 * what comes for a connection that was closed there at once.
 */
void mr_sim_close(struct mr_sim *sim, uint32_t number, bool by_source)
{
	struct sim_connection *connection = &sim->connections[number];
	const struct mr_line line = {.event = MR_LINE_EOF, .time = sim->now, .channel = number, .backward = !by_source};

	if (!connection->opened || connection->gone)
		return;
	if (!by_source) {
		pipe_of(sim, MR_LINK_BACKWARD, number)->closed = true;
		mr_sim_line(sim, &line);
		mr_sim_at(sim, sim->now + sim->scenario->link.latency, MOMENT_CLOSED, number, 0);
		return;
	}
	if (pipe_of(sim, MR_LINK_FORWARD, number)->closed)
		return;
	pipe_of(sim, MR_LINK_FORWARD, number)->closed = true;
	mr_sim_line(sim, &line);
	if (mr_link_is_at_end(&sim->link, MR_LINK_FORWARD, number))
		mr_sim_show(sim, MR_LINK_FORWARD, number);
}

/* The source's host learns that the destination has closed. Who only writes there notices when writing next. */
void mr_sim_closed(struct mr_sim *sim, uint32_t number)
{
	struct sim_connection *connection = &sim->connections[number];

	if (connection->gone)
		return;
	connection->refused = true;
	mr_sim_show(sim, MR_LINK_BACKWARD, number);
	pipe_of(sim, MR_LINK_FORWARD, number)->broken = true;
	free_writers(sim, MR_LINK_FORWARD, number);
}
