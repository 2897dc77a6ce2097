/*
 * fuzz_incoming.c: the destination's machine under any bytes on any channel, any schedule, any faults and any failures.
 *
 * The input is a program: three bytes of options, then operations, each a byte: five bits of operand above three bits
 * of kind. Channels get bytes that stand in the program; the machine sees them as windows into it.
 */
#include "common.h"
#include "incoming.h"

enum {
	CONNECTIONS = 6,
	BLOCKS = 3,
	ARENA = 8 << 20,
	LAST_ROUNDS = 4096,
	HUGE_PAGE = 16384,
	PAGE = 4096,
	CHANNEL_BYTES = 4096,
};

enum operation { OPEN, FEED, END, STEP, RUN, FAULT, FAIL, LONG_FEED };

static _Alignas(64) uint8_t arena[ARENA];
static uint8_t guest[BLOCKS][4 * HUGE_PAGE];
static uint8_t temporary[2][HUGE_PAGE];
static uint8_t bytes[CONNECTIONS][CHANNEL_BYTES];
static size_t given[CONNECTIONS];
static struct mr_incoming *incoming;
static int next_error;

static const struct mr_incoming_block blocks[BLOCKS] = {
	{.name = "mem", .used_length = 16 * PAGE, .rank = 2},
	{.name = "huge", .used_length = 2 * HUGE_PAGE, .page_size = HUGE_PAGE, .rank = 0, .not_zeroable = true},
	{.name = "rom", .used_length = PAGE, .max_length = 4 * PAGE, .rank = 1},
};

static uint8_t *page(void *argument, uint32_t block, uint64_t offset)
{
	(void)argument;
	fuzz_demand(block < BLOCKS && offset + PAGE <= sizeof(guest[block]));
	return guest[block] + offset;
}

static void zero(void *argument, uint32_t block, uint64_t offset)
{
	memset(page(argument, block, offset), 0, PAGE);
}

static void begin(uint8_t release, uint8_t capabilities, uint8_t more)
{
	static const char *const releases[] = {"2.6", "4.1", "5.1", "7.2", "8.2", "9.2", "10.1", "11.1"};
	static struct mr_profile profiles[8];
	struct mr_incoming_config config = {
		.strict = release & 0x80,
		.blocks = blocks,
		.block_count = BLOCKS,
		.package_max = CHANNEL_BYTES,
		.connections_max = CONNECTIONS,
		.memory_locked = more & 1,
		.start_paused = more & 2,
		.memory = {NULL, page, zero},
		.temporary = {temporary[0], temporary[1]},
	};

	if (!profiles[0].known)
		for (size_t i = 0; i < 8; i++)
			mr_profile_init(&profiles[i], releases[i]);
	config.profile = profiles[release & 7];
	config.context = (struct mr_context){
		.profile = config.profile,
		.capabilities_known = true,
		.capabilities = (capabilities & 1 ? MR_CAPABILITY_POSTCOPY_RAM : 0u) |
				(capabilities & 2 ? MR_CAPABILITY_POSTCOPY_PREEMPT : 0u) |
				(capabilities & 4 ? MR_CAPABILITY_MULTIFD : 0u) |
				(capabilities & 8 ? MR_CAPABILITY_SWITCHOVER_ACK : 0u) |
				(capabilities & 16 ? MR_CAPABILITY_COMPRESS : 0u),
		.multifd_channels = capabilities & 4 ? 1 : 0,
		.multifd_method = MR_METHOD_UNKNOWN,
		.no_configuration = more & 4,
	};
	if (incoming)
		incoming = mr_incoming_reset(incoming, &config);
	else
		incoming = mr_incoming_init(arena, sizeof(arena), &config);
	fuzz_demand(incoming != NULL);
	memset(given, 0, sizeof(given));
	next_error = 0;
}

/* Whoever carries out a packet writes whole pages at its offsets. */
static void check_packet(const struct mr_action *action)
{
	const struct mr_multifd_packet *packet = &action->packet.record;
	const uint32_t block = action->packet.block;

	if (block == UINT32_MAX)
		return;
	fuzz_demand(block < BLOCKS);
	for (uint32_t i = 0; i < packet->normal_pages + packet->zero_pages; i++)
		fuzz_demand(mr_multifd_offset(packet, i) + PAGE <=
			    (blocks[block].max_length ? blocks[block].max_length : blocks[block].used_length));
}

/* What an action points to is readable, and what it says is of this machine. */
static void check(const struct mr_action *action)
{
	static volatile uint8_t sink;

	fuzz_demand(action->kind < MR_ACTION_KIND_COUNT);
	switch (action->kind) {
	case MR_ACTION_PLACE:
		fuzz_demand(action->placed.block < BLOCKS &&
			    action->placed.offset + action->placed.length <=
				    blocks[action->placed.block].used_length + 3 * PAGE);
		if (action->placed.data)
			sink = action->placed.data[action->placed.length - 1];
		break;
	case MR_ACTION_SEND:
		fuzz_demand(action->send.bytes.length > 0);
		sink = action->send.bytes.data[action->send.bytes.length - 1];
		break;
	case MR_ACTION_LOAD_DEVICE:
		if (action->device.body.length)
			sink = action->device.body.data[action->device.body.length - 1];
		break;
	case MR_ACTION_PACKET:
		check_packet(action);
		break;
	case MR_ACTION_DISCARD:
		fuzz_demand(action->range.block < BLOCKS);
		break;
	default:
		break;
	}
	(void)sink;
}

static enum mr_step step(unsigned actor)
{
	struct mr_action action;
	const enum mr_step result = mr_incoming_step(incoming, actor, &action);

	if (result != MR_STEP_ACTION)
		return result;
	check(&action);
	if (action.asked) {
		fuzz_demand(mr_incoming_complete(incoming, actor, next_error));
		next_error = 0;
	}
	return result;
}

static void feed(struct mr_bytes *program, uint32_t channel, size_t count)
{
	const size_t room = CHANNEL_BYTES - given[channel];

	count = count < program->length ? count : program->length;
	count = count < room ? count : room;
	if (count)
		memcpy(bytes[channel] + given[channel], program->data, count);
	given[channel] += count;
	program->data += count;
	program->length -= count;
}

static void show(uint32_t channel, bool at_end)
{
	const uint64_t consumed = mr_incoming_consumed(incoming, channel);

	fuzz_demand(consumed <= given[channel]);
	mr_incoming_feed(incoming, channel, bytes[channel] + consumed, given[channel] - (size_t)consumed, at_end,
			 at_end ? 5 : 0);
}

static void operate(struct mr_bytes *program)
{
	const uint8_t word = fuzz_option(program);
	const unsigned operand = word >> 3;
	const uint32_t channel = operand % CONNECTIONS;

	switch ((enum operation)(word & 7)) {
	case OPEN:
		mr_incoming_open(incoming, channel, (enum mr_role)(fuzz_option(program) % MR_ROLE_RETURN));
		break;
	case FEED:
		feed(program, channel, (size_t)fuzz_option(program) + 1);
		show(channel, false);
		break;
	case LONG_FEED:
		feed(program, channel, (size_t)fuzz_option(program) * 32);
		show(channel, false);
		break;
	case END:
		show(channel, true);
		break;
	case STEP:
		step(operand % 6);
		break;
	case RUN:
		for (unsigned i = 0; i < 64 && step(operand % 6) == MR_STEP_ACTION; i++)
			;
		break;
	case FAULT:
		mr_incoming_fault(incoming, operand % 4, (uint64_t)fuzz_option(program) * 1024, operand);
		break;
	case FAIL:
		next_error = (int)operand;
		break;
	}
}

/* Every actor comes to rest: the steps that are left are as many as the bytes allow. */
static void finish(void)
{
	unsigned rounds = 0, quiet = 0;

	for (uint32_t i = 0; i < CONNECTIONS; i++)
		show(i, true);
	/* A step without an action may let another actor go on. */
	while (quiet < 2) {
		bool moved = false;

		for (unsigned actor = 0; actor < 6; actor++)
			moved |= step(actor) == MR_STEP_ACTION;
		quiet = moved ? 0 : quiet + 1;
		fuzz_demand(++rounds < LAST_ROUNDS);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mr_bytes program = {data, size};
	const uint8_t release = fuzz_option(&program);
	const uint8_t capabilities = fuzz_option(&program);

	begin(release, capabilities, fuzz_option(&program));
	while (program.length)
		operate(&program);
	finish();
	return 0;
}
