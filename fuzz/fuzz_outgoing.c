/*
 * fuzz_outgoing.c: the source's machine under any return path, any schedule, any guest, any operator and any failures.
 *
 * The input is a program: four bytes of options, then operations, each a byte: five bits of operand above three bits of
 * kind. There is no destination: whole messages are made for the program, or it brings bytes of its own. What goes out
 * is decoded as long as nothing has gone wrong.
 */
#include "common.h"
#include "outgoing.h"

enum {
	PAGE = 4096,
	HUGE_PAGE = 16384,
	BLOCKS = 3,
	BLOCK_PAGES = 16,
	CONNECTIONS = 10,
	SENDERS = 2,
	ACTORS = MR_SOURCE_MULTIFD + SENDERS,
	ARENA = 8 << 20,
	RETURN_BYTES = 8192, /* of a connection */
	FORWARD_BYTES = 1 << 20,
	RUN_STEPS = 64,
	LAST_ROUNDS = 20000,
	TICK = 20000000, /* ns */
	LOADED = 0x42,
};

enum operation { STEP, RUN, FEED, BREAK, FAIL, OPERATE, GUEST, MESSAGE };

struct connection {
	enum mr_role role;
	bool open, broken, at_end;
	uint8_t backward[RETURN_BYTES], forward[FORWARD_BYTES];
	size_t given, sent, decoded;
	struct mr_decoder decoder;
};

static _Alignas(64) uint8_t arena[ARENA];
static uint8_t guest[BLOCKS][BLOCK_PAGES * PAGE];
static bool dirty[BLOCKS][BLOCK_PAGES];
static struct connection connections[CONNECTIONS];
static uint32_t connection_count;
static struct mr_session session;
static struct mr_outgoing *outgoing;
static struct mr_handlers handlers;
static struct mr_handler_entry entries[4];
static struct mr_profile profile;
static struct mr_description *description;
static bool guest_runs, over, spoiled, switching, discarded;
static int next_error;
static uint64_t now, chance;

static struct mr_outgoing_block blocks[BLOCKS] = {
	{.name = "mem", .used_length = BLOCK_PAGES * PAGE},
	{.name = "huge", .used_length = 2 * HUGE_PAGE, .page_size = HUGE_PAGE, .cache_offset = BLOCK_PAGES * PAGE},
	{.name = "rom", .used_length = PAGE, .cache_offset = 2 * BLOCK_PAGES * PAGE},
};

/* ---- Beginning ---- */

static const uint8_t *page(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look look)
{
	(void)argument;
	(void)look;
	fuzz_demand(actor < ACTORS && block < BLOCKS && offset < blocks[block].used_length && offset % PAGE == 0);
	return guest[block] + offset;
}

static uint64_t choose(void *argument, enum mr_choice choice, uint64_t canonical)
{
	(void)argument;
	fuzz_demand(choice < MR_CHOICE_COUNT);
	chance = chance * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return chance >> 62 ? canonical : chance >> 56 & 3;
}

static const uint8_t device_body[] = "0123456789";

static void register_handlers(void)
{
	static const struct mr_handler timer = {.name = "timer", .alias = MR_ALIAS_NONE, .version = 2};
	static const char text[] = "{\"page_size\": 4096, \"devices\": [{\"name\": \"timer\", \"instance_id\": 0, "
				   "\"vmsd_name\": \"timer\", \"version\": 2, "
				   "\"fields\": [{\"name\": \"a\", \"type\": \"buffer\", \"size\": 10}]}]}";
	struct mr_handler ram;
	char error[96];

	if (!description)
		description = mr_description_new((struct mr_bytes){(const uint8_t *)text, sizeof(text) - 1}, error);
	mr_handlers_init(&handlers, &profile, entries, 4);
	fuzz_demand(description && mr_handler_known("ram", &ram) &&
		    mr_handlers_register(&handlers, &ram, NULL, error) == MR_NO_RULE &&
		    mr_handlers_register(&handlers, &timer, NULL, error) == MR_NO_RULE);
}

static uint32_t capabilities_of(uint8_t option)
{
	static const uint32_t bits[8] = {
		MR_CAPABILITY_POSTCOPY_RAM,  MR_CAPABILITY_POSTCOPY_PREEMPT,
		MR_CAPABILITY_MULTIFD,       MR_CAPABILITY_RETURN_PATH,
		MR_CAPABILITY_XBZRLE,        MR_CAPABILITY_SWITCHOVER_ACK,
		MR_CAPABILITY_IGNORE_SHARED, MR_CAPABILITY_BACKGROUND_SNAPSHOT,
	};
	uint32_t capabilities = 0;

	for (unsigned i = 0; i < 8; i++)
		capabilities |= option >> i & 1 ? bits[i] : 0;
	/* as QEMU refuses them */
	if (capabilities & MR_CAPABILITY_BACKGROUND_SNAPSHOT)
		capabilities = MR_CAPABILITY_BACKGROUND_SNAPSHOT;
	if (!(capabilities & MR_CAPABILITY_POSTCOPY_RAM))
		capabilities &= ~(uint32_t)MR_CAPABILITY_POSTCOPY_PREEMPT;
	else
		capabilities &= ~(uint32_t)MR_CAPABILITY_IGNORE_SHARED;
	if (capabilities & MR_CAPABILITY_MULTIFD)
		capabilities &= ~(uint32_t)(MR_CAPABILITY_XBZRLE | MR_CAPABILITY_POSTCOPY_PREEMPT);
	return capabilities;
}

static void set_profile(uint8_t option)
{
	static const char *const releases[] = {"2.6", "3.1", "4.2", "7.2", "8.1", "8.2", "10.1", "11.1"};
	static struct mr_profile profiles[8];

	if (!profiles[0].known)
		for (size_t i = 0; i < 8; i++)
			mr_profile_init(&profiles[i], releases[i]);
	profile = profiles[option & 7];
}

static void set_session(uint32_t capabilities)
{
	const struct mr_context context = {
		.profile = profile,
		.capabilities_known = true,
		.capabilities = capabilities,
		.multifd_channels = capabilities & MR_CAPABILITY_MULTIFD ? SENDERS : 0,
		.multifd_method = 0,
		.description = description,
	};

	mr_session_init(&session, &context, NULL, NULL);
}

static void begin(uint8_t release, uint8_t capability, uint8_t more, uint8_t seed)
{
	static const struct mr_choices choices = {NULL, choose};
	const uint32_t capabilities = capabilities_of(capability);
	struct mr_outgoing_config config = {
		.capabilities = capabilities,
		.pause_before_switchover = more & 1,
		.release_ram = more & 2,
		.auto_converge = more & 4,
		.guest_stopped = more & 8,
		.unplug_first = more & 16,
		.blocks = blocks,
		.block_count = BLOCKS,
		.handlers = &handlers,
		.max_bandwidth = more & 32 ? 1 << 20 : UINT64_MAX,
		.xbzrle_cache_size = 16 * PAGE,
		.clear_bitmap_shift = 6,
		.multifd_channels = SENDERS,
		.package_max = more & 64 ? 64 : 4096,
		.connections_max = CONNECTIONS,
		.memory = {NULL, page},
		.choices = seed ? &choices : NULL,
		.unusual_choices = MR_CHOICES_UNUSUAL,
	};
	char error[96];
	size_t size;

	set_profile(release);
	register_handlers();
	set_session(capabilities);
	config.profile = profile;
	/* A list with addresses and page sizes cannot be told from others (RAM-006). */
	blocks[2].ignored = (capabilities & MR_CAPABILITY_IGNORE_SHARED) != 0;
	blocks[1].page_size = blocks[2].ignored ? 0 : HUGE_PAGE;
	size = mr_outgoing_size(&config, error);
	fuzz_demand(size && size <= ARENA);
	memset(arena, 0, size);
	outgoing = mr_outgoing_init(arena, size, &config);
	fuzz_demand(outgoing != NULL);
	connection_count = 0;
	guest_runs = !config.guest_stopped;
	over = spoiled = switching = discarded = false;
	next_error = 0;
	now = 0;
	chance = seed;
}

/* ---- What goes out ---- */

/* Connections are made in the order of their numbers. */
static void connect(uint32_t channel, enum mr_role role, int error)
{
	struct connection *connection = &connections[channel];

	fuzz_demand(channel == connection_count && channel < CONNECTIONS);
	connection_count++;
	connection->role = role;
	connection->open = error == 0;
	connection->broken = connection->at_end = false;
	connection->given = connection->sent = connection->decoded = 0;
	mr_decoder_init(&connection->decoder, &session, role, channel);
}

/* Every whole record is one that a destination takes. */
static void decode(struct connection *connection)
{
	enum mr_result result = MR_RECORD;
	struct mr_record record;

	while (result == MR_RECORD && connection->decoded < connection->sent) {
		result = mr_decode(&connection->decoder, connection->forward + connection->decoded,
				   connection->sent - connection->decoded, false, &record);
		if (result == MR_RECORD)
			connection->decoded += (size_t)record.length;
	}
	fuzz_demand(result != MR_FAILED);
}

static void take_bytes(const struct mr_source_action *action)
{
	struct connection *connection = &connections[action->send.channel];
	const struct mr_bytes parts[2] = {action->send.head, action->send.body};

	fuzz_demand(action->send.channel < connection_count && connection->open);
	for (unsigned i = 0; i < 2; i++) {
		fuzz_demand(parts[i].length <= FORWARD_BYTES - connection->sent);
		if (parts[i].length)
			memcpy(connection->forward + connection->sent, parts[i].data, parts[i].length);
		connection->sent += parts[i].length;
	}
	if (!connection->broken && !spoiled)
		decode(connection);
}

static void put_log(void)
{
	for (uint32_t block = 0; block < BLOCKS; block++)
		for (uint32_t at = 0; at < blocks[block].used_length / PAGE; at++)
			if (dirty[block][at] && !blocks[block].ignored)
				fuzz_demand(mr_outgoing_dirty(outgoing, block, (uint64_t)at * PAGE, PAGE));
	memset(dirty, 0, sizeof(dirty));
}

static void carry_out(const struct mr_source_action *action, int error)
{
	switch (action->kind) {
	case MR_SOURCE_ACTION_SEND:
		take_bytes(action);
		break;
	case MR_SOURCE_ACTION_CONNECT:
		connect(action->connect.channel, action->connect.role, error);
		break;
	case MR_SOURCE_ACTION_CLOSE:
		fuzz_demand(action->channel < connection_count && connections[action->channel].open);
		connections[action->channel].open = false;
		break;
	case MR_SOURCE_ACTION_LOG_SYNC:
		put_log();
		break;
	case MR_SOURCE_ACTION_STOP_GUEST:
	case MR_SOURCE_ACTION_START_GUEST:
		fuzz_demand(guest_runs == (action->kind == MR_SOURCE_ACTION_STOP_GUEST));
		guest_runs = !guest_runs;
		break;
	case MR_SOURCE_ACTION_SAVE:
		mr_outgoing_save(outgoing, (struct mr_bytes){device_body, error ? 0 : 10});
		spoiled |= error != 0;
		break;
	case MR_SOURCE_ACTION_DISCARDED:
		switching = false;
		discarded = true;
		break;
	case MR_SOURCE_ACTION_FINISHED:
	case MR_SOURCE_ACTION_FAILED:
		fuzz_demand(!over);
		over = true;
		break;
	default:
		break;
	}
}

/* ---- What holds always ---- */

static uint64_t count_dirty(void)
{
	uint64_t count = 0;

	for (uint32_t block = 0; block < BLOCKS; block++) {
		uint64_t pages;
		const uint64_t *bits = mr_outgoing_dirty_bits(outgoing, block, &pages);

		count += mr_bitmap_count(bits, pages);
	}
	return count;
}

static void check(void)
{
	const enum mr_source_status status = mr_outgoing_status(outgoing);

	fuzz_demand(status < MR_SOURCE_STATUS_COUNT);
	fuzz_demand(mr_outgoing_requests(outgoing) <= MR_OUTGOING_REQUESTS_MAX);
	/* Discards make whole host pages dirty, and the bitmaps of a recovery anything: counted when all are through.
	 */
	if (status < MR_SOURCE_STATUS_POSTCOPY_PAUSED)
		fuzz_demand(switching ? mr_outgoing_dirty_count(outgoing) <= count_dirty()
				      : mr_outgoing_dirty_count(outgoing) == count_dirty());
}

static void show_return_paths(void)
{
	for (uint32_t i = 0; i < connection_count; i++) {
		const struct connection *connection = &connections[i];
		const uint64_t consumed = mr_outgoing_consumed(outgoing, i);

		fuzz_demand(consumed <= connection->given);
		mr_outgoing_feed(outgoing, i, connection->backward + consumed, connection->given - (size_t)consumed,
				 connection->at_end, connection->at_end ? 5 : 0);
	}
}

static enum mr_step step(unsigned actor)
{
	struct mr_source_action action;
	enum mr_step result;
	int error;

	show_return_paths();
	result = mr_outgoing_step(outgoing, actor, &action);
	check();
	if (result != MR_STEP_ACTION)
		return result;
	fuzz_demand(!over && action.kind < MR_SOURCE_ACTION_KIND_COUNT && action.actor == actor);
	error = action.asked ? next_error : 0;
	carry_out(&action, error);
	if (action.asked) {
		fuzz_demand(mr_outgoing_complete(outgoing, actor, error));
		next_error = 0;
	}
	return result;
}

/* ---- The return path ---- */

/* The newest main connection. */
static struct connection *main_connection(void)
{
	for (uint32_t i = connection_count; i > 0; i--)
		if (connections[i - 1].role == MR_ROLE_MAIN || connections[i - 1].role == MR_ROLE_RECOVERY)
			return &connections[i - 1];
	return &connections[0];
}

static void give(const uint8_t *bytes, size_t length)
{
	struct connection *connection = main_connection();
	const size_t room = RETURN_BYTES - connection->given;

	length = length < room ? length : room;
	if (length)
		memcpy(connection->backward + connection->given, bytes, length);
	connection->given += length;
}

static void give_record(const struct mr_return_message *message)
{
	const struct mr_record record = {.kind = MR_RETURN_MESSAGE, .message = *message};
	uint8_t bytes[512];

	give(bytes, mr_encode(&record, bytes, sizeof(bytes)));
}

static struct mr_bytes name_of(uint32_t block)
{
	return (struct mr_bytes){(const uint8_t *)blocks[block].name, strlen(blocks[block].name)};
}

static void give_bitmap(uint32_t block, uint8_t bits)
{
	uint8_t bitmap[8];

	memset(bitmap, bits, sizeof(bitmap));
	give_record(&(struct mr_return_message){
		.type = MR_RETURN_RECV_BITMAP,
		.length = (uint16_t)(1 + name_of(block).length),
		.block = name_of(block),
		.bitmap_size = sizeof(bitmap),
		.bitmap = {bitmap, sizeof(bitmap)},
		.end_mark = UINT64_C(0x0123456789abcdef),
	});
}

static void give_request(uint32_t block, uint8_t at)
{
	give_record(&(struct mr_return_message){
		.type = MR_RETURN_REQ_PAGES_ID,
		.length = (uint16_t)(13 + name_of(block).length),
		.start = (uint64_t)at * PAGE,
		.page_length = block == 1 ? HUGE_PAGE : PAGE,
		.block = name_of(block),
	});
}

static void give_value(unsigned type, uint32_t value)
{
	give_record(&(struct mr_return_message){.type = (uint16_t)type, .length = 4, .value = value});
}

static void give_message(unsigned operand, struct mr_bytes *program)
{
	static const uint8_t ack[] = {0, MR_RETURN_SWITCHOVER_ACK, 0, 0};

	switch (operand % 8) {
	case 0:
		give_value(MR_RETURN_PONG, operand);
		break;
	case 1:
		give_value(MR_RETURN_PONG, LOADED);
		break;
	case 2:
		give_value(MR_RETURN_SHUT, operand >> 4);
		break;
	case 3:
		give_value(MR_RETURN_RESUME_ACK, 1);
		break;
	case 4:
		give(ack, sizeof(ack));
		break;
	case 5:
		for (uint32_t block = 0; block < BLOCKS; block++)
			if (!blocks[block].ignored)
				give_bitmap(block, fuzz_option(program));
		break;
	case 6:
		give_bitmap(operand / 8 % BLOCKS, fuzz_option(program));
		break;
	default:
		give_request(operand / 8 % BLOCKS, fuzz_option(program));
		break;
	}
}

/* ---- Operations ---- */

static void break_connection(unsigned operand)
{
	const uint32_t channel = operand % CONNECTIONS;

	if (channel >= connection_count)
		return;
	connections[channel].at_end |= operand < 2 * CONNECTIONS;
	if (operand < CONNECTIONS)
		return;
	connections[channel].broken = true;
	mr_outgoing_broken(outgoing, channel, (int)operand);
}

static void operate(unsigned operand)
{
	switch (operand % 8) {
	case 0:
		switching |= mr_outgoing_start_postcopy(outgoing) && !discarded;
		break;
	case 1:
		mr_outgoing_continue(outgoing);
		break;
	case 2:
		mr_outgoing_cancel(outgoing);
		break;
	case 3:
		mr_outgoing_pause(outgoing);
		break;
	case 4:
		mr_outgoing_recover(outgoing);
		break;
	default:
		now += (uint64_t)operand * TICK;
		mr_outgoing_set_time(outgoing, now);
		break;
	}
}

static void act_as_guest(unsigned operand, uint8_t what)
{
	const uint32_t block = operand % BLOCKS;
	const uint64_t at = what % BLOCK_PAGES;

	switch (operand / BLOCKS) {
	case 0:
		mr_outgoing_write_fault(outgoing, block, at * PAGE);
		break;
	case 1:
		mr_outgoing_free_hint(outgoing, block, at * PAGE, PAGE);
		break;
	case 2:
	case 3:
		mr_outgoing_plug(outgoing, block, at / 4 * HUGE_PAGE, HUGE_PAGE, operand / BLOCKS == 2);
		break;
	default:
		if (at >= blocks[block].used_length / PAGE || !guest_runs)
			break;
		memset(guest[block] + at * PAGE + what, what >> 4, PAGE / 16);
		dirty[block][at] = true;
		break;
	}
}

static void feed(struct mr_bytes *program)
{
	size_t count = (size_t)fuzz_option(program) + 1;

	count = count < program->length ? count : program->length;
	give(program->data, count);
	program->data += count;
	program->length -= count;
}

static void perform(struct mr_bytes *program)
{
	const uint8_t word = fuzz_option(program);
	const unsigned operand = word >> 3;

	switch ((enum operation)(word & 7)) {
	case STEP:
		step(operand % ACTORS);
		break;
	case RUN:
		for (unsigned i = 0; i < RUN_STEPS && step(operand % ACTORS) == MR_STEP_ACTION; i++)
			;
		break;
	case FEED:
		feed(program);
		break;
	case BREAK:
		break_connection(operand);
		break;
	case FAIL:
		next_error = (int)operand;
		break;
	case OPERATE:
		operate(operand);
		break;
	case GUEST:
		act_as_guest(operand, fuzz_option(program));
		break;
	case MESSAGE:
		give_message(operand, program);
		break;
	}
}

/* ---- The end ---- */

static bool step_everybody(void)
{
	bool moved = false;

	for (unsigned actor = 0; actor < ACTORS; actor++)
		moved |= step(actor) == MR_STEP_ACTION;
	now += TICK;
	mr_outgoing_set_time(outgoing, now);
	mr_outgoing_continue(outgoing);
	return moved;
}

/* Every connection breaks: then the migration ends, or pauses. */
static void finish(void)
{
	enum mr_source_status status;
	unsigned quiet = 0;

	for (unsigned i = 0; quiet < 3; i++) {
		fuzz_demand(i < LAST_ROUNDS);
		for (uint32_t channel = 0; channel < connection_count; channel++) {
			connections[channel].at_end = connections[channel].broken = true;
			mr_outgoing_broken(outgoing, channel, 0);
		}
		quiet = step_everybody() ? 0 : quiet + 1;
	}
	status = mr_outgoing_status(outgoing);
	fuzz_demand(over || (status == MR_SOURCE_STATUS_POSTCOPY_PAUSED &&
			     mr_outgoing_wants(outgoing, MR_SOURCE_MIGRATION).wait == MR_SOURCE_WAIT_OPERATOR));
	for (unsigned actor = 0; over && actor < ACTORS; actor++)
		fuzz_demand(step(actor) != MR_STEP_ACTION);
	mr_outgoing_clear(outgoing);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mr_bytes program = {data, size};
	const uint8_t release = fuzz_option(&program);
	const uint8_t capabilities = fuzz_option(&program);
	const uint8_t more = fuzz_option(&program);

	begin(release, capabilities, more, fuzz_option(&program));
	while (program.length)
		perform(&program);
	finish();
	return 0;
}
