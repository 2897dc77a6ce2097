/* source_log.c: the dirty log: begun, fetched, and what its figures lead to: the rate of dirtying, the throttle. */
#include "source.h"

enum {
	RATE_PERIOD = 1000000000, /* ns between two evaluations */
	STRIKES = 2,              /* too much was dirtied so often: the guest is throttled */
};

static source_phase sync_start, sync_done, throttle;

static bool is_period_over(const struct mr_outgoing *outgoing, uint64_t since)
{
	return outgoing->time >= since + RATE_PERIOD;
}

static void update_rate(struct mr_outgoing *outgoing)
{
	struct pace *pace = &outgoing->pace;
	const uint64_t milliseconds = (outgoing->time - pace->rate_start) / 1000000;

	if (!is_period_over(outgoing, pace->rate_start))
		return;
	outgoing->statistics.dirty_pages_rate = pace->rate_dirtied * 1000 / milliseconds;
	pace->rate_start = outgoing->time;
	pace->rate_dirtied = 0;
}

/* Whether the guest dirties so much of what is sent that it has to slow down (SRC-014). */
static bool is_throttle_due(struct mr_outgoing *outgoing)
{
	struct pace *pace = &outgoing->pace;
	const uint64_t sent = mr_source_transferred(outgoing) - pace->throttle_sent;
	const uint64_t dirtied = pace->throttle_dirtied * source_page(outgoing);

	if (!outgoing->config.auto_converge || !is_period_over(outgoing, pace->throttle_start))
		return false;
	pace->throttle_start = outgoing->time;
	pace->throttle_sent = mr_source_transferred(outgoing);
	pace->throttle_dirtied = 0;
	if (dirtied <= sent * outgoing->config.throttle_trigger / 100)
		return false;
	if (++pace->throttle_strikes < STRIKES)
		return false;
	pace->throttle_strikes = 0;
	return outgoing->statistics.throttle < outgoing->config.throttle_maximum;
}

static enum outcome throttle(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	const struct mr_outgoing_config *config = &outgoing->config;
	uint32_t percent = outgoing->statistics.throttle;

	percent = percent ? percent + config->throttle_increment : config->throttle_initial;
	if (percent > config->throttle_maximum)
		percent = config->throttle_maximum;
	outgoing->statistics.throttle = percent;
	action->count = percent;
	actor->phase = sync_done;
	return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_THROTTLE);
}

static enum outcome sync_done(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	(void)outgoing;
	(void)action;
	return mr_source_return(actor, 0);
}

static enum outcome sync_fetched(struct mr_outgoing *outgoing, struct source_actor *actor,
				 struct mr_source_action *action)
{
	(void)action;
	if (!source_does(outgoing, MR_SWITCH_SYNC_COUNTS_ITERATIONS) || outgoing->progress.queried ||
	    outgoing->statistics.dirty_sync_count == 0)
		outgoing->statistics.dirty_sync_count++;
	outgoing->progress.queried = false;
	outgoing->saver.generation = outgoing->statistics.dirty_sync_count;
	update_rate(outgoing);
	return mr_source_go(actor, is_throttle_due(outgoing) ? throttle : sync_done);
}

/* From now on writes are logged again, but for those that have to be allowed chunk by chunk. */
static void forget_chunks(struct mr_outgoing *outgoing)
{
	if (!source_does(outgoing, MR_SWITCH_LOG_CLEARED_LATE))
		return;
	for (uint32_t i = 0; i < outgoing->block_count; i++) {
		const struct source_block *block = source_block_at(outgoing, i);
		const uint64_t chunk = (uint64_t)1 << outgoing->config.clear_bitmap_shift;

		if (!block->ignored && block->pages)
			mr_bitmap_set(source_at(outgoing, block->unlogged), 0, (block->pages + chunk - 1) / chunk);
	}
}

static enum outcome sync_start(struct mr_outgoing *outgoing, struct source_actor *actor,
			       struct mr_source_action *action)
{
	forget_chunks(outgoing);
	actor->phase = sync_fetched;
	return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_LOG_SYNC);
}

enum outcome mr_source_sync(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	if (outgoing->logging)
		return mr_source_go(actor, sync_start);
	outgoing->logging = true;
	outgoing->pace.rate_start = outgoing->pace.throttle_start = outgoing->time;
	actor->phase = sync_start;
	return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_LOG_START);
}
