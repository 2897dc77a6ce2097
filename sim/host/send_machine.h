/*
 * send_machine.h: the machine of a recording, to be migrated once more: its RAM, configuration and devices as they were
 * when its source had stopped.
 */
#ifndef MR_HOST_SEND_MACHINE_H
#define MR_HOST_SEND_MACHINE_H

#include "ref/outgoing.h"

struct mr_send_machine;

/*
 * Reads the whole recording. `ram`: a raw file with the main RAM block, instead of the recording's; NULL: none. Returns
 * 0, or -1 with one line in `error`: what cannot be read, or what is missing of the machine.
 */
int mr_send_machine_open(struct mr_send_machine **result, const char *recording, const char *ram, char *error,
			 size_t error_size);
/* NULL is allowed. */
void mr_send_machine_close(struct mr_send_machine *machine);

/*
 * Sets `config` up for a source of this machine by `release` (NULL: the recording's), all that a recording tells of the
 * machine alone: no capabilities, no parameters. What it points to lives as long as the machine. -1 with one line in
 * `error`. To be called once.
 */
int mr_send_machine_configure(struct mr_send_machine *machine, const char *release, struct mr_outgoing_config *config,
			      char *error, size_t error_size);

/* The rest is for a machine that is configured. The target page at `offset`; it stays where it is. */
const uint8_t *mr_send_machine_page(const struct mr_send_machine *machine, uint32_t block, uint64_t offset);
/* What the device of a handler sends. */
struct mr_bytes mr_send_machine_body(const struct mr_send_machine *machine, uint32_t handler);
/* Text of the VMDESCRIPTION: as recorded, else one that only tells how long the devices' bodies are. */
struct mr_bytes mr_send_machine_description(const struct mr_send_machine *machine);

#endif
