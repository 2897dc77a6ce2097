/* replay.c: a recording against the reference: bytes written again, both ends run again, memory rebuilt. */
#include "sim/record/replay.h"
#include "sim/record/print.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PC_HOLE_START = 0xa0000, /* guest-physical, not RAM block content: VGA window, option ROMs, firmware */
	PC_HOLE_END = 0x100000,
	CHUNK = 1 << 20,
	DEFAULT_COMPRESS_LEVEL = 1,
};

/* A channel's state beside its decoder: the sender's and receiver's compression streams, a buffer to encode into. */
struct lane {
	struct mr_packet_codec receive;
	void *send;
	uint8_t *encoded;
	size_t capacity;
	const struct mr_recording_wire *told; /* what the manifest says of the bytes; NULL: nothing */
	EVP_MD_CTX *digest;                   /* of the bytes so far, if it says something */
	uint64_t digested;
};

struct run {
	struct mr_replay *replay;
	struct mr_migration *migration;
	struct mr_memory *memory;
	const struct mr_backing *backing; /* where the machine put the contents of memory; NULL: there */
	struct lane *lanes;
	uint8_t *scratch; /* pages of one packet */
	uint8_t *payload; /* compressed again */
	int compress_level;
	char *error;
	size_t error_size;
};

/* ---- Wire ---- */

__attribute__((format(printf, 3, 4))) static void differs(struct mr_wire_result *wire, uint64_t offset,
							  const char *format, ...)
{
	va_list arguments;

	if (!wire->identical)
		return;
	wire->identical = false;
	wire->difference = offset;
	va_start(arguments, format);
	vsnprintf(wire->text, sizeof(wire->text), format, arguments);
	va_end(arguments);
}

static int reserve(struct lane *lane, uint64_t length)
{
	uint8_t *larger;

	if (length <= lane->capacity)
		return 0;
	if (length > SIZE_MAX / 2)
		return -1;
	larger = realloc(lane->encoded, (size_t)length);
	if (!larger)
		return -1;
	lane->encoded = larger;
	lane->capacity = (size_t)length;
	return 0;
}

static void compare_bytes(struct mr_wire_result *wire, uint64_t offset, const char *what, const uint8_t *made,
			  size_t made_length, const uint8_t *recorded, size_t length)
{
	size_t at = 0;

	if (made_length == length && (length == 0 || memcmp(made, recorded, length) == 0))
		return;
	while (at < length && at < made_length && made[at] == recorded[at])
		at++;
	if (at < length && at < made_length)
		differs(wire, offset + at, "%s: byte 0x%" PRIx64 ": recorded %02x, written again %02x", what,
			offset + at, recorded[at], made[at]);
	else
		differs(wire, offset + at, "%s: recorded %zu bytes, written again %zu", what, length, made_length);
}

static int compare_record(struct run *run, struct lane *lane, struct mr_wire_result *wire,
			  const struct mr_record *record, const uint8_t *recorded)
{
	size_t length;

	if (reserve(lane, record->length) < 0) {
		snprintf(run->error, run->error_size, "%s: no memory for a record of %" PRIu64 " bytes", wire->channel,
			 record->length);
		return -1;
	}
	length = mr_encode(record, lane->encoded, (size_t)record->length);
	compare_bytes(wire, record->offset, mr_kind_name(record->kind), lane->encoded, length, recorded,
		      (size_t)record->length);
	return 0;
}

/* ---- What the manifest says of the bytes ---- */

static int start_digest(struct run *run, size_t index)
{
	const struct mr_channel *channel = &run->migration->channels[index];
	const struct mr_recording *recording = run->migration->recording;
	struct lane *lane = &run->lanes[index];
	const struct mr_recording_wire *told;

	if (channel->number >= recording->channel_count)
		return 0;
	told = channel->role == MR_ROLE_RETURN ? &recording->channels[channel->number].backward
					       : &recording->channels[channel->number].forward;
	if (!told->told)
		return 0;
	lane->told = told;
	lane->digest = EVP_MD_CTX_new();
	if (lane->digest && EVP_DigestInit_ex(lane->digest, EVP_sha256(), NULL) == 1)
		return 0;
	snprintf(run->error, run->error_size, "no memory for a replay");
	return -1;
}

static void digest_bytes(struct lane *lane, const uint8_t *bytes, size_t length)
{
	if (lane->digest && length)
		EVP_DigestUpdate(lane->digest, bytes, length);
	lane->digested += length;
}

static void compare_digest(struct lane *lane, struct mr_wire_result *wire)
{
	uint8_t digest[MR_RECORDING_DIGEST_SIZE];

	if (!lane->told)
		return;
	if (lane->digested != lane->told->bytes)
		differs(wire, lane->digested, "%" PRIu64 " bytes, the manifest says %" PRIu64, lane->digested,
			lane->told->bytes);
	else if (EVP_DigestFinal_ex(lane->digest, digest, NULL) != 1 ||
		 memcmp(digest, lane->told->sha256, sizeof(digest)) != 0)
		differs(wire, 0, "other bytes than those whose SHA-256 the manifest has");
}

/* ---- Contents: decoded, compressed again, compared, then put into memory ---- */

static void content_fault(struct mr_wire_result *wire, const struct mr_record *record, const struct mr_fault *fault)
{
	differs(wire, record->offset, "%s at 0x%" PRIx64 ": %s: %s", mr_kind_name(record->kind), record->offset,
		mr_rule_id(fault->rule), fault->text);
}

static bool receive_packet(struct run *run, struct lane *lane, const struct mr_multifd_packet *packet, uint8_t **pages,
			   struct mr_fault *fault)
{
	const uint32_t page_size = run->migration->session->target_page_size;
	enum mr_rule rule;

	for (uint32_t i = 0; i < packet->normal_pages; i++)
		pages[i] = run->scratch + (size_t)i * page_size;
	if (mr_packet_codec_prepare(&lane->receive, run->migration->session, packet, fault) < 0)
		return false;
	rule = lane->receive.method->recv(lane->receive.state, packet->payload, pages, packet->normal_pages,
					  fault->text);
	fault->rule = rule;
	return rule == MR_NO_RULE;
}

static void *start_sending(struct run *run, const struct mr_multifd_method *method)
{
	const struct mr_recording *recording = run->migration->recording;
	char name[64];

	snprintf(name, sizeof(name), "multifd-%s-level", method->name);
	return method->send_setup(run->migration->session->target_page_size,
				  (int)mr_recording_parameter_integer(recording, name, method->level_default));
}

static void compare_payload(struct run *run, struct lane *lane, struct mr_wire_result *wire,
			    const struct mr_record *record, uint8_t *const *pages)
{
	const struct mr_multifd_packet *packet = &record->packet;
	const struct mr_multifd_method *method = lane->receive.method;
	long length;

	if (!method->decodable)
		return;
	if (!lane->send)
		lane->send = start_sending(run, method);
	length = lane->send ? method->send_prepare(lane->send, (const uint8_t *const *)pages, packet->normal_pages,
						   run->payload, mr_multifd_payload_bound())
			    : -1;
	if (length < 0) {
		differs(wire, record->offset, "%s payload at 0x%" PRIx64 " cannot be made", method->name,
			record->offset);
		return;
	}
	wire->payloads++;
	compare_bytes(wire, record->offset + record->length - packet->payload.length, method->name, run->payload,
		      (size_t)length, packet->payload.data, packet->payload.length);
}

static void replay_packet(struct run *run, struct lane *lane, struct mr_wire_result *wire,
			  const struct mr_record *record)
{
	const struct mr_multifd_packet *packet = &record->packet;
	struct mr_multifd_packet zero_part = *packet;
	const uint32_t page_size = run->migration->session->target_page_size;
	uint8_t *pages[MR_PACKET_PAGES_MAX];
	struct mr_fault fault;

	if (packet->normal_pages) {
		if (!receive_packet(run, lane, packet, pages, &fault)) {
			content_fault(wire, record, &fault);
			return;
		}
		compare_payload(run, lane, wire, record, pages);
	}
	for (uint32_t i = 0; i < packet->normal_pages; i++) {
		const uint64_t address = mr_multifd_offset(packet, i);
		uint8_t *at = mr_memory_page(run->memory, packet->block, address);

		if (!at) {
			differs(wire, record->offset, "offset 0x%" PRIx64 " is outside its block", address);
			return;
		}
		memcpy(at, pages[i], page_size);
		mr_memory_mark(run->memory, packet->block, address);
	}
	zero_part.offsets.data += (size_t)packet->normal_pages * 8;
	zero_part.normal_pages = 0;
	if (mr_memory_apply_packet(run->memory, &lane->receive, &zero_part, &fault) < 0)
		content_fault(wire, record, &fault);
}

static void replay_xbzrle(struct run *run, struct mr_wire_result *wire, const struct mr_record *record)
{
	const struct mr_ram_page *page = &record->page;
	const uint32_t page_size = run->migration->session->target_page_size;
	uint8_t *at = mr_memory_page(run->memory, page->block, page->address);
	struct mr_fault fault;
	long length;

	if (at)
		memcpy(run->scratch, at, page_size);
	if (mr_memory_apply(run->memory, record, &fault) < 0) {
		content_fault(wire, record, &fault);
		return;
	}
	length = mr_xbzrle_encode(run->scratch, at, page_size, run->payload, page_size);
	wire->payloads++;
	compare_bytes(wire, record->offset + record->length - page->data.length, "xbzrle", run->payload,
		      length > 0 ? (size_t)length : 0, page->data.data, page->data.length);
}

static void replay_compressed(struct run *run, struct mr_wire_result *wire, const struct mr_record *record)
{
	const struct mr_ram_page *page = &record->page;
	const uint32_t page_size = run->migration->session->target_page_size;
	struct mr_fault fault;
	size_t length;

	if (mr_memory_apply(run->memory, record, &fault) < 0) {
		content_fault(wire, record, &fault);
		return;
	}
	length = mr_page_deflate(mr_memory_page(run->memory, page->block, page->address), page_size,
				 run->compress_level, run->payload, mr_multifd_payload_bound());
	wire->payloads++;
	compare_bytes(wire, record->offset + record->length - page->data.length, "compressed page", run->payload,
		      length, page->data.data, page->data.length);
}

static void replay_content(struct run *run, struct lane *lane, struct mr_wire_result *wire,
			   const struct mr_record *record)
{
	struct mr_fault fault;

	switch (record->kind) {
	case MR_MULTIFD_PACKET:
		replay_packet(run, lane, wire, record);
		break;
	case MR_RAM_XBZRLE:
		replay_xbzrle(run, wire, record);
		break;
	case MR_RAM_COMPRESSED:
		replay_compressed(run, wire, record);
		break;
	default:
		if (mr_memory_apply(run->memory, record, &fault) < 0)
			content_fault(wire, record, &fault);
		break;
	}
}

/* ---- The end of a channel ---- */

static void end_channel(struct run *run, const struct mr_channel *channel, struct mr_wire_result *wire,
			enum mr_result result)
{
	struct lane *lane = &run->lanes[channel - run->migration->channels];
	const uint8_t *rest;
	char text[400];

	wire->records = channel->records;
	wire->bytes = channel->decoder->offset;
	wire->cut = mr_channel_is_cut(channel);
	wire->cut_allowed = !run->migration->finished || mr_migration_continues(run->migration, channel);
	if (result != MR_FAILED) {
		compare_digest(lane, wire);
		return;
	}
	mr_format_finding(text, sizeof(text), &channel->decoder->error);
	if (!wire->cut) {
		differs(wire, channel->decoder->error.offset, "%s", text);
		return;
	}
	wire->rest = mr_channel_rest(channel, &rest);
	digest_bytes(lane, rest, (size_t)wire->rest);
	compare_digest(lane, wire);
	if (!wire->cut_allowed)
		differs(wire, channel->decoder->error.offset, "%s", text);
	else if (wire->identical)
		snprintf(wire->text, sizeof(wire->text), "%s", channel->decoder->error.expected);
}

/* ---- Memory ---- */

static void add_page(struct mr_page_list *list, uint64_t page)
{
	struct mr_page_range *last = list->count ? &list->ranges[list->count - 1] : NULL;

	list->pages++;
	if (last && last->first + last->count == page)
		last->count++;
	else if (list->count < MR_RANGES_MAX)
		list->ranges[list->count++] = (struct mr_page_range){page, 1};
}

/* What a page holds in the end; NULL if it cannot be read. */
static const uint8_t *content_of(struct run *run, const struct mr_memory_block *block, uint64_t page, size_t page_size)
{
	const struct mr_backing *backing = run->backing;
	const uint32_t index = (uint32_t)(block - run->memory->blocks);

	if (!backing)
		return block->data + page * page_size;
	if (backing->read(backing->argument, index, page * page_size, run->scratch, page_size, run->error,
			  run->error_size) < 0)
		return NULL;
	return run->scratch;
}

static int compare_page(struct run *run, struct mr_memory_result *result, const struct mr_memory_block *block,
			uint64_t page, const uint8_t *truth)
{
	const size_t page_size = run->migration->session->target_page_size;
	const uint8_t *content = content_of(run, block, page, page_size);

	if (!content)
		return -1;
	result->compared_pages++;
	if (memcmp(content, truth, page_size) == 0)
		return 0;
	result->identical = false;
	add_page(mr_bitmap_test(block->received, page) ? &result->differ : &result->missing, page);
	return 0;
}

static int compare_truth(struct run *run, struct mr_memory_result *result, const struct mr_memory_block *block)
{
	const size_t page_size = run->migration->session->target_page_size;
	const bool physical = strcmp(result->truth, "source.pmem") == 0;
	struct mr_input *input;
	uint64_t at = 0;

	if (mr_recording_open_file(run->migration->recording, result->truth, &input, run->error, run->error_size) < 0)
		return -1;
	result->compared = result->identical = true;
	while (at < block->size) {
		size_t length;
		bool at_end;
		const uint8_t *window;

		if (mr_input_fill(input, page_size) < 0) {
			snprintf(run->error, run->error_size, "%s", mr_input_error(input));
			mr_input_close(input);
			return -1;
		}
		window = mr_input_window(input, &length, &at_end);
		if (length < page_size)
			break;
		if ((!physical || at < PC_HOLE_START || at >= PC_HOLE_END) &&
		    compare_page(run, result, block, at / page_size, window) < 0) {
			mr_input_close(input);
			return -1;
		}
		mr_input_consume(input, page_size);
		at += page_size;
	}
	if (at < block->size)
		result->identical = false;
	mr_input_close(input);
	return 0;
}

/* The block that the truth is the content of. */
static bool is_main_memory(const struct mr_migration *migration, const struct mr_memory_block *block, const char *name)
{
	const uint64_t size = migration->recording->memory_mib << 20;

	return mr_recording_is_main_memory(name) && (size == 0 || block->size == size);
}

static void list_absent(struct mr_memory_result *result, const struct mr_memory_block *block)
{
	uint64_t page = mr_bitmap_next_clear(block->received, block->pages, 0);

	for (; page < block->pages; page = mr_bitmap_next_clear(block->received, block->pages, page + 1))
		add_page(&result->absent, page);
}

static int judge_memory(struct run *run)
{
	const struct mr_recording *recording = run->migration->recording;
	const struct mr_session *session = run->migration->session;
	struct mr_replay *replay = run->replay;

	replay->memories = calloc(run->memory->count + 1, sizeof(*replay->memories));
	if (!replay->memories) {
		snprintf(run->error, run->error_size, "no memory for results");
		return -1;
	}
	for (uint32_t i = 0; i < run->memory->count; i++) {
		const struct mr_memory_block *block = &run->memory->blocks[i];
		struct mr_memory_result *result = &replay->memories[replay->memory_count];

		if (!block->data)
			continue;
		replay->memory_count++;
		memcpy(result->block, session->blocks[i].name, sizeof(result->block));
		result->size = block->size;
		result->pages = block->pages;
		result->received = mr_bitmap_count(block->received, block->pages);
		list_absent(result, block);
		if (recording->has_source_ram || recording->has_source_pmem)
			result->truth = recording->has_source_ram ? "source.ram" : "source.pmem";
		if (!result->truth || !is_main_memory(run->migration, block, result->block))
			continue;
		replay->has_truth = true;
		if (compare_truth(run, result, block) < 0)
			return -1;
	}
	return 0;
}

/* ---- The run ---- */

static int replay_channels(struct run *run, struct mr_progress *progress)
{
	for (;;) {
		struct mr_channel *channel;
		struct mr_record record;
		const uint8_t *recorded;
		const enum mr_result result = mr_migration_next(run->migration, &channel, &record, &recorded);
		struct mr_wire_result *wire;
		uint64_t bytes;

		if (!channel)
			return 0;
		wire = &run->replay->wires[channel - run->migration->channels];
		if (result == MR_MORE) {
			snprintf(run->error, run->error_size, "%s", mr_input_error(channel->input));
			return -1;
		}
		if (result != MR_RECORD) {
			end_channel(run, channel, wire, result);
			continue;
		}
		struct lane *lane = &run->lanes[channel - run->migration->channels];
		digest_bytes(lane, recorded, (size_t)record.length);
		if (compare_record(run, lane, wire, &record, recorded) < 0)
			return -1;
		replay_content(run, lane, wire, &record);
		if (progress && channel->records % 1024 == 0)
			mr_progress_update(progress, mr_migration_fraction(run->migration, &bytes), bytes);
	}
}

static void judge(struct mr_replay *replay)
{
	replay->holds = true;
	for (size_t i = 0; i < replay->wire_count; i++)
		replay->holds &= replay->wires[i].identical;
	for (size_t i = 0; i < replay->memory_count; i++)
		replay->holds &= !replay->memories[i].compared || replay->memories[i].identical;
	if (replay->has_destination)
		replay->holds &= mr_destination_holds(&replay->destination);
	if (replay->has_source)
		replay->holds &= mr_source_holds(&replay->source);
}

static int prepare(struct run *run)
{
	struct mr_migration *migration = run->migration;

	run->replay->wire_count = migration->channel_count;
	run->replay->wires = calloc(migration->channel_count + 1, sizeof(*run->replay->wires));
	run->lanes = calloc(migration->channel_count + 1, sizeof(*run->lanes));
	run->memory = malloc(sizeof(*run->memory));
	run->scratch = malloc(MR_PACKET_DATA_SIZE);
	run->payload = malloc(mr_multifd_payload_bound());
	if (!run->replay->wires || !run->lanes || !run->memory || !run->scratch || !run->payload) {
		snprintf(run->error, run->error_size, "no memory for a replay");
		return -1;
	}
	mr_memory_init(run->memory, migration->session, false);
	for (size_t i = 0; i < migration->channel_count; i++) {
		struct mr_wire_result *wire = &run->replay->wires[i];

		memcpy(wire->channel, migration->channels[i].name, sizeof(wire->channel));
		wire->role = migration->channels[i].role;
		wire->identical = true;
		if (start_digest(run, i) < 0)
			return -1;
	}
	run->compress_level =
		(int)mr_recording_parameter_integer(migration->recording, "compress-level", DEFAULT_COMPRESS_LEVEL);
	return 0;
}

/*
 * Where a destination took the channels, it is its machine that fills memory; what decoding alone made of it is given
 * back before.
 */
static int run_destination(struct run *run, const struct mr_destination_options *options)
{
	if (run->migration->recording->channel_count == 0)
		return 0;
	run->replay->has_destination = true;
	run->backing = options->backing;
	mr_memory_clear(run->memory);
	mr_memory_init(run->memory, run->migration->session, false);
	return mr_destination_run(&run->replay->destination, run->migration, options, run->memory, run->error,
				  run->error_size);
}

static int run_source(struct run *run, const struct mr_source_options *options)
{
	if (!options || run->migration->recording->channel_count == 0)
		return 0;
	run->replay->has_source = true;
	return mr_source_run(&run->replay->source, run->migration, options, run->error, run->error_size);
}

static void release(struct run *run)
{
	for (size_t i = 0; run->lanes && i < run->migration->channel_count; i++) {
		struct lane *lane = &run->lanes[i];

		if (lane->send)
			lane->receive.method->send_cleanup(lane->send);
		mr_packet_codec_clear(&lane->receive);
		EVP_MD_CTX_free(lane->digest);
		free(lane->encoded);
	}
	if (run->memory)
		mr_memory_clear(run->memory);
	free(run->lanes);
	free(run->memory);
	free(run->scratch);
	free(run->payload);
}

int mr_replay_run(struct mr_replay *replay, struct mr_migration *migration,
		  const struct mr_destination_options *destination, const struct mr_source_options *source,
		  struct mr_progress *progress, char *error, size_t error_size)
{
	struct run run = {.replay = replay, .migration = migration, .error = error, .error_size = error_size};
	int status;

	memset(replay, 0, sizeof(*replay));
	status = prepare(&run);
	if (status == 0)
		status = replay_channels(&run, progress);
	if (status == 0)
		status = run_destination(&run, destination);
	if (status == 0)
		status = run_source(&run, source);
	if (status == 0)
		status = judge_memory(&run);
	release(&run);
	if (status == 0)
		judge(replay);
	else
		mr_replay_clear(replay);
	return status;
}

void mr_replay_clear(struct mr_replay *replay)
{
	free(replay->wires);
	free(replay->memories);
	mr_destination_clear(&replay->destination);
	mr_source_clear(&replay->source);
	memset(replay, 0, sizeof(*replay));
}
