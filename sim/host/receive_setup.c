/* receive_setup.c: what a live destination learns from the stream before it can begin, and the machine made of it. */
#include "sim/host/receive_state.h"

#include "ref/wire/chain.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

enum {
	AHEAD_MAX = 128 << 20,   /* bytes that are read before the blocks have to be known */
	PACKAGE_MAX = 128 << 20, /* bytes of device state in a package */
	SPARE_CONNECTIONS = 64,  /* for recoveries */
	FULL_SECTION = 0x04,
	READ_INTERVAL = 200000, /* ns from touch to touch of a vCPU that nobody described */
	MEBIBYTE = 1 << 20,
};

/* ---- Reading ahead ---- */

static struct receive_connection *main_channel(const struct receive *receive)
{
	for (uint32_t i = 0; i < receive->channel_count; i++)
		if (receive->channels[i]->role == MR_ROLE_MAIN)
			return receive->channels[i];
	return NULL;
}

static bool begin_ahead(struct receive *receive)
{
	struct mr_context context = {
		.capabilities = receive->options->capabilities,
		.multifd_channels = receive->options->multifd_channels,
		.multifd_method = receive->options->multifd_method,
		.description = receive->options->description,
	};

	if (receive->ahead)
		return true;
	if (receive->options->source_qemu)
		mr_profile_init(&context.profile, receive->options->source_qemu);
	receive->ahead_session = malloc(sizeof(*receive->ahead_session));
	receive->ahead = malloc(sizeof(*receive->ahead));
	if (!receive->ahead_session || !receive->ahead) {
		mr_receive_stop(receive, MR_RECEIVE_HOST, "no memory to read ahead");
		return false;
	}
	mr_session_init(receive->ahead_session, &context, NULL, NULL);
	mr_decoder_init(receive->ahead, receive->ahead_session, MR_ROLE_MAIN, 0);
	return true;
}

static void note_capabilities(struct receive *receive, struct mr_bytes list)
{
	struct mr_bytes name;
	char text[MR_NAME_MAX + 1];

	while (mr_counted_string(&list, &name)) {
		memcpy(text, name.data, name.length);
		text[name.length] = '\0';
		receive->result->capabilities |= mr_capability_by_name(text);
	}
}

static void note_command(struct receive *receive, const struct mr_command *command)
{
	if (command->number == MR_COMMAND_OPEN_RETURN_PATH)
		receive->result->capabilities |= MR_CAPABILITY_RETURN_PATH;
	if (command->number == MR_COMMAND_POSTCOPY_ADVISE)
		receive->result->capabilities |=
			command->length ? MR_CAPABILITY_POSTCOPY_RAM : MR_CAPABILITY_DIRTY_BITMAPS;
}

/* True once the list of blocks is whole. */
static bool note_record(struct receive *receive, const struct mr_record *record)
{
	switch (record->kind) {
	case MR_CONFIGURATION:
		if (record->configuration.machine.length <= MR_MACHINE_NAME_MAX)
			memcpy(receive->result->machine, record->configuration.machine.data,
			       record->configuration.machine.length);
		return false;
	case MR_CONFIGURATION_SUBSECTION:
		if (record->subsection.which == MR_SUBSECTION_CAPABILITIES)
			note_capabilities(receive, record->subsection.capabilities);
		return false;
	case MR_COMMAND:
		note_command(receive, &record->command);
		return false;
	case MR_RAM_SIZE:
		receive->blocks_due = record->ram_size.total;
		return receive->blocks_due == 0;
	case MR_RAM_BLOCK:
		if (record->ram_block.used_length >= receive->blocks_due)
			return true;
		receive->blocks_due -= record->ram_block.used_length;
		return false;
	default:
		return false;
	}
}

void mr_receive_learn(struct receive *receive)
{
	const struct receive_connection *connection = main_channel(receive);
	bool listed = false;

	if (!connection || !begin_ahead(receive))
		return;
	while (!listed) {
		const size_t done = (size_t)receive->ahead->offset;
		struct mr_record record;
		const enum mr_result result = mr_decode(receive->ahead, connection->window + done,
							connection->length - done, connection->at_end, &record);

		receive->ahead_wanted = done + receive->ahead->wanted;
		if (result == MR_MORE && receive->ahead_wanted <= AHEAD_MAX)
			return;
		/* what cannot be read is the machine's to judge */
		listed = result != MR_RECORD || note_record(receive, &record);
	}
	mr_receive_make_machine(receive);
}

/* ---- Memory ---- */

static uint64_t host_page(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t round_up(uint64_t size, uint64_t unit)
{
	return size ? (size + unit - 1) / unit * unit : unit;
}

static int allocate_block(struct receive *receive, uint32_t index)
{
	const struct mr_incoming_block *block = &receive->blocks[index];
	const uint64_t page_size = block->page_size ? block->page_size : host_page();
	const enum mr_host_kind kind =
		receive->simulated ? MR_HOST_ANONYMOUS : mr_host_kind_of(page_size, receive->options->ordinary);
	struct mr_host_problem problem;

	if (!receive->simulated && mr_host_kind_page_size(kind) != page_size) {
		mr_receive_stop(receive, MR_RECEIVE_HOST,
				"block %s: expected pages of 4 KiB, 2 MiB or 1 GiB on real memory, found %" PRIu64
				": say --memory simulated",
				block->name, page_size);
		return -1;
	}
	if (mr_host_memory_allocate(&receive->memories[index], kind,
				    round_up(block->used_length, mr_host_kind_page_size(kind)), &problem) == 0)
		return 0;
	mr_receive_stop(receive, MR_RECEIVE_HOST, "block %s: %s%s", block->name, problem.text,
			page_size > host_page() ? "; or say --memory simulated" : "");
	return -1;
}

static uint64_t total_of(const struct receive *receive)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < receive->config.block_count; i++)
		if (__builtin_add_overflow(total, receive->blocks[i].used_length, &total))
			return UINT64_MAX;
	return total;
}

/* Refused in one line before any of it is taken. */
static bool is_affordable(struct receive *receive)
{
	const uint64_t total = total_of(receive);
	struct sysinfo info;

	if (total > receive->options->memory_max) {
		mr_receive_stop(receive, MR_RECEIVE_HOST,
				"the source has %" PRIu64 " MiB of memory, expected at most %" PRIu64
				" MiB: raise --memory-max",
				total / MEBIBYTE, receive->options->memory_max / MEBIBYTE);
		return false;
	}
	if (sysinfo(&info) == 0 && total > (uint64_t)info.totalram * info.mem_unit) {
		mr_receive_stop(receive, MR_RECEIVE_HOST,
				"the source has %" PRIu64 " MiB of memory, this host %" PRIu64 " MiB", total / MEBIBYTE,
				(uint64_t)info.totalram * info.mem_unit / MEBIBYTE);
		return false;
	}
	return true;
}

static bool allocate(struct receive *receive)
{
	const uint32_t count = receive->config.block_count;

	if (!is_affordable(receive))
		return false;
	receive->memories = calloc((size_t)count + 1, sizeof(*receive->memories));
	if (!receive->memories) {
		mr_receive_stop(receive, MR_RECEIVE_HOST, "no memory for %" PRIu32 " blocks", count);
		return false;
	}
	for (uint32_t i = 0; i < count; i++) {
		if (allocate_block(receive, i) < 0)
			return false;
		receive->memory.count++;
	}
	receive->memory.blocks = receive->memories;
	receive->memory.target_page_size = receive->config.target_page_size;
	return true;
}

/* ---- vCPUs ---- */

static uint32_t largest_block(const struct receive *receive)
{
	uint32_t largest = 0;

	for (uint32_t i = 1; i < receive->config.block_count; i++)
		if (receive->blocks[i].used_length > receive->blocks[largest].used_length)
			largest = i;
	return largest;
}

static uint32_t block_named(const struct receive *receive, const char *name)
{
	for (uint32_t i = 0; i < receive->config.block_count; i++)
		if (strcmp(receive->blocks[i].name, name) == 0)
			return i;
	return largest_block(receive);
}

static uint64_t pages_of(const struct receive *receive, uint32_t block)
{
	return receive->blocks[block].used_length / receive->config.target_page_size;
}

static bool describe_workloads(struct receive *receive, struct mr_reader *readers, uint32_t *count)
{
	const struct mr_scenario *scenario = receive->options->scenario;

	for (uint32_t i = 0; i < scenario->workload_count; i++) {
		const struct mr_scenario_workload *workload = &scenario->workloads[i];
		const uint32_t block = block_named(receive, scenario->blocks[workload->block].name);

		if (workload->pattern.kind != MR_PATTERN_IDLE &&
		    workload->pattern.first + workload->pattern.pages > pages_of(receive, block)) {
			mr_receive_stop(receive, MR_RECEIVE_HOST,
					"[workload %s]: expected pages within %s, which has %" PRIu64
					", found %" PRIu64,
					workload->name, receive->blocks[block].name, pages_of(receive, block),
					workload->pattern.first + workload->pattern.pages);
			return false;
		}
		for (uint32_t j = 0; j < workload->vcpu_count; j++)
			readers[(*count)++] = (struct mr_reader){block, workload->pattern, workload->interval};
	}
	return true;
}

static void describe_plain(const struct receive *receive, struct mr_reader *readers, uint32_t *count)
{
	const uint32_t block = largest_block(receive);
	const struct mr_pattern_config pattern = {.kind = MR_PATTERN_RANDOM, .pages = pages_of(receive, block)};

	while (*count < receive->options->vcpus && pattern.pages)
		readers[(*count)++] = (struct mr_reader){block, pattern, READ_INTERVAL};
}

static void make_readers(struct receive *receive)
{
	const struct mr_scenario *scenario = receive->options->scenario;
	struct mr_reader readers[MR_SCENARIO_VCPUS_MAX];
	struct mr_readers_setup setup = {
		.memories = receive->memories,
		.target_page_size = receive->config.target_page_size,
		.readers = readers,
		.seed = scenario ? scenario->seed : 1,
		.touches = receive->options->touches,
	};

	if (scenario && !describe_workloads(receive, readers, &setup.count))
		return;
	if (!scenario)
		describe_plain(receive, readers, &setup.count);
	receive->readers = mr_readers_new(&setup);
	receive->result->vcpus = setup.count;
	if (!receive->readers)
		mr_receive_stop(receive, MR_RECEIVE_HOST, "no memory for %" PRIu32 " vCPUs", setup.count);
}

/* ---- The machine ---- */

static void set_profiles(struct receive *receive)
{
	const struct mr_receive_options *options = receive->options;
	struct mr_incoming_config *config = &receive->config;
	const char *own = options->as ? options->as : options->source_qemu ? options->source_qemu : "11.1";

	if (options->source_qemu)
		mr_profile_init(&config->context.profile, options->source_qemu);
	mr_profile_init(&config->profile, own);
	memcpy(config->context.machine, receive->result->machine, sizeof(config->context.machine));
	mr_profile_apply_machine(&config->context.profile, config->context.machine);
	mr_profile_apply_machine(&config->profile, config->context.machine);
}

static void copy_blocks(struct receive *receive)
{
	const struct mr_session *session = receive->ahead_session;
	struct mr_incoming_config *config = &receive->config;

	for (uint32_t i = 0; i < session->block_count && session->blocks[i].declared; i++) {
		const struct mr_block *block = &session->blocks[i];

		receive->blocks[config->block_count++] = (struct mr_incoming_block){
			.name = block->name,
			.used_length = block->used_length,
			.page_size = block->page_size,
			.rank = i,
			.not_zeroable = block->page_size > config->host_page_size,
		};
	}
	config->blocks = receive->blocks;
}

static void configure(struct receive *receive)
{
	const struct mr_receive_options *options = receive->options;
	struct mr_incoming_config *config = &receive->config;

	config->context.capabilities = receive->result->capabilities;
	config->context.capabilities_known = true;
	config->context.target_page_size = config->target_page_size = receive->ahead_session->target_page_size;
	config->context.multifd_method = options->multifd_method;
	config->context.description = options->description;
	if (receive->result->capabilities & MR_CAPABILITY_MULTIFD)
		config->context.multifd_channels = options->multifd_channels;
	config->strict = options->strict;
	config->host_page_size = (uint32_t)host_page();
	config->package_max = PACKAGE_MAX;
	config->connections_max = config->context.multifd_channels + SPARE_CONNECTIONS;
	if (config->connections_max > MR_RECORDING_CHANNELS_MAX)
		config->connections_max = MR_RECORDING_CHANNELS_MAX;
	set_profiles(receive);
	copy_blocks(receive);
}

static bool make_temporary(struct receive *receive)
{
	size_t largest = receive->config.target_page_size > receive->config.host_page_size
				 ? receive->config.target_page_size
				 : receive->config.host_page_size;

	for (uint32_t i = 0; i < receive->config.block_count; i++)
		if (receive->blocks[i].page_size > largest)
			largest = (size_t)receive->blocks[i].page_size;
	for (unsigned i = 0; i < 2; i++)
		receive->config.temporary[i] = receive->temporary[i] = malloc(largest);
	return receive->temporary[0] && receive->temporary[1];
}

static void make_incoming(struct receive *receive)
{
	struct mr_incoming_config *config = &receive->config;
	char reason[96] = "no memory for a destination";
	size_t size;

	config->memory = (struct mr_incoming_memory){&receive->memory, mr_caught_memory_page, mr_caught_memory_zero};
	size = make_temporary(receive) ? mr_incoming_size(config, reason) : 0;
	receive->arena = size ? calloc(1, size) : NULL;
	receive->incoming = receive->arena ? mr_incoming_init(receive->arena, size, config) : NULL;
	if (!receive->incoming)
		mr_receive_stop(receive, MR_RECEIVE_HOST, "%s", reason);
}

static void tell_blocks(struct receive *receive)
{
	struct mr_receive_result *result = receive->result;

	result->blocks = calloc((size_t)receive->config.block_count + 1, sizeof(*result->blocks));
	for (uint32_t i = 0; result->blocks && i < receive->config.block_count; i++) {
		const struct mr_incoming_block *block = &receive->blocks[i];
		struct mr_receive_block *told = &result->blocks[result->block_count++];

		memcpy(told->name, block->name, strlen(block->name) + 1);
		told->size = block->used_length;
		told->page_size = block->page_size ? block->page_size : receive->config.host_page_size;
	}
}

static void set_actors(struct receive *receive)
{
	receive->actor_count = MR_ACTOR_MULTIFD;
	if (receive->result->capabilities & MR_CAPABILITY_MULTIFD)
		receive->actor_count += receive->options->multifd_channels;
	for (uint32_t i = 0; i < receive->actor_count; i++)
		receive->actors[i] =
			(struct receive_actor){.ready = true, .waits_for = RECEIVE_NOBODY, .reads = RECEIVE_NOBODY};
}

void mr_receive_make_machine(struct receive *receive)
{
	receive->blocks = calloc(MR_BLOCKS_MAX, sizeof(*receive->blocks));
	if (!begin_ahead(receive))
		return;
	if (!receive->blocks) {
		mr_receive_stop(receive, MR_RECEIVE_HOST, "no memory for blocks");
		return;
	}
	configure(receive);
	tell_blocks(receive);
	/* what came is recorded even if there is no memory for it: the machine then never goes on */
	if (allocate(receive))
		make_readers(receive);
	make_incoming(receive);
	if (!receive->incoming)
		return;
	set_actors(receive);
	for (uint32_t i = 0; i < receive->channel_count; i++)
		mr_receive_open_channel(receive, receive->channels[i]);
}

/* Whoever reads memory waits no more, and ends before it goes. */
void mr_receive_free_machine(struct receive *receive)
{
	if (receive->readers)
		mr_readers_ask_to_stop(receive->readers);
	mr_caught_memory_release(&receive->memory);
	if (receive->readers)
		mr_readers_stop(receive->readers);
	mr_readers_free(receive->readers);
	for (uint32_t i = 0; i < receive->memory.count; i++)
		mr_host_memory_free(&receive->memories[i]);
	mr_receivers_clear(&receive->receivers);
	free(receive->memories);
	free(receive->arena);
	free(receive->temporary[0]);
	free(receive->temporary[1]);
	free(receive->blocks);
	free(receive->ahead);
	free(receive->ahead_session);
}

/* ---- The end of precopy ---- */

bool mr_receive_is_described(const struct receive *receive, const struct receive_connection *connection)
{
	const size_t used = (size_t)(mr_incoming_consumed(receive->incoming, connection->number) - connection->base);
	const struct mr_bytes rest = {connection->window + used, connection->length - used};
	struct mr_description *description;
	struct mr_bytes json;
	char error[96];

	if (connection->role != MR_ROLE_MAIN || rest.length == 0 || rest.data[0] != FULL_SECTION ||
	    rest.data[rest.length - 1] != '}' || mr_chain_find_description(rest, &json) == SIZE_MAX)
		return false;
	description = mr_description_new(json, error);
	mr_description_free(description);
	return description != NULL;
}
