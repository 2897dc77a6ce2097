/* preempt.c: the loader of the preempt channel: how it begins, sleeps and ends. */
#include "machine.h"

static enum outcome ended(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)incoming;
	(void)loader;
	(void)action;
	return ENDED;
}

enum outcome mr_preempt_end(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	loader->channel = NO_CHANNEL;
	loader->phase = ended;
	return mr_act(incoming, loader->actor, action, MR_ACTION_ACTOR_END);
}

static enum outcome wait_for_channel(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	if (incoming->preempt_quit)
		return mr_go(loader, mr_preempt_end);
	if (!mr_take_preempt_channel(incoming))
		return mr_wait(incoming, loader->actor, MR_WAIT_CHANNEL, 0);
	loader->channel = incoming->preempt_channel;
	loader->in_ram = loader->postcopy = true;
	return mr_go(loader, mr_loader_record);
}

static enum outcome continued(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	if (incoming->preempt_quit)
		return mr_go(loader, mr_preempt_end);
	if (!mr_take_release(incoming, loader->actor))
		return mr_wait(incoming, loader->actor, MR_WAIT_RELEASE, 0);
	loader->phase = wait_for_channel;
	return mr_act(incoming, loader->actor, action, MR_ACTION_CONTINUE);
}

/*
 * A broken connection is seen by the listen loader, too, which pauses. A record that is wrong is not in QEMU: the
 * channel sleeps, and who waits for its pages waits on; a strict machine makes it known (PRE-004).
 */
enum outcome mr_preempt_broken(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const bool is_seen = loader->result == -FAULT_IO || incoming->config.strict;

	if (incoming->preempt_quit)
		return mr_go(loader, mr_preempt_end);
	if (is_seen && !channel_at(incoming, loader->channel)->shut)
		incoming->preempt_broken = true;
	if (!incoming->config.strict || loader->result == -FAULT_IO)
		incoming->error.rule = MR_NO_RULE;
	loader->channel = NO_CHANNEL;
	loader->phase = continued;
	return mr_act(incoming, loader->actor, action, MR_ACTION_PARK);
}

enum outcome mr_preempt_begin(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	incoming->preempt_started = true;
	loader->phase = wait_for_channel;
	return mr_act(incoming, loader->actor, action, MR_ACTION_ACTOR_START);
}
