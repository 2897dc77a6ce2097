/* writer_manifest.c: the manifest of a recording that is written: what ran, how it ended, which channels there are. */
#include "sim/record/writer_state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

enum { ORDINARY_PAGE_SIZE = 4096, MILLISECOND = 1000000, MEBIBYTE = 1 << 20 };

static const char MANIFEST[] = "manifest.json", UNFINISHED[] = "manifest.json.part";
static const char DESTINATION_PART[] = "destination.json.part";

const char *mr_writer_status(const struct mr_writer *writer)
{
	const bool source = writer->source_finished || !mr_writer_has_source(writer);
	const bool destination = writer->destination_finished || writer->part == MR_WRITER_SOURCE_ALONE;

	if (source && destination)
		return "completed";
	if (!mr_writer_has_source(writer))
		return mr_status_name(writer->incoming ? mr_incoming_status(writer->incoming) : MR_STATUS_NONE);
	/* One end alone may think so. */
	if (writer->source_status == MR_SOURCE_STATUS_COMPLETED)
		return "failed";
	return mr_source_status_name(writer->source_status);
}

/* ---- Values ---- */

/* Bytes beyond ASCII are the characters of their numbers. */
static json_t *text(struct mr_bytes bytes)
{
	char *encoded = malloc(2 * bytes.length + 1);
	size_t length = 0;
	json_t *value;

	if (!encoded)
		return NULL;
	for (size_t i = 0; i < bytes.length; i++) {
		if (bytes.data[i] >= 0x80)
			encoded[length++] = (char)(0xc0 | bytes.data[i] >> 6);
		encoded[length++] = (char)(bytes.data[i] >= 0x80 ? 0x80 | (bytes.data[i] & 0x3f) : bytes.data[i]);
	}
	value = json_stringn(encoded, length);
	free(encoded);
	return value;
}

static void set_text(json_t *object, const char *key, const char *value)
{
	json_object_set_new(object, key, text((struct mr_bytes){(const uint8_t *)value, strlen(value)}));
}

static void set_number(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, json_integer(value < INT64_MAX ? (json_int_t)value : INT64_MAX));
}

static void set_told(json_t *object, const char *key, uint64_t value)
{
	if (value)
		set_number(object, key, value);
}

/* ---- What was switched on ---- */

static json_t *capabilities(const struct mr_writer_end *end)
{
	const struct {
		const char *name;
		bool on;
	} others[] = {
		{"pause-before-switchover", end->source->pause_before_switchover},
		{"release-ram", end->source->release_ram},
		{"auto-converge", end->source->auto_converge},
		{"postcopy-blocktime", end->destination && end->destination->blocktime},
	};
	json_t *array = json_array();
	const char *name;
	uint32_t bit;

	for (size_t i = 0; (name = mr_capability_at(i, &bit)) != NULL; i++)
		if (end->source->capabilities & bit)
			json_array_append_new(array, json_string(name));
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (others[i].on)
			json_array_append_new(array, json_string(others[i].name));
	return array;
}

/* QMP's 0 is no limit. */
static void set_bandwidth(json_t *object, const char *key, uint64_t value)
{
	if (value)
		set_number(object, key, value == UINT64_MAX ? 0 : value);
}

static void set_multifd(json_t *object, const struct mr_outgoing_config *config)
{
	char key[64];

	if (!(config->capabilities & MR_CAPABILITY_MULTIFD))
		return;
	set_told(object, "multifd-channels", config->multifd_channels);
	if (!config->method)
		return;
	set_text(object, "multifd-compression", config->method->name);
	if (config->method_level == INT32_MIN || config->method->level_max == 0)
		return;
	snprintf(key, sizeof(key), "multifd-%s-level", config->method->name);
	json_object_set_new(object, key, json_integer(config->method_level));
}

static json_t *parameters(const struct mr_outgoing_config *config)
{
	json_t *object = json_object();

	set_bandwidth(object, "max-bandwidth", config->max_bandwidth);
	set_bandwidth(object, "max-postcopy-bandwidth", config->max_postcopy_bandwidth);
	set_told(object, "avail-switchover-bandwidth", config->switchover_bandwidth);
	set_told(object, "downtime-limit", config->downtime_limit);
	if (config->capabilities & MR_CAPABILITY_XBZRLE)
		set_told(object, "xbzrle-cache-size", config->xbzrle_cache_size);
	set_multifd(object, config);
	if (config->zero_detection != MR_ZERO_BY_RELEASE)
		set_text(object, "zero-page-detection", mr_zero_detection_name(config->zero_detection));
	if (config->auto_converge) {
		set_told(object, "cpu-throttle-initial", config->throttle_initial);
		set_told(object, "cpu-throttle-increment", config->throttle_increment);
		set_told(object, "max-cpu-throttle", config->throttle_maximum);
		set_told(object, "throttle-trigger-threshold", config->throttle_trigger);
	}
	return object;
}

/* ---- What query-migrate told in the end ---- */

static json_t *ram_figures(const struct mr_outgoing_statistics *figures, uint64_t page_size)
{
	json_t *ram = json_object();

	set_number(ram, "total", figures->total);
	set_number(ram, "remaining", figures->remaining);
	set_number(ram, "transferred", figures->transferred);
	set_number(ram, "duplicate", figures->duplicate);
	set_number(ram, "normal", figures->normal);
	set_number(ram, "normal-bytes", figures->normal_bytes);
	set_number(ram, "dirty-sync-count", figures->dirty_sync_count);
	set_number(ram, "dirty-pages-rate", figures->dirty_pages_rate);
	set_number(ram, "postcopy-requests", figures->postcopy_requests);
	set_number(ram, "precopy-bytes", figures->precopy_bytes);
	set_number(ram, "downtime-bytes", figures->downtime_bytes);
	set_number(ram, "postcopy-bytes", figures->postcopy_bytes);
	set_number(ram, "multifd-bytes", figures->multifd_bytes);
	set_number(ram, "page-size", page_size);
	return ram;
}

static json_t *xbzrle_figures(const struct mr_outgoing_statistics *figures, uint64_t cache_size)
{
	json_t *cache = json_object();

	set_told(cache, "cache-size", cache_size);
	set_number(cache, "pages", figures->xbzrle_pages);
	set_number(cache, "bytes", figures->xbzrle_bytes);
	set_number(cache, "cache-miss", figures->xbzrle_cache_miss);
	set_number(cache, "overflow", figures->xbzrle_overflow);
	return cache;
}

static json_t *source_side(const struct mr_writer *writer, const struct mr_writer_end *end)
{
	const struct mr_outgoing_config *config = end->source;
	const uint64_t page_size = config->target_page_size ? config->target_page_size : ORDINARY_PAGE_SIZE;
	json_t *side = json_object();

	set_text(side, "status", mr_source_status_name(writer->source_status));
	set_number(side, "actions", writer->source_actions);
	json_object_set_new(side, "ram", ram_figures(end->statistics, page_size));
	if (config->capabilities & MR_CAPABILITY_XBZRLE)
		json_object_set_new(side, "xbzrle-cache", xbzrle_figures(end->statistics, config->xbzrle_cache_size));
	set_told(side, "cpu-throttle-percentage", end->statistics->throttle);
	if (end->timed) {
		set_number(side, "total-time", end->total_time / MILLISECOND);
		set_number(side, "setup-time", end->setup_time / MILLISECOND);
		set_number(side, "downtime", end->downtime / MILLISECOND);
	}
	return side;
}

static void set_vcpus(json_t *side, const struct mr_incoming *incoming, const struct mr_blocktime *figures)
{
	json_t *times = json_array(), *latencies = json_array();

	for (uint32_t i = 0; i < figures->vcpu_count; i++) {
		const struct mr_vcpu_blocktime vcpu = mr_incoming_vcpu_blocktime(incoming, i);

		json_array_append_new(times, json_integer(vcpu.blocktime));
		json_array_append_new(latencies, json_integer((json_int_t)vcpu.latency));
	}
	json_object_set_new(side, "postcopy-vcpu-blocktime", times);
	if (figures->has_latency)
		json_object_set_new(side, "postcopy-vcpu-latency", latencies);
	else
		json_decref(latencies);
}

static void set_latencies(json_t *side, const struct mr_blocktime *figures)
{
	json_t *buckets = json_array();

	for (size_t i = 0; i < MR_BLOCKTIME_BUCKETS; i++)
		json_array_append_new(buckets, json_integer((json_int_t)figures->distribution[i]));
	set_number(side, "postcopy-latency", figures->latency);
	set_number(side, "postcopy-non-vcpu-latency", figures->non_vcpu_latency);
	json_object_set_new(side, "postcopy-latency-dist", buckets);
}

static json_t *destination_side(const struct mr_writer *writer)
{
	const struct mr_incoming *incoming = writer->incoming;
	struct mr_blocktime figures;
	json_t *side = json_object();

	set_text(side, "status", mr_status_name(incoming ? mr_incoming_status(incoming) : MR_STATUS_NONE));
	if (!incoming || !mr_incoming_blocktime(incoming, &figures))
		return side;
	set_number(side, "postcopy-blocktime", figures.blocktime);
	set_vcpus(side, incoming, &figures);
	if (figures.has_latency)
		set_latencies(side, &figures);
	return side;
}

/* ---- Channels ---- */

static json_t *wire(const struct mr_packed_content *content)
{
	char digest[2 * MR_PACKED_DIGEST_SIZE + 1];
	json_t *object = json_object();

	for (size_t i = 0; i < MR_PACKED_DIGEST_SIZE; i++)
		snprintf(digest + 2 * i, 3, "%02x", content->sha256[i]);
	set_number(object, "bytes", content->bytes);
	set_text(object, "sha256", digest);
	return object;
}

static json_t *channels(const struct mr_writer *writer)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < writer->channel_count; i++) {
		const struct mr_writer_channel *channel = &writer->channels[i];
		json_t *object = json_object();

		set_text(object, "role", mr_role_name(channel->role));
		json_object_set_new(object, "forward", wire(&channel->forward_content));
		if (channel->has_return)
			json_object_set_new(object, "return", wire(&channel->return_content));
		json_array_append_new(array, object);
	}
	return array;
}

/* ---- Memory ---- */

/* As of real recordings: of huge pages their size, else that of the host's ordinary page. */
static void set_memory(json_t *manifest, const struct mr_outgoing_config *config)
{
	const uint64_t ordinary = config->host_page_size ? config->host_page_size : ORDINARY_PAGE_SIZE;
	uint64_t page_size = ordinary;
	uint32_t number;
	const struct mr_outgoing_block *block = mr_writer_main_memory(config, &number);

	if (block && block->used_length % MEBIBYTE == 0)
		set_told(manifest, "memory_mib", block->used_length / MEBIBYTE);
	if (block && block->page_size > ordinary)
		page_size = block->page_size;
	if (page_size > ordinary)
		set_text(manifest, "backend", "hugetlb");
	set_number(manifest, "host_page_size", page_size);
	set_number(manifest, "target_page_size",
		   config->target_page_size ? config->target_page_size : ORDINARY_PAGE_SIZE);
}

/* ---- The whole ---- */

static const char *release_of(const struct mr_profile *profile)
{
	return profile && profile->release[0] ? profile->release : "unknown";
}

static json_t *make_manifest(const struct mr_writer *writer, const struct mr_writer_end *end)
{
	json_t *manifest = json_object();
	char seed[24];

	set_number(manifest, "format", MR_RECORDING_FORMAT);
	set_text(manifest, "producer", end->producer);
	set_text(manifest, "source_qemu", release_of(&end->source->profile));
	set_text(manifest, "destination_qemu", release_of(end->destination ? &end->destination->profile : NULL));
	set_text(manifest, "status", mr_writer_status(writer));
	if (end->source->machine)
		set_text(manifest, "machine", end->source->machine);
	json_object_set_new(manifest, "capabilities", capabilities(end));
	json_object_set_new(manifest, "parameters", parameters(end->source));
	set_memory(manifest, end->source);
	set_told(manifest, "smp", end->vcpus);
	json_object_set_new(manifest, "channels", channels(writer));
	if (mr_writer_has_source(writer))
		json_object_set_new(manifest, "source", source_side(writer, end));
	if (writer->part != MR_WRITER_SOURCE_ALONE) {
		json_object_set_new(manifest, "destination_paused", json_boolean(end->destination->start_paused));
		json_object_set_new(manifest, "destination", destination_side(writer));
	}
	if (end->guest_memory)
		set_text(manifest, "guest_memory", end->guest_memory);
	if (end->dirty_log)
		set_text(manifest, "dirty_log", end->dirty_log);
	if (end->scenario) {
		snprintf(seed, sizeof(seed), "%" PRIu64, end->seed);
		set_text(manifest, "scenario", end->scenario);
		set_text(manifest, "seed", seed);
	}
	return manifest;
}

static bool write_text(int descriptor, const char *bytes, size_t length)
{
	while (length) {
		const ssize_t written = write(descriptor, bytes, length);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return false;
		bytes += written;
		length -= (size_t)written;
	}
	return true;
}

/* All of it under another name first: a file is there as a whole, or not at all. */
static bool put_text(const struct mr_writer *writer, const char *name, const char *json)
{
	const int descriptor = openat(writer->folder, UNFINISHED, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	bool written;
	int error;

	if (descriptor < 0)
		return false;
	written = write_text(descriptor, json, strlen(json)) && write_text(descriptor, "\n", 1);
	error = errno;
	if (close(descriptor) < 0 && written) {
		written = false;
		error = errno;
	}
	if (written && renameat(writer->folder, UNFINISHED, writer->folder, name) == 0)
		return true;
	if (written)
		error = errno;
	unlinkat(writer->folder, UNFINISHED, 0);
	errno = error;
	return false;
}

static bool put_object(struct mr_writer *writer, const char *name, json_t *object)
{
	char *json = object ? json_dumps(object, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
	bool written;

	json_decref(object);
	if (!json) {
		mr_writer_no_memory(writer);
		return false;
	}
	written = put_text(writer, name, json);
	if (!written)
		mr_writer_fail(writer, "%s/%s: %s", writer->directory, name, strerror(errno));
	free(json);
	return written;
}

/* jansson would take a random seed otherwise; the first call of the process decides. */
static void fix_seed(void)
{
	json_object_seed(1);
}

/* ---- The destination's part ---- */

bool mr_writer_write_part(struct mr_writer *writer)
{
	json_t *part;

	fix_seed();
	part = json_object();
	json_object_set_new(part, "finished", json_boolean(writer->destination_finished));
	json_object_set_new(part, "destination", destination_side(writer));
	json_object_set_new(part, "channels", channels(writer));
	return put_object(writer, DESTINATION_PART, part);
}

static json_t *read_part(struct mr_writer *writer)
{
	const int descriptor = openat(writer->folder, DESTINATION_PART, O_RDONLY | O_CLOEXEC);
	json_error_t reason;
	json_t *part;

	if (descriptor < 0) {
		mr_writer_fail(writer, "%s/%s: %s", writer->directory, DESTINATION_PART, strerror(errno));
		return NULL;
	}
	part = json_loadfd(descriptor, JSON_REJECT_DUPLICATES, &reason);
	close(descriptor);
	if (!part)
		mr_writer_fail(writer, "%s/%s: %s", writer->directory, DESTINATION_PART, reason.text);
	return part;
}

bool mr_writer_read_part(struct mr_writer *writer)
{
	json_t *part = read_part(writer);

	writer->destination_finished = json_is_true(json_object_get(part, "finished"));
	json_decref(part);
	return part != NULL;
}

/* What the destination knows alone takes the place of what the source has not seen. */
static void adopt_part(json_t *manifest, json_t *part)
{
	json_t *there = json_object_get(part, "channels"), *channel;
	size_t index;

	json_object_set(manifest, "destination", json_object_get(part, "destination"));
	json_array_foreach(json_object_get(manifest, "channels"), index, channel)
	{
		json_t *wire_back = json_object_get(json_array_get(there, index), "return");

		if (wire_back)
			json_object_set(channel, "return", wire_back);
	}
}

bool mr_writer_write_manifest(struct mr_writer *writer, const struct mr_writer_end *end)
{
	json_t *manifest, *part = NULL;
	bool written;

	fix_seed();
	if (writer->part == MR_WRITER_SOURCE) {
		part = read_part(writer);
		if (!part)
			return false;
	}
	manifest = make_manifest(writer, end);
	if (part)
		adopt_part(manifest, part);
	json_decref(part);
	written = put_object(writer, MANIFEST, manifest);
	if (written && writer->part == MR_WRITER_SOURCE)
		unlinkat(writer->folder, DESTINATION_PART, 0);
	return written;
}
