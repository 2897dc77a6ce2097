/* client.c: processes that share guest memory and catch faults of their own. */
#include "machine.h"

int mr_incoming_register_client(struct mr_incoming *incoming)
{
	if (!incoming->config.shared_clients || incoming->client_count == MR_INCOMING_CLIENTS_MAX)
		return -1;
	incoming->clients[incoming->client_count] = (struct client){
		.registered = true,
		.watched = !incoming->actors[MR_ACTOR_FAULT].alive,
	};
	return (int)incoming->client_count++;
}

void mr_incoming_unregister_client(struct mr_incoming *incoming, unsigned client)
{
	if (client < incoming->client_count)
		incoming->clients[client].registered = false;
}

bool mr_incoming_client_fault(struct mr_incoming *incoming, unsigned client, uint32_t index, uint64_t offset)
{
	const struct client *from = &incoming->clients[client % MR_INCOMING_CLIENTS_MAX];

	/* QEMU's handler looks at those that were there when it began; a strict one at all of them. */
	if (client >= incoming->client_count || !from->registered || !(from->watched || incoming->config.strict))
		return false;
	if (!mr_incoming_fault(incoming, index, offset, 0))
		return false;
	incoming->fault.client = client + 1;
	return true;
}

static enum outcome woken(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const int error = incoming->actors[loader->actor].error;

	(void)action;
	if (error) {
		mr_blame(incoming, loader, MR_REQ_010, mr_text("a client that can be woken"),
			 mr_text("error %d", error));
		return mr_fail_load(incoming, loader, error);
	}
	return mr_go(loader, mr_wake_clients);
}

enum outcome mr_wake_clients(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	while (loader->index < incoming->client_count && !incoming->clients[loader->index].registered)
		loader->index++;
	if (loader->index == incoming->client_count)
		return mr_go(loader, mr_loader_record);
	action->wake.client = loader->index++;
	action->wake.block = loader->placed.block;
	action->wake.offset = loader->placed.offset;
	loader->phase = woken;
	return mr_act(incoming, loader->actor, action, MR_ACTION_WAKE);
}
