/* receivers.h: what a destination keeps of compressed multifd channels from packet to packet. */
#ifndef MR_WORLD_RECEIVERS_H
#define MR_WORLD_RECEIVERS_H

#include "ref/incoming.h"

/* Zero it for new ones. Each channel's is its own: different channels may be used by different threads at a time. */
struct mr_receivers {
	/* private */
	const struct mr_multifd_method *methods[MR_INCOMING_MULTIFD_MAX]; /* NULL: no packet with pages came */
	void *states[MR_INCOMING_MULTIFD_MAX];
};

/*
 * Unpacks the pages of a packet on multifd channel number `multifd` that are not zero, each of `page_size` bytes, to
 * where `pages` says. False if the payload is not what its method makes,
 * or the channel began with another one.
 */
bool mr_receivers_unpack(struct mr_receivers *receivers, uint32_t multifd, const struct mr_multifd_packet *packet,
			 uint32_t page_size, uint8_t *pages[]);
void mr_receivers_clear(struct mr_receivers *receivers);

#endif
