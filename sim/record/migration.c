/*
 * migration.c: all channels of a migration, pulled record by record in an order in which a destination may take them.
 */
#include "sim/record/migration.h"
#include "sim/record/page_size.h"
#include "sim/record/vector.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FIRST_BYTES = 8, COMMAND_TYPE = 0x08, STREAM_NAME_MAX = 16 };

/* ---- Context ---- */

static void context_from_recording(struct mr_context *context, const struct mr_recording *recording)
{
	const struct mr_multifd_method *method;

	/* a tap may not know them */
	context->capabilities_known = json_object_get(recording->manifest, "capabilities") != NULL;
	for (size_t i = 0; i < recording->capability_count; i++)
		context->capabilities |= mr_capability_by_name(recording->capabilities[i]);
	mr_profile_init(&context->profile, recording->source_qemu);
	context->target_page_size = (uint32_t)recording->target_page_size;
	if (recording->machine && strlen(recording->machine) < sizeof(context->machine)) {
		mr_profile_apply_machine(&context->profile, recording->machine);
		memcpy(context->machine, recording->machine, strlen(recording->machine) + 1);
	}
	if (context->capabilities & MR_CAPABILITY_MULTIFD) {
		context->multifd_channels = (uint32_t)mr_recording_parameter_integer(recording, "multifd-channels", 2);
		method = mr_multifd_method_by_name(
			mr_recording_parameter_string(recording, "multifd-compression", "none"));
		context->multifd_method = method ? method->flag : MR_METHOD_UNKNOWN;
	}
}

static int build_context(struct mr_context *context, const struct mr_recording *recording,
			 const struct mr_stream_options *options, char *error, size_t error_size)
{
	memset(context, 0, sizeof(*context));
	context->multifd_method = MR_METHOD_UNKNOWN;
	if (recording)
		context_from_recording(context, recording);
	if (options->release && mr_profile_init(&context->profile, options->release) < 0) {
		snprintf(error, error_size, "%s: expected a QEMU release from 2.5 to 11.1", options->release);
		return -1;
	}
	if (options->release && context->machine[0])
		mr_profile_apply_machine(&context->profile, context->machine);
	if (options->target_page_size)
		context->target_page_size = options->target_page_size;
	context->capabilities |= options->capabilities;
	context->capabilities_known |= options->capabilities_given;
	return 0;
}

/* ---- Channels ---- */

static int add_channel(struct mr_migration *migration, const char *name, struct mr_input *input, enum mr_role role,
		       unsigned number, char *error, size_t error_size)
{
	struct mr_channel *channel = &migration->channels[migration->channel_count];

	if (mr_channel_init(channel, migration->session, name, input, role, number) < 0) {
		snprintf(error, error_size, "%s: no memory for a decoder", name);
		return -1;
	}
	migration->channel_count++;
	return 0;
}

static struct mr_bytes first_bytes(struct mr_input *input)
{
	struct mr_bytes first;
	bool at_end;

	mr_input_fill(input, FIRST_BYTES);
	first.data = mr_input_window(input, &first.length, &at_end);
	return first;
}

/* First bytes that contradict the order or the capabilities: the channel is read as what its bytes say. */
static void report_role(const struct mr_session *session, unsigned number, enum mr_role role, struct mr_bytes first)
{
	struct mr_finding finding = {.rule = MR_CHN_001, .verdict = mr_rule_verdict(MR_CHN_001), .channel = number};

	snprintf(finding.expected, sizeof(finding.expected), "a connection that fits the order and the capabilities");
	snprintf(finding.found, sizeof(finding.found), "%s, by its first %zu bytes", mr_role_name(role), first.length);
	if (session->report)
		session->report(session->report_argument, &finding);
}

static int open_forward(struct mr_migration *migration, unsigned number, struct mr_channel_census *census, char *error,
			size_t error_size)
{
	struct mr_input *input;
	enum mr_role role;
	char name[24];

	snprintf(name, sizeof(name), "ch%u.fwd", number);
	if (mr_recording_open_file(migration->recording, name, &input, error, error_size) < 0)
		return -1;
	/*
	 * A recording that has connections of both kinds tells of a cut by them alone; a timeline only adds the moment.
	 */
	const struct mr_bytes first = first_bytes(input);
	census->cut = census->main && first.length && first.data[0] == COMMAND_TYPE;
	if (migration->recording->channels[number].role_told)
		role = migration->recording->channels[number].role;
	else if (!mr_channel_identify(census, first, &role))
		report_role(migration->session, number, role, first);
	return add_channel(migration, name, input, role, number, error, error_size);
}

static int open_return(struct mr_migration *migration, unsigned number, char *error, size_t error_size)
{
	struct mr_input *input;
	char name[24];

	snprintf(name, sizeof(name), "ch%u.ret", number);
	if (mr_recording_open_file(migration->recording, name, &input, error, error_size) < 0)
		return -1;
	return add_channel(migration, name, input, MR_ROLE_RETURN, number, error, error_size);
}

/* A migration to a mapped-ram file has no connections: the file is its only channel. */
static int open_mapped(struct mr_migration *migration, char *error, size_t error_size)
{
	struct mr_input *input;

	if (!migration->recording->has_mapped) {
		snprintf(error, error_size, "%s: expected a recording with channels, found none",
			 migration->recording->directory);
		return -1;
	}
	if (mr_recording_open_file(migration->recording, "state.mapped", &input, error, error_size) < 0)
		return -1;
	return add_channel(migration, "state.mapped", input, MR_ROLE_MAIN, 0, error, error_size);
}

static int open_channels(struct mr_migration *migration, char *error, size_t error_size)
{
	const struct mr_recording *recording = migration->recording;
	const struct mr_context *context = &migration->session->context;
	struct mr_channel_census census = {.capabilities = context->capabilities,
					   .capabilities_known = context->capabilities_known};

	if (recording->channel_count == 0)
		return open_mapped(migration, error, error_size);
	for (unsigned i = 0; i < recording->channel_count; i++)
		if (recording->channels[i].has_forward && open_forward(migration, i, &census, error, error_size) < 0)
			return -1;
	for (unsigned i = 0; i < recording->channel_count; i++)
		if (recording->channels[i].has_return && open_return(migration, i, error, error_size) < 0)
			return -1;
	return 0;
}

/* A lone stream tells its role by its name or first bytes; what begins with a command goes on after a cut. */
static enum mr_role lone_role(const char *path, struct mr_bytes first, const struct mr_stream_options *options)
{
	struct mr_channel_census census = {0};
	enum mr_role role;

	if (options->role_given)
		return options->role;
	if (strstr(path, ".ret"))
		return MR_ROLE_RETURN;
	if (strstr(path, ".fwd") && first.length && first.data[0] != 'Q')
		census.main = 1;
	if (first.length && first.data[0] == COMMAND_TYPE)
		census = (struct mr_channel_census){.main = 1, .cut = true};
	mr_channel_identify(&census, first, &role);
	return role;
}

/* The stream's own subsection still counts more than what its end says. */
static void look_for_page_size(struct mr_session *session, const struct mr_input *input, const char *path)
{
	const uint32_t page_size = session->context.target_page_size ? 0 : mr_look_for_page_size(input, path);

	if (page_size)
		session->target_page_size = page_size;
}

/*
 * What a lone stream is called, and its number: those of a recording's channel, "ch3.fwd.zst", show in its file name.
 */
static unsigned name_stream(const char *path, char name[STREAM_NAME_MAX])
{
	const char *slash = strrchr(path, '/');
	const char *file = slash ? slash + 1 : path;
	unsigned long number;
	char *suffix;

	snprintf(name, STREAM_NAME_MAX, "stream");
	if (strncmp(file, "ch", 2) != 0 || file[2] < '0' || file[2] > '9')
		return 0;
	number = strtoul(file + 2, &suffix, 10);
	if (number >= MR_RECORDING_CHANNELS_MAX || (strncmp(suffix, ".fwd", 4) != 0 && strncmp(suffix, ".ret", 4) != 0))
		return 0;
	snprintf(name, STREAM_NAME_MAX, "ch%lu%.4s", number, suffix);
	return (unsigned)number;
}

static int open_stream(struct mr_migration *migration, const char *path, const struct mr_stream_options *options,
		       char *error, size_t error_size)
{
	struct mr_input *input;
	enum mr_role role;
	char name[STREAM_NAME_MAX];
	const unsigned number = name_stream(path, name);

	if (mr_input_open(&input, path, error, error_size) < 0 ||
	    mr_container_open(&migration->container, &input, error, error_size) < 0)
		return -1;
	role = lone_role(path, first_bytes(input), options);
	if (role == MR_ROLE_MAIN)
		look_for_page_size(migration->session, input, path);
	if (add_channel(migration, name, input, role, number, error, error_size) < 0)
		return -1;
	migration->channels[0].decoder->offset = mr_container_stream_offset(migration->container);
	return 0;
}

/* The recording that a stream is a channel of, if its folder has a manifest. */
static struct mr_recording *recording_beside(const char *path)
{
	struct mr_recording *recording = NULL;
	const char *slash = strrchr(path, '/');
	char *folder = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
	char *manifest = NULL;
	char ignored[256];

	if (folder && asprintf(&manifest, "%s/manifest.json", folder) > 0) {
		struct stat status;

		if (stat(manifest, &status) == 0 && mr_recording_open(&recording, folder, ignored, sizeof(ignored)) < 0)
			recording = NULL;
		free(manifest);
	}
	free(folder);
	return recording;
}

/* ---- Vectors ---- */

static bool is_vector(const char *path)
{
	const size_t length = strlen(path);

	return length > 5 && strcmp(path + length - 5, ".json") == 0;
}

static int add_vector_channel(struct mr_migration *migration, const struct mr_vector_channel *source, char *error,
			      size_t error_size)
{
	struct mr_input *input;
	char name[16];

	snprintf(name, sizeof(name), "ch%u.%s", (unsigned)source->channel % 1000,
		 source->role == MR_ROLE_RETURN ? "ret" : "fwd");
	if (mr_input_open_memory(&input, name, source->bytes, source->length) < 0) {
		snprintf(error, error_size, "%s: no memory", name);
		return -1;
	}
	return add_channel(migration, name, input, source->role, source->channel, error, error_size);
}

/* A test vector is a migration too: its channels and context come from one file. */
static int open_vector(struct mr_migration *migration, const char *path, mr_report_function *report,
		       void *report_argument, char *error, size_t error_size)
{
	struct mr_vector vector;
	char message[MR_VECTOR_MESSAGE_MAX];
	int status = 0;

	if (mr_vector_load(&vector, path, message) < 0) {
		snprintf(error, error_size, "%s", message);
		return -1;
	}
	if (mr_vector_session(&vector, migration->session, report, report_argument) < 0) {
		snprintf(error, error_size, "%s: its blocks do not fit into a session", path);
		status = -1;
	}
	for (unsigned i = 0; i < vector.channel_count && status == 0; i++)
		status = add_vector_channel(migration, &vector.channels[i], error, error_size);
	migration->lone = vector.channel_count <= 1;
	migration->finished = true;
	mr_vector_free(&vector);
	return status;
}

static bool is_directory(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

/* What the source's devices look like, where a recording tells it beside its streams. */
static int read_description(struct mr_migration *migration, char *error, size_t error_size)
{
	struct mr_input *input;
	char reason[96] = "";
	struct mr_bytes text;
	int status = 0;
	bool at_end;

	if (!migration->recording || !migration->recording->has_description)
		return 0;
	if (mr_recording_open_file(migration->recording, "description.json", &input, error, error_size) < 0)
		return -1;
	if (mr_input_fill(input, MR_DESCRIPTION_MAX + 1) < 0) {
		snprintf(error, error_size, "%s", mr_input_error(input));
		status = -1;
	} else {
		text.data = mr_input_window(input, &text.length, &at_end);
		migration->description = mr_description_new(text, reason);
		if (!migration->description) {
			snprintf(error, error_size, "%s: %s", mr_input_name(input), reason);
			status = -1;
		}
	}
	mr_input_close(input);
	return status;
}

static int open_recording(struct mr_migration *migration, const char *path, const struct mr_stream_options *options,
			  char *error, size_t error_size)
{
	if (!migration->lone) {
		if (mr_recording_open(&migration->recording, path, error, error_size) < 0)
			return -1;
	} else if (options->manifest) {
		return mr_recording_open_manifest(&migration->recording, options->manifest, error, error_size);
	} else {
		migration->recording = recording_beside(path);
	}
	return read_description(migration, error, error_size);
}

int mr_migration_open(struct mr_migration **result, const char *path, const struct mr_stream_options *options,
		      mr_report_function *report, void *report_argument, char *error, size_t error_size)
{
	struct mr_migration *migration = calloc(1, sizeof(*migration));
	struct mr_context context;
	int status = -1;

	*result = NULL;
	if (migration) {
		migration->session = malloc(sizeof(*migration->session));
		migration->channels = calloc(2 * MR_RECORDING_CHANNELS_MAX, sizeof(*migration->channels));
	}
	if (!migration || !migration->session || !migration->channels) {
		snprintf(error, error_size, "%s: no memory", path);
		mr_migration_close(migration);
		return -1;
	}
	migration->lone = !is_directory(path);
	if (migration->lone && is_vector(path)) {
		status = open_vector(migration, path, report, report_argument, error, error_size);
	} else if (open_recording(migration, path, options, error, error_size) == 0 &&
		   build_context(&context, migration->recording, options, error, error_size) == 0) {
		mr_session_init(migration->session, &context, report, report_argument);
		migration->finished = migration->lone || strcmp(migration->recording->status, "completed") == 0;
		status = migration->lone ? open_stream(migration, path, options, error, error_size)
					 : open_channels(migration, error, error_size);
	}
	if (status < 0) {
		mr_migration_close(migration);
		return -1;
	}
	migration->session->context.description = options->description;
	migration->session->context.description_foreign = options->description != NULL;
	if (!options->description)
		migration->session->context.description = migration->description;
	migration->barrier_channel = migration->channel_count;
	*result = migration;
	return 0;
}

void mr_migration_close(struct mr_migration *migration)
{
	if (!migration)
		return;
	for (size_t i = 0; i < migration->channel_count; i++)
		mr_channel_clear(&migration->channels[i]);
	mr_description_free(migration->description);
	mr_recording_close(migration->recording);
	mr_container_close(migration->container);
	free(migration->channels);
	free(migration->session);
	free(migration);
}

/* ---- Order ---- */

static bool is_main(const struct mr_channel *channel)
{
	return channel->role == MR_ROLE_MAIN || channel->role == MR_ROLE_RECOVERY;
}

/* From `from` on, the next channel that the order takes as a main one; a lone stream is one, whatever its role. */
static size_t next_main(const struct mr_migration *migration, size_t from)
{
	while (from < migration->channel_count && !migration->lone && !is_main(&migration->channels[from]))
		from++;
	return from;
}

static size_t next_multifd(const struct mr_migration *migration, size_t from)
{
	while (from < migration->channel_count &&
	       (migration->channels[from].role != MR_ROLE_MULTIFD || migration->channels[from].ended))
		from++;
	return from;
}

bool mr_migration_continues(const struct mr_migration *migration, const struct mr_channel *channel)
{
	const size_t index = (size_t)(channel - migration->channels);

	if (channel->role == MR_ROLE_RETURN) {
		for (size_t i = index + 1; i < migration->channel_count; i++)
			if (migration->channels[i].role == MR_ROLE_RETURN)
				return true;
		return false;
	}
	return next_main(migration, index + 1) < migration->channel_count;
}

static bool is_barrier(struct mr_migration *migration, const struct mr_record *record)
{
	const struct mr_profile *profile = &migration->session->context.profile;

	if (record->kind == MR_RAM_FLUSH)
		migration->flush_seen = true;
	if (profile->known && mr_profile_does(profile, MR_SWITCH_FLUSH_EACH_SECTION))
		return record->kind == MR_RAM_EOS;
	if (profile->known || migration->flush_seen)
		return record->kind == MR_RAM_FLUSH;
	return record->kind == MR_RAM_EOS;
}

/* A destination may ask before it has heard of RESUME: the block that it named before a cut is still meant (REC-011).
 */
static void remember_request(const struct mr_migration *migration, size_t index)
{
	struct mr_decoder *decoder = migration->channels[index].decoder;
	const struct mr_decoder *before = index ? migration->channels[index - 1].decoder : NULL;

	if (decoder->role != MR_ROLE_RETURN || decoder->offset || !before || before->role != MR_ROLE_RETURN)
		return;
	decoder->requested = before->requested;
	decoder->requested_block = before->requested_block;
}

static enum mr_result pull(struct mr_migration *migration, size_t index, struct mr_channel **channel,
			   struct mr_record *record, const uint8_t **wire)
{
	remember_request(migration, index);
	*channel = &migration->channels[index];
	return mr_channel_next(*channel, record, wire);
}

static enum mr_result pull_barrier(struct mr_migration *migration, struct mr_channel **channel,
				   struct mr_record *record, const uint8_t **wire)
{
	const size_t index = migration->barrier_channel;
	const enum mr_result result = pull(migration, index, channel, record, wire);
	const bool sync = result == MR_RECORD && record->kind == MR_MULTIFD_PACKET &&
			  (record->packet.flags & MR_MULTIFD_FLAG_SYNC);

	if (sync || result != MR_RECORD)
		migration->barrier_channel = next_multifd(migration, index + 1);
	return result;
}

static enum mr_result pull_rest(struct mr_migration *migration, struct mr_channel **channel, struct mr_record *record,
				const uint8_t **wire)
{
	while (migration->drain < migration->channel_count && migration->channels[migration->drain].ended)
		migration->drain++;
	if (migration->drain < migration->channel_count)
		return pull(migration, migration->drain, channel, record, wire);
	*channel = NULL;
	return MR_DONE;
}

enum mr_result mr_migration_next(struct mr_migration *migration, struct mr_channel **channel, struct mr_record *record,
				 const uint8_t **wire)
{
	enum mr_result result;

	if (migration->barrier_channel < migration->channel_count)
		return pull_barrier(migration, channel, record, wire);
	migration->main = next_main(migration, migration->main);
	if (migration->main == migration->channel_count)
		return pull_rest(migration, channel, record, wire);
	result = pull(migration, migration->main, channel, record, wire);
	if (result != MR_RECORD)
		migration->main++;
	else if (is_barrier(migration, record))
		migration->barrier_channel = next_multifd(migration, 0);
	return result;
}

double mr_migration_fraction(const struct mr_migration *migration, uint64_t *bytes)
{
	double sum = 0, weight = 0;

	*bytes = 0;
	for (size_t i = 0; i < migration->channel_count; i++) {
		const struct mr_input *input = migration->channels[i].input;
		const double total = (double)mr_input_total(input);

		*bytes += migration->channels[i].decoder->offset;
		if (mr_input_fraction(input) < 0)
			return -1;
		sum += mr_input_fraction(input) * total;
		weight += total;
	}
	return weight > 0 ? sum / weight : -1;
}
