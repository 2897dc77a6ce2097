/* send_actions.c: what the machine asks of its world: memory, what the guest seems to write, devices, connections. */
#include "sim/host/send_state.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- Memory ---- */

/* What is looked at twice in a step is the same: the guest writes in between steps alone. */
static uint8_t *find_look(struct mr_send *send, uint32_t block, uint64_t offset, bool *found)
{
	uint32_t at = send->look_count;

	while (at > 0 && !(send->looks[at - 1].block == block && send->looks[at - 1].offset == offset))
		at--;
	*found = at > 0;
	if (at == 0) {
		at = send->look_count < MR_PACKET_PAGES_MAX ? ++send->look_count : MR_PACKET_PAGES_MAX + 1;
		send->looks[at - 1] = (struct mr_send_look){block, offset};
	}
	return send->pages + (size_t)(at - 1) * send->config.target_page_size;
}

const uint8_t *mr_send_look(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look look)
{
	struct mr_send *send = argument;
	const struct mr_watch *watch = send->options->watch;
	const uint8_t *truth = mr_send_machine_page(send->options->machine, block, offset);
	const uint64_t page = offset / send->config.target_page_size;
	uint8_t *shown;
	bool found;

	(void)actor;
	(void)look;
	if (watch && watch->look)
		watch->look(watch->argument, block, offset);
	if (!mr_pretend_guest_alters(send->guest, block, page))
		return truth;
	shown = find_look(send, block, offset, &found);
	if (!found)
		mr_pretend_guest_show(send->guest, block, page, truth, shown);
	return shown;
}

/* ---- What the guest seems to write ---- */

static void hand_over(void *argument, uint32_t block, uint64_t first, uint64_t count)
{
	struct mr_send *send = argument;
	const uint64_t page_size = send->config.target_page_size;
	const struct mr_source_log_record record = {
		.kind = MR_SOURCE_LOG_DIRTY, .block = block, .start = first * page_size, .length = count * page_size};

	mr_send_tell(send, &record, NULL);
	mr_outgoing_dirty(send->outgoing, block, record.start, record.length);
}

/* It has run since the last fetch, but for its first moment. */
static void fetch_log(struct mr_send *send)
{
	if (send->stopped && !send->written_last)
		mr_pretend_guest_stop(send->guest, hand_over, send);
	else if (!send->stopped && send->logs)
		mr_pretend_guest_run(send->guest, hand_over, send);
	send->written_last = send->stopped;
	send->logs = true;
}

/* ---- What is told ---- */

static void see_status(struct mr_send *send, enum mr_source_status status)
{
	const uint64_t now = mr_clock();

	if (status == MR_SOURCE_STATUS_ACTIVE && send->result->setup_time == 0)
		send->result->setup_time = now - send->started;
	if ((status == MR_SOURCE_STATUS_POSTCOPY_ACTIVE || status == MR_SOURCE_STATUS_COMPLETED) && send->stopped &&
	    send->result->downtime == 0)
		send->result->downtime = now - send->stopped_at;
}

/* What was heard on a return path, unless that is only how it ended. */
static bool is_said(const struct mr_send *send, const struct mr_finding *heard)
{
	return heard->rule != MR_NO_RULE && heard->channel < send->connection_count &&
	       !(send->connections[heard->channel].at_end &&
		 heard->offset >= send->connections[heard->channel].received);
}

static void see_failure(struct mr_send *send, const struct mr_finding *finding)
{
	const struct mr_finding *heard = mr_outgoing_return_error(send->outgoing);
	char *reason = send->result->reason;

	send->failed = true;
	if (is_said(send, heard))
		finding = heard;
	if (finding != heard && send->broke[0])
		snprintf(reason, MR_SEND_TEXT, "%s", send->broke);
	else
		snprintf(reason, MR_SEND_TEXT, "%sch%" PRIu32 " at 0x%" PRIx64 ": %s: expected %s, found %s",
			 finding->backward ? "return path of " : "", finding->channel, finding->offset,
			 finding->rule ? mr_rule_id(finding->rule) : "cancelled", finding->expected, finding->found);
}

static void see(struct mr_send *send, const struct mr_source_action *action)
{
	switch (action->kind) {
	case MR_SOURCE_ACTION_STATUS:
		see_status(send, action->status);
		break;
	case MR_SOURCE_ACTION_ITERATION:
		send->result->passes = action->count;
		break;
	case MR_SOURCE_ACTION_FINISHED:
		send->finished = true;
		break;
	case MR_SOURCE_ACTION_FAILED:
		see_failure(send, &action->finding);
		break;
	default:
		break;
	}
}

/* ---- All of them ---- */

static void stop_guest(struct mr_send *send)
{
	if (!send->stopped)
		send->stopped_at = mr_clock();
	send->stopped = true;
}

/* Before the step is told: what it asks for is there. */
static void do_inside(struct mr_send *send, const struct mr_source_action *action)
{
	switch (action->kind) {
	case MR_SOURCE_ACTION_LOG_SYNC:
		fetch_log(send);
		break;
	case MR_SOURCE_ACTION_STOP_GUEST:
		stop_guest(send);
		break;
	case MR_SOURCE_ACTION_SAVE:
		mr_outgoing_save(send->outgoing, mr_send_machine_body(send->options->machine, action->save.handler));
		break;
	case MR_SOURCE_ACTION_DESCRIBE:
		mr_outgoing_save(send->outgoing, mr_send_machine_description(send->options->machine));
		break;
	default:
		see(send, action);
		break;
	}
}

/* Behind it: a connection may only fail then. */
static void do_outside(struct mr_send *send, const struct mr_source_action *action)
{
	switch (action->kind) {
	case MR_SOURCE_ACTION_CONNECT:
		mr_send_open(send, action->connect.channel, action->connect.role);
		break;
	case MR_SOURCE_ACTION_CLOSE:
		mr_send_close(send, action->channel);
		break;
	case MR_SOURCE_ACTION_SEND:
		mr_send_bytes(send, action);
		break;
	default:
		break;
	}
}

/* Everything but the postcopy of handlers other than `ram` is as if the handler had not been asked. */
static int answer(const struct mr_source_action *action)
{
	if (action->kind != MR_SOURCE_ACTION_HOOK)
		return 0;
	return mr_hook_is_question(action->save.hook) && action->save.hook != MR_HOOK_HAS_POSTCOPY &&
	       action->save.hook != MR_HOOK_SWITCHOVER_ACK_NEEDED;
}

void mr_send_carry_out(struct mr_send *send, const struct mr_source_action *action)
{
	const struct mr_source_log_record step = {.kind = MR_SOURCE_LOG_STEP, .actor = action->actor, .count = 1};
	const unsigned actor = action->actor;
	const bool asked = action->asked;
	const int result = answer(action);

	send->moved = true;
	do_inside(send, action);
	mr_send_tell(send, &step, action);
	do_outside(send, action);
	if (asked)
		mr_outgoing_complete(send->outgoing, actor, result);
}
