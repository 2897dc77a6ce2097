/* tapped.c: the recording that a tap writes: what crossed each connection, when, and nothing that a tap cannot know. */
#include "sim/record/tapped.h"
#include "sim/record/packed_file.h"
#include "sim/record/redact.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	ROLE_BYTES = 4,
	FIRST_BYTES = 13 + MR_MACHINE_NAME_MAX, /* header, and the machine's name */
	FORWARD = 0,
	RETURN = 1,
};

static const char MANIFEST[] = "manifest.json", UNFINISHED[] = "manifest.json.part", TIMELINE[] = "timeline.jsonl";
static const char *const suffixes[] = {"fwd", "ret"};

struct channel {
	struct mr_tapped_figures figures;
	struct mr_packed_file *files[2];
	struct mr_packed_content contents[2]; /* once the file is closed */
	bool has_file[2], ended[2];
	bool alone; /* all connections before it had ended */
	bool identified;
	uint8_t first[FIRST_BYTES];
	size_t first_length;
};

struct mr_tapped {
	struct mr_tapped_options options;
	int folder;
	bool made;    /* the directory was not there before */
	bool stopped; /* nothing more is recorded */
	bool broken;  /* and a file is not whole */
	bool cut;     /* the last connections were ended by the tap */
	char problem[512];
	uint64_t begin; /* time of the first connection */
	struct mr_packed_file *timeline;
	struct mr_channel_census census;
	json_t *told;                 /* members of the manifest; NULL: nobody told any */
	struct mr_redactor *redactor; /* NULL: bytes are recorded as they are */
	struct channel channels[MR_RECORDING_CHANNELS_MAX];
	uint32_t count;
};

/* ---- Problems ---- */

__attribute__((format(printf, 2, 3))) static void stop(struct mr_tapped *tapped, const char *format, ...)
{
	va_list arguments;

	if (tapped->stopped)
		return;
	tapped->stopped = true;
	va_start(arguments, format);
	vsnprintf(tapped->problem, sizeof(tapped->problem), format, arguments);
	va_end(arguments);
}

const char *mr_tapped_problem(const struct mr_tapped *tapped)
{
	return tapped->problem;
}

const struct mr_tapped_figures *mr_tapped_figures(const struct mr_tapped *tapped, uint32_t channel)
{
	return channel < tapped->count ? &tapped->channels[channel].figures : NULL;
}

/* ---- Files ---- */

static struct mr_packed_file *create(struct mr_tapped *tapped, const char *name)
{
	struct mr_packed_file *file = NULL;
	char reason[sizeof(tapped->problem)];

	if (tapped->stopped)
		return NULL;
	if (mr_packed_open(&file, tapped->folder, tapped->options.directory, name, reason, sizeof(reason)) < 0) {
		stop(tapped, "%s", reason);
		tapped->broken = true;
	}
	return file;
}

static void look_for_failure(struct mr_tapped *tapped, const struct mr_packed_file *file)
{
	char reason[sizeof(tapped->problem)];

	if (!mr_packed_failed(file, reason, sizeof(reason)))
		return;
	stop(tapped, "%s", reason);
	tapped->broken = true;
}

static void close_file(struct mr_tapped *tapped, struct mr_packed_file **file, struct mr_packed_content *content)
{
	char reason[sizeof(tapped->problem)];

	if (*file && mr_packed_close(*file, content, reason, sizeof(reason)) < 0) {
		stop(tapped, "%s", reason);
		tapped->broken = true;
	}
	*file = NULL;
}

static void write_bytes(struct mr_tapped *tapped, uint32_t number, unsigned way, struct mr_bytes bytes)
{
	struct channel *channel = &tapped->channels[number];
	char name[24];

	if (!channel->has_file[way]) {
		snprintf(name, sizeof(name), "ch%" PRIu32 ".%s", number, suffixes[way]);
		channel->files[way] = create(tapped, name);
		channel->has_file[way] = channel->files[way] != NULL;
	}
	if (!channel->files[way])
		return;
	mr_packed_write(channel->files[way], bytes);
	look_for_failure(tapped, channel->files[way]);
}

/* ---- Timeline ---- */

__attribute__((format(printf, 3, 4))) static void note(struct mr_tapped *tapped, uint64_t time, const char *format, ...)
{
	FILE *out = tapped->timeline ? mr_packed_stream(tapped->timeline) : NULL;
	va_list arguments;

	if (!out || tapped->stopped)
		return;
	fprintf(out, "{\"t_ns\": %" PRIu64 ", ", time - tapped->begin);
	va_start(arguments, format);
	vfprintf(out, format, arguments);
	va_end(arguments);
	fputs("}\n", out);
	look_for_failure(tapped, tapped->timeline);
}

/* ---- Opening ---- */

static bool is_empty(int folder)
{
	const int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *listing = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;
	bool empty = listing != NULL;

	if (!listing && copy >= 0)
		close(copy);
	while (empty && (entry = readdir(listing)) != NULL)
		empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
	if (listing)
		closedir(listing);
	return empty;
}

static int open_folder(struct mr_tapped *tapped, char *error, size_t error_size)
{
	const char *directory = tapped->options.directory;

	tapped->made = mkdir(directory, 0777) == 0;
	if (tapped->made || errno == EEXIST)
		tapped->folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tapped->folder < 0) {
		snprintf(error, error_size, "%s: %s", directory, strerror(errno));
		return -1;
	}
	if (tapped->made || is_empty(tapped->folder))
		return 0;
	snprintf(error, error_size, "%s: expected a directory that is new or empty, found files in it", directory);
	return -1;
}

static void take_redacted(void *argument, uint32_t channel, struct mr_bytes bytes)
{
	write_bytes(argument, channel, FORWARD, bytes);
}

/* Each name of a list; false at its end. */
static bool next_name(const char **list, char *name, size_t size)
{
	size_t length;

	do {
		length = strcspn(*list, ",");
		snprintf(name, size, "%.*s", (int)length, *list);
		*list += length + ((*list)[length] == ',');
	} while (length == 0 && **list);
	return length != 0;
}

static void read_capabilities(struct mr_tapped *tapped)
{
	const char *list = tapped->options.capabilities;
	char name[64];

	tapped->census.capabilities_known = list != NULL;
	while (list && next_name(&list, name, sizeof(name)))
		tapped->census.capabilities |= mr_capability_by_name(name);
}

static int start_redacting(struct mr_tapped *tapped, char *error, size_t error_size)
{
	const struct mr_context context = {.capabilities_known = tapped->census.capabilities_known,
					   .capabilities = tapped->census.capabilities,
					   .multifd_method = MR_METHOD_UNKNOWN};
	const char *unfit = context.capabilities & MR_CAPABILITY_COMPRESS     ? "compress"
			    : context.capabilities & MR_CAPABILITY_MAPPED_RAM ? "mapped-ram"
			    : context.capabilities & MR_CAPABILITY_RDMA       ? "rdma"
									      : NULL;

	if (unfit) {
		snprintf(error, error_size, "--redact: what the capability %s makes of pages cannot be redacted",
			 unfit);
		return -1;
	}
	tapped->redactor = mr_redactor_new(&context, NULL, take_redacted, tapped);
	if (tapped->redactor)
		return 0;
	snprintf(error, error_size, "--redact: no memory, or no random key");
	return -1;
}

int mr_tapped_open(struct mr_tapped **result, const struct mr_tapped_options *options, char *error, size_t error_size)
{
	struct mr_tapped *tapped = calloc(1, sizeof(*tapped));

	*result = NULL;
	if (!tapped) {
		snprintf(error, error_size, "%s: no memory for a recording", options->directory);
		return -1;
	}
	tapped->options = *options;
	tapped->folder = -1;
	read_capabilities(tapped);
	if ((options->redact && start_redacting(tapped, error, error_size) < 0) ||
	    open_folder(tapped, error, error_size) < 0) {
		mr_tapped_free(tapped);
		return -1;
	}
	*result = tapped;
	return 0;
}

/* ---- What happens ---- */

static void look_at_redactor(struct mr_tapped *tapped)
{
	if (tapped->redactor && mr_redactor_error(tapped->redactor)[0])
		stop(tapped, "%s: %s: the recording ends there", tapped->options.directory,
		     mr_redactor_error(tapped->redactor));
}

uint32_t mr_tapped_connection(struct mr_tapped *tapped, uint64_t time)
{
	const uint32_t number = tapped->count++;
	struct channel *channel = &tapped->channels[number];

	if (number == 0) {
		tapped->begin = time;
		tapped->timeline = create(tapped, TIMELINE);
	}
	channel->alone = number > 0;
	for (uint32_t i = 0; i < number; i++)
		channel->alone &= tapped->channels[i].ended[FORWARD] && tapped->channels[i].ended[RETURN];
	if (!tapped->stopped)
		tapped->cut = false;
	note(tapped, time, "\"ch\": %" PRIu32 ", \"ev\": \"open\"", number);
	/* no byte may come of it: its file is there all the same */
	write_bytes(tapped, number, FORWARD, (struct mr_bytes){NULL, 0});
	if (tapped->redactor)
		mr_redactor_open(tapped->redactor, number);
	look_at_redactor(tapped);
	return number;
}

static void identify(struct mr_tapped *tapped, struct channel *channel)
{
	if (channel->identified)
		return;
	channel->identified = true;
	tapped->census.cut = channel->alone && tapped->census.main;
	mr_channel_identify(&tapped->census, (struct mr_bytes){channel->first, channel->first_length},
			    &channel->figures.role);
	if (tapped->redactor)
		mr_redactor_role(tapped->redactor, (uint32_t)(channel - tapped->channels), channel->figures.role);
}

static void look_at_first(struct mr_tapped *tapped, struct channel *channel, struct mr_bytes bytes)
{
	for (size_t i = 0; i < bytes.length && channel->first_length < FIRST_BYTES; i++)
		channel->first[channel->first_length++] = bytes.data[i];
	if (channel->first_length >= ROLE_BYTES)
		identify(tapped, channel);
}

void mr_tapped_bytes(struct mr_tapped *tapped, uint32_t number, bool backward, uint64_t time, struct mr_bytes bytes)
{
	const unsigned way = backward ? RETURN : FORWARD;
	struct channel *channel = &tapped->channels[number];

	if (tapped->stopped || bytes.length == 0)
		return;
	if (way == FORWARD && tapped->redactor)
		mr_redactor_feed(tapped->redactor, number, bytes);
	else
		write_bytes(tapped, number, way, bytes);
	if (way == FORWARD)
		look_at_first(tapped, channel, bytes);
	look_at_redactor(tapped);
	note(tapped, time, "\"ch\": %" PRIu32 ", \"dir\": \"%s\", \"off\": %" PRIu64 ", \"len\": %zu", number,
	     suffixes[way], channel->figures.bytes[way], bytes.length);
	channel->figures.bytes[way] += bytes.length;
}

void mr_tapped_end(struct mr_tapped *tapped, uint32_t number, bool backward, uint64_t time)
{
	const unsigned way = backward ? RETURN : FORWARD;
	struct channel *channel = &tapped->channels[number];

	if (channel->ended[way])
		return;
	channel->ended[way] = true;
	note(tapped, time, "\"ch\": %" PRIu32 ", \"dir\": \"%s\", \"ev\": \"eof\"", number, suffixes[way]);
	if (way == RETURN)
		return;
	identify(tapped, channel);
	if (tapped->redactor)
		mr_redactor_end(tapped->redactor, number);
	look_at_redactor(tapped);
}

void mr_tapped_cut(struct mr_tapped *tapped, uint64_t time)
{
	if (!tapped->stopped)
		tapped->cut = true;
	note(tapped, time, "\"ev\": \"cut\"");
}

/* ---- Manifest ---- */

static json_t *wire(const struct mr_packed_content *content)
{
	char digest[2 * MR_PACKED_DIGEST_SIZE + 1];

	for (size_t i = 0; i < MR_PACKED_DIGEST_SIZE; i++)
		snprintf(digest + 2 * i, 3, "%02x", content->sha256[i]);
	return json_pack("{s:I, s:s}", "bytes", (json_int_t)content->bytes, "sha256", digest);
}

static json_t *channels(const struct mr_tapped *tapped)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < tapped->count; i++) {
		const struct channel *channel = &tapped->channels[i];
		json_t *object = json_pack("{s:s}", "role", mr_role_name(channel->figures.role));

		if (!channel->has_file[FORWARD]) {
			json_decref(object);
			break;
		}
		json_object_set_new(object, "forward", wire(&channel->contents[FORWARD]));
		if (channel->has_file[RETURN])
			json_object_set_new(object, "return", wire(&channel->contents[RETURN]));
		json_array_append_new(array, object);
	}
	return array;
}

static json_t *capabilities(const char *list)
{
	json_t *array = json_array();
	char name[64];

	while (next_name(&list, name, sizeof(name)))
		json_array_append_new(array, json_string(name));
	return array;
}

/* The type of machine, which the main channel tells first of all. */
static json_t *machine(const struct mr_tapped *tapped)
{
	struct mr_session *session = malloc(sizeof(*session));
	struct mr_decoder *decoder = malloc(sizeof(*decoder));
	struct mr_bytes window = {tapped->channels[0].first, tapped->channels[0].first_length};
	struct mr_record record;
	json_t *name = NULL;

	if (session && decoder) {
		mr_session_init(session, NULL, NULL, NULL);
		mr_decoder_init(decoder, session, MR_ROLE_MAIN, 0);
		if (mr_decode(decoder, window.data, window.length, false, &record) == MR_RECORD &&
		    mr_decode(decoder, window.data + record.length, window.length - record.length, false, &record) ==
			    MR_RECORD &&
		    record.kind == MR_CONFIGURATION)
			name = json_stringn((const char *)record.configuration.machine.data,
					    record.configuration.machine.length);
	}
	free(decoder);
	free(session);
	return name;
}

/* A release that nobody told is none that a reader knows. */
static json_t *make_manifest(const struct mr_tapped *tapped)
{
	const struct mr_tapped_options *options = &tapped->options;
	const char *unknown = "unknown";
	json_t *manifest, *type = machine(tapped);

	/* jansson would take a random seed otherwise; the first call of the process decides. */
	json_object_seed(1);
	manifest = json_pack("{s:i, s:s, s:s, s:s, s:s}", "format", MR_RECORDING_FORMAT, "producer",
			     "migref tap " MR_VERSION, "source_qemu",
			     options->source_qemu ? options->source_qemu : unknown, "destination_qemu",
			     options->destination_qemu ? options->destination_qemu : unknown, "status",
			     tapped->cut || tapped->stopped ? "cut" : unknown);
	json_object_set_new(manifest, "channels", channels(tapped));
	if (options->capabilities)
		json_object_set_new(manifest, "capabilities", capabilities(options->capabilities));
	if (type)
		json_object_set_new(manifest, "machine", type);
	if (options->redact)
		json_object_set_new(manifest, "redacted", json_true());
	if (tapped->told)
		json_object_update(manifest, tapped->told);
	if (tapped->told && tapped->stopped)
		json_object_set_new(manifest, "status", json_string("cut"));
	return manifest;
}

/* All of it under another name first: a manifest is there as a whole, or not at all. */
static bool write_manifest(struct mr_tapped *tapped)
{
	const int file = openat(tapped->folder, UNFINISHED, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	json_t *manifest = make_manifest(tapped);
	bool written = file >= 0 && manifest && json_dumpfd(manifest, file, JSON_INDENT(1) | JSON_SORT_KEYS) == 0 &&
		       write(file, "\n", 1) == 1;
	int error = errno;

	json_decref(manifest);
	if (file >= 0 && close(file) < 0 && written) {
		written = false;
		error = errno;
	}
	if (written && renameat(tapped->folder, UNFINISHED, tapped->folder, MANIFEST) == 0)
		return true;
	error = written ? errno : error;
	if (file >= 0)
		unlinkat(tapped->folder, UNFINISHED, 0);
	stop(tapped, "%s/%s: %s", tapped->options.directory, MANIFEST, strerror(error));
	return false;
}

void mr_tapped_tell(struct mr_tapped *tapped, json_t *members)
{
	json_decref(tapped->told);
	tapped->told = members;
}

int mr_tapped_folder(const struct mr_tapped *tapped)
{
	return tapped->folder;
}

/* ---- The end ---- */

static void close_channel(struct mr_tapped *tapped, struct channel *channel)
{
	for (unsigned way = FORWARD; way <= RETURN; way++) {
		close_file(tapped, &channel->files[way], &channel->contents[way]);
		channel->figures.bytes[way] = channel->contents[way].bytes;
	}
}

static void close_files(struct mr_tapped *tapped)
{
	struct mr_packed_content ignored;

	for (uint32_t i = 0; i < tapped->count; i++)
		close_channel(tapped, &tapped->channels[i]);
	close_file(tapped, &tapped->timeline, &ignored);
}

bool mr_tapped_finish(struct mr_tapped *tapped)
{
	close_files(tapped);
	if (tapped->count == 0 && !tapped->told) {
		if (tapped->made)
			rmdir(tapped->options.directory);
		return false;
	}
	return !tapped->broken && write_manifest(tapped);
}

void mr_tapped_free(struct mr_tapped *tapped)
{
	if (!tapped)
		return;
	close_files(tapped);
	mr_redactor_free(tapped->redactor);
	json_decref(tapped->told);
	if (tapped->folder >= 0)
		close(tapped->folder);
	free(tapped);
}
