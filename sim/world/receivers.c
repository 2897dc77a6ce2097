/* receivers.c: a channel's method begins with its first pages, and ends with the destination. */
#include "sim/world/receivers.h"

bool mr_receivers_unpack(struct mr_receivers *receivers, uint32_t multifd, const struct mr_multifd_packet *packet,
			 uint32_t page_size, uint8_t *pages[])
{
	const struct mr_multifd_method *method = mr_multifd_method_by_flag(packet->flags & MR_MULTIFD_METHOD_MASK);
	char found[96];

	if (packet->normal_pages == 0)
		return true;
	if (!receivers->states[multifd]) {
		receivers->methods[multifd] = method;
		receivers->states[multifd] = method->recv_setup(page_size);
	}
	if (receivers->methods[multifd] != method)
		return false;
	return method->recv(receivers->states[multifd], packet->payload, pages, packet->normal_pages, found) ==
	       MR_NO_RULE;
}

void mr_receivers_clear(struct mr_receivers *receivers)
{
	for (unsigned i = 0; i < MR_INCOMING_MULTIFD_MAX; i++)
		if (receivers->states[i])
			receivers->methods[i]->recv_cleanup(receivers->states[i]);
}
