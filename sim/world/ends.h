/*
 * ends.h: what both machines of a migration are set up with, as a scenario has it: profiles, blocks, devices
 * and their description, parameters. Guest memory, choices and buffers are for who runs them to add.
 */
#ifndef MR_WORLD_ENDS_H
#define MR_WORLD_ENDS_H

#include "ref/incoming.h"
#include "ref/outgoing.h"
#include "sim/world/scenario.h"

/* It points into itself and into the scenario: neither may move or go before it is cleared. */
struct mr_ends {
	struct mr_outgoing_config source;
	struct mr_incoming_config destination;
	struct mr_description *description;
	char *description_text; /* that it was read from, and that the source sends */

	/* private */
	struct mr_outgoing_block source_blocks[MR_SCENARIO_BLOCKS_MAX];
	struct mr_incoming_block destination_blocks[MR_SCENARIO_BLOCKS_MAX];
	struct mr_handlers handlers;
	struct mr_handler_entry entries[MR_SCENARIO_DEVICES_MAX + 2];
	char machine[64];
	char device_names[MR_SCENARIO_DEVICES_MAX][24];
};

/* `ends` is zeroed; the scenario passes mr_scenario_check(). 0, or -1 with one line in `error`; cleared by the
 * caller either way. */
int mr_ends_init(struct mr_ends *ends, const struct mr_scenario *scenario, char *error, size_t error_size);
void mr_ends_clear(struct mr_ends *ends);

/* What the device of a handler saves, `device_bytes` of the scenario: a function of the device, and of nothing else. */
void mr_ends_device(const struct mr_scenario *scenario, uint32_t handler, uint8_t *body);
/* Bytes of the largest host page: what each of the destination's `temporary` has to hold. */
size_t mr_ends_largest_page(const struct mr_scenario *scenario);

#endif
