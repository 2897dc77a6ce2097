/* source_read.c: what a recording says of its source: records, contents of pages, device bodies, return paths. */
#include "sim/record/source_read.h"

#include "ref/wire/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_PAGES = 256, UUID_SIZE = 16 };

/* ---- Contents ---- */

/* Room for one page that stays. */
static uint8_t *keep_page(struct mr_source_world *world)
{
	const size_t page_size = world->session->target_page_size;
	uint8_t **chunks;

	if (world->chunk_count && world->chunk_used < CHUNK_PAGES)
		return world->chunks[world->chunk_count - 1] + world->chunk_used++ * page_size;
	chunks = mr_source_grow(world->chunks, world->chunk_count, &world->chunk_capacity, sizeof(*chunks));
	if (!chunks)
		return NULL;
	world->chunks = chunks;
	chunks[world->chunk_count] = malloc(CHUNK_PAGES * page_size);
	if (!chunks[world->chunk_count])
		return NULL;
	world->chunk_used = 1;
	return chunks[world->chunk_count++];
}

int mr_source_map_block(struct mr_source_world *world, uint32_t block, uint64_t pages)
{
	if (world->heads[block])
		return 0;
	world->heads[block] = malloc((size_t)(pages + 1) * sizeof(uint32_t));
	world->tails[block] = malloc((size_t)(pages + 1) * sizeof(uint32_t));
	if (!world->heads[block] || !world->tails[block])
		return mr_source_no_memory(world, "the pages of a block");
	world->pages[block] = pages;
	memset(world->heads[block], 0xff, (size_t)(pages + 1) * sizeof(uint32_t));
	memset(world->tails[block], 0xff, (size_t)(pages + 1) * sizeof(uint32_t));
	return 0;
}

/* What a page held last as far as the stream says: what XBZRLE goes by. */
static const uint8_t *last_content(const struct mr_source_world *world, uint32_t block, uint64_t page)
{
	const uint32_t tail = world->tails[block][page];
	const uint8_t *content = tail == MR_SOURCE_NONE ? NULL : world->sends[tail].content;

	return content ? content : world->zero;
}

static int check_place(struct mr_source_world *world, uint32_t block, uint64_t address)
{
	if (block < MR_BLOCKS_MAX && world->heads[block] && world->send_count < MR_SOURCE_NONE &&
	    address / world->session->target_page_size < world->pages[block])
		return 0;
	snprintf(world->error, sizeof(world->error), "a page that lies in no block");
	return -1;
}

static struct mr_source_send *add_send(struct mr_source_world *world, uint32_t block, uint64_t address)
{
	const uint64_t page = address / world->session->target_page_size;
	struct mr_source_send *sends;
	uint32_t *tail;

	sends = mr_source_grow(world->sends, world->send_count, &world->send_capacity, sizeof(*sends));
	if (!sends) {
		mr_source_no_memory(world, "pages");
		return NULL;
	}
	world->sends = sends;
	tail = &world->tails[block][page];
	*(*tail == MR_SOURCE_NONE ? &world->heads[block][page] : &sends[*tail].next) = (uint32_t)world->send_count;
	*tail = (uint32_t)world->send_count;
	sends[world->send_count] = (struct mr_source_send){
		.block = block,
		.page = page,
		.next = MR_SOURCE_NONE,
		.section = MR_SOURCE_NONE,
		.dirtied = MR_SOURCE_NONE,
		.packet = MR_SOURCE_NONE,
	};
	return &sends[world->send_count++];
}

/* ---- Reading the recording ---- */

/* What one pass over all channels goes by. */
struct pass {
	struct mr_source_world *world;
	struct mr_migration *migration;
	uint32_t section; /* ram sections so far */
	bool in_ram;
	bool ram_seen;
	uint32_t flushes;    /* FLUSH records so far */
	uint32_t *intervals; /* of each channel: SYNCs so far */
	uint8_t *scratch;
};

static struct mr_source_record *add_record(struct mr_source_world *world, struct mr_source_channel *channel,
					   const struct mr_record *record)
{
	struct mr_source_record *records =
		mr_source_grow(channel->records, channel->count, &channel->capacity, sizeof(*records));

	if (!records) {
		mr_source_no_memory(world, "records");
		return NULL;
	}
	channel->records = records;
	records[channel->count] = (struct mr_source_record){
		.kind = record->kind,
		.offset = record->offset,
		.length = record->length,
		.block = MR_SOURCE_NONE,
		.section = MR_SOURCE_NONE,
		.first_send = (uint32_t)world->send_count,
	};
	channel->bytes = record->offset + record->length;
	return &records[channel->count++];
}

static int read_page(struct pass *pass, struct mr_source_channel *channel, struct mr_source_record *own,
		     const struct mr_record *record)
{
	struct mr_source_world *world = pass->world;
	const size_t page_size = world->session->target_page_size;
	const struct mr_ram_page *page = &record->page;
	const uint8_t *before;
	struct mr_source_send *send;
	uint8_t *content;

	own->block = page->block;
	own->address = page->address;
	own->named = page->name.data != NULL;
	if (check_place(world, page->block, page->address) < 0)
		return -1;
	before = last_content(world, page->block, page->address / page_size);
	send = add_send(world, page->block, page->address);
	if (!send)
		return -1;
	own->send_count = 1;
	send->section = channel->role == MR_ROLE_PREEMPT ? MR_SOURCE_NONE : pass->section;
	send->epoch = channel->epoch;
	send->interval = pass->flushes;
	send->zero = record->kind == MR_RAM_ZERO;
	if (send->zero)
		return 0;
	content = keep_page(world);
	if (!content)
		return mr_source_no_memory(world, "contents of pages");
	send->content = content;
	memcpy(content, record->kind == MR_RAM_PAGE ? page->data.data : before, page_size);
	if (record->kind == MR_RAM_XBZRLE && mr_xbzrle_decode(content, page_size, page->data, NULL) != MR_NO_RULE) {
		snprintf(world->error, sizeof(world->error), "an XBZRLE page does not decode");
		return -1;
	}
	return 0;
}

static int decode_packet(struct pass *pass, struct mr_source_channel *channel, const struct mr_multifd_packet *packet)
{
	struct mr_source_world *world = pass->world;
	const size_t page_size = world->session->target_page_size;
	uint8_t *pages[MR_PACKET_PAGES_MAX];
	struct mr_fault fault;

	if (packet->normal_pages == 0)
		return 0;
	for (uint32_t i = 0; i < packet->normal_pages; i++)
		pages[i] = pass->scratch + i * page_size;
	if (mr_packet_codec_prepare(&channel->codec, world->session, packet, &fault) == 0 &&
	    channel->codec.method->recv(channel->codec.state, packet->payload, pages, packet->normal_pages,
					fault.text) == MR_NO_RULE)
		return 0;
	snprintf(world->error, sizeof(world->error), "ch%u.fwd: a packet does not decode: %s", channel->number,
		 fault.text);
	return -1;
}

static int read_packet(struct pass *pass, struct mr_source_channel *channel, struct mr_source_record *own,
		       const struct mr_multifd_packet *packet)
{
	struct mr_source_world *world = pass->world;
	const size_t page_size = world->session->target_page_size;
	uint32_t *interval = &pass->intervals[channel->number];

	own->number = packet->flags;
	own->value = packet->packet_num;
	own->send_count = packet->normal_pages + packet->zero_pages;
	own->block = own->send_count ? packet->block : MR_SOURCE_NONE;
	if (decode_packet(pass, channel, packet) < 0)
		return -1;
	for (uint32_t i = 0; i < own->send_count; i++) {
		const uint64_t address = mr_multifd_offset(packet, i);
		struct mr_source_send *send;
		uint8_t *content;

		if (check_place(world, packet->block, address) < 0)
			return -1;
		send = add_send(world, packet->block, address);
		content = i < packet->normal_pages ? keep_page(world) : NULL;
		if (!send || (i < packet->normal_pages && !content))
			return mr_source_no_memory(world, "contents of pages");
		if (i == 0 || address < own->address)
			own->address = address;
		send->interval = *interval;
		send->packet = own->first_send;
		send->zero = !content;
		send->content = content;
		if (content)
			memcpy(content, pass->scratch + i * page_size, page_size);
	}
	*interval += (packet->flags & MR_MULTIFD_FLAG_SYNC) != 0;
	return 0;
}

static int add_header(struct pass *pass, enum mr_kind kind, const struct mr_section *section)
{
	struct mr_source_world *world = pass->world;
	struct mr_source_header *headers;

	for (size_t i = 0; i < world->header_count; i++)
		if (world->headers[i].id == section->id) {
			world->headers[i].is_device |= kind == MR_SECTION_FULL;
			return 0;
		}
	headers = mr_source_grow(world->headers, world->header_count, &world->header_capacity, sizeof(*headers));
	if (!headers)
		return mr_source_no_memory(world, "sections");
	world->headers = headers;
	headers[world->header_count] = (struct mr_source_header){
		.id = section->id,
		.instance = section->instance,
		.version = section->version,
		.iterates = kind == MR_SECTION_START,
		.is_device = kind == MR_SECTION_FULL,
		.early = kind == MR_SECTION_FULL && !pass->ram_seen,
	};
	memcpy(headers[world->header_count].idstr, section->idstr.data, section->idstr.length);
	world->header_count++;
	return 0;
}

static int add_body(struct mr_source_world *world, uint32_t id)
{
	struct mr_source_body *bodies =
		mr_source_grow(world->bodies, world->body_count, &world->body_capacity, sizeof(*bodies));

	if (!bodies)
		return mr_source_no_memory(world, "sections");
	world->bodies = bodies;
	bodies[world->body_count++] = (struct mr_source_body){.id = id};
	return 0;
}

static int read_section(struct pass *pass, struct mr_source_record *own, const struct mr_record *record)
{
	struct mr_source_world *world = pass->world;
	const struct mr_section *section = &record->section;

	own->number = section->id;
	if ((record->kind == MR_SECTION_START || record->kind == MR_SECTION_FULL) &&
	    add_header(pass, record->kind, section) < 0)
		return -1;
	if (record->kind == MR_SECTION_START && mr_bytes_equal_string(section->idstr, "ram"))
		world->ram_section = section->id;
	pass->in_ram = record->kind != MR_SECTION_FULL && section->id == world->ram_section;
	if (!pass->in_ram)
		return add_body(world, section->id);
	pass->section += pass->ram_seen;
	pass->ram_seen = true;
	own->section = pass->section;
	world->section_count = pass->section + 1;
	return 0;
}

static int append_body(struct mr_source_world *world, struct mr_bytes bytes)
{
	struct mr_source_body *body = &world->bodies[world->body_count - 1];
	uint8_t *data = world->body_count ? realloc(body->data, body->length + bytes.length + 1) : NULL;

	if (!data)
		return mr_source_no_memory(world, "devices");
	memcpy(data + body->length, bytes.data, bytes.length);
	body->data = data;
	body->length += bytes.length;
	return 0;
}

static int keep_description(struct mr_source_world *world, struct mr_bytes json)
{
	uint8_t *data = malloc(json.length + 1);

	if (!data)
		return mr_source_no_memory(world, "a description");
	memcpy(data, json.data, json.length);
	free((void *)(uintptr_t)world->description.data);
	world->description = (struct mr_bytes){data, json.length};
	return 0;
}

static void keep_uuid(struct mr_source_world *world, struct mr_bytes uuid, bool told)
{
	if (uuid.length == UUID_SIZE)
		memcpy(world->config.uuid, uuid.data, UUID_SIZE);
	world->config.uuid_known |= told;
}

static int read_record(struct pass *pass, struct mr_source_channel *channel, const struct mr_record *record)
{
	struct mr_source_world *world = pass->world;
	struct mr_source_record *own = add_record(world, channel, record);

	if (!own)
		return -1;
	if (pass->in_ram && channel->role != MR_ROLE_PREEMPT && channel->role != MR_ROLE_MULTIFD)
		own->section = pass->section;
	switch (record->kind) {
	case MR_SECTION_START:
	case MR_SECTION_PART:
	case MR_SECTION_END:
	case MR_SECTION_FULL:
		return read_section(pass, own, record);
	case MR_SECTION_FOOTER:
		pass->in_ram = false;
		return 0;
	case MR_SECTION_DATA:
		return append_body(world, record->data.bytes);
	case MR_RAM_BLOCK:
		return mr_source_map_block(world, record->ram_block.block,
					   record->ram_block.used_length / world->session->target_page_size);
	case MR_RAM_ZERO:
	case MR_RAM_PAGE:
	case MR_RAM_XBZRLE:
		return read_page(pass, channel, own, record);
	case MR_MULTIFD_PACKET:
		return read_packet(pass, channel, own, &record->packet);
	case MR_MULTIFD_INIT:
		channel->id = record->init.id;
		keep_uuid(world, record->init.uuid, false);
		return 0;
	case MR_CONFIGURATION_SUBSECTION:
		keep_uuid(world, record->subsection.uuid, record->subsection.which == MR_SUBSECTION_UUID);
		return 0;
	case MR_RAM_FLUSH:
		pass->flushes++;
		return 0;
	case MR_COMMAND:
		own->number = record->command.number;
		own->value = record->command.value;
		return 0;
	case MR_VMDESCRIPTION:
		return keep_description(world, record->description.json);
	default:
		return 0;
	}
}

/* The block of a page record: the name behind its first word, or the block of the record before. */
static uint32_t block_of(const struct mr_source_world *world, const struct mr_source_channel *channel,
			 const uint8_t *rest, uint64_t length, bool goes_on)
{
	const struct mr_block *block = NULL;

	for (size_t i = channel->count; goes_on && i-- > 0;)
		if (channel->records[i].block != MR_SOURCE_NONE)
			return channel->records[i].block;
	if (!goes_on && length > 9 && length >= 9u + rest[8])
		block = mr_session_find_block(world->session, (struct mr_bytes){rest + 9, rest[8]});
	return block ? block->index : MR_SOURCE_NONE;
}

/*
 * What the recording has of a page's contents; what follows went nowhere, and is not zero, since the page was not. It
 * may not be what is sent of the page behind the cut: of a redacted page a part is not that of the whole.
 */
static int keep_unfinished(struct mr_source_world *world, const struct mr_source_channel *channel,
			   const struct mr_source_record *record, struct mr_bytes part)
{
	const size_t page_size = world->session->target_page_size;
	struct mr_source_send *send;
	uint8_t *content;

	if (check_place(world, record->block, record->address) < 0)
		return -1;
	send = add_send(world, record->block, record->address);
	if (!send)
		return -1;
	send->section = record->section;
	send->epoch = channel->epoch;
	content = keep_page(world);
	if (!content)
		return mr_source_no_memory(world, "contents of pages");
	send->content = content;
	memset(content, 0xff, page_size);
	memcpy(content, part.data, part.length < page_size ? part.length : page_size);
	return 0;
}

/* A cut falls into a record: which page that was stands in its first bytes. */
static int read_unfinished(struct pass *pass, const struct mr_channel *from, struct mr_source_channel *channel)
{
	enum { NAME = 8 };
	const uint32_t pages = MR_RAM_FLAG_ZERO | MR_RAM_FLAG_PAGE | MR_RAM_FLAG_XBZRLE;
	const uint64_t mask = pass->world->session->target_page_size - 1;
	struct mr_record record = {.kind = MR_RAM_PAGE, .offset = from->decoder->offset};
	const uint8_t *rest;
	const uint64_t length = mr_channel_rest(from, &rest);
	struct mr_source_record *own;
	uint64_t word, contents;

	if (length < NAME || (!pass->in_ram && channel->role != MR_ROLE_PREEMPT))
		return 0;
	word = mr_get_be64(rest);
	if (!(word & mask & pages))
		return 0;
	record.length = length;
	own = add_record(pass->world, channel, &record);
	if (!own)
		return -1;
	own->unfinished = true;
	own->named = !(word & MR_RAM_FLAG_CONTINUE);
	own->address = word & ~mask;
	own->section = channel->role == MR_ROLE_PREEMPT ? MR_SOURCE_NONE : pass->section;
	own->block = block_of(pass->world, channel, rest, length, !own->named);
	contents = own->named && length > NAME ? NAME + 1u + rest[NAME] : NAME;
	if (own->block == MR_SOURCE_NONE || !(word & MR_RAM_FLAG_PAGE) || length < contents)
		return 0;
	own->send_count = 1;
	return keep_unfinished(pass->world, channel, own, (struct mr_bytes){rest + contents, length - contents});
}

static int read_channels(struct pass *pass)
{
	struct mr_source_world *world = pass->world;

	for (;;) {
		struct mr_channel *channel;
		struct mr_record record;
		const uint8_t *wire;
		const enum mr_result result = mr_migration_next(pass->migration, &channel, &record, &wire);

		if (!channel)
			return 0;
		if (result == MR_MORE)
			return mr_source_input_failed(world, channel->input);
		if (channel->role == MR_ROLE_RETURN)
			continue;
		if (result == MR_RECORD) {
			if (read_record(pass, &world->channels[channel->number], &record) < 0)
				return -1;
			continue;
		}
		/* How a cut one ends is no whole record; what follows on another connection is not in that section. */
		world->channels[channel->number].cut =
			mr_channel_is_cut(channel) || mr_migration_continues(pass->migration, channel);
		if (result == MR_FAILED && read_unfinished(pass, channel, &world->channels[channel->number]) < 0)
			return -1;
		pass->in_ram = pass->in_ram && channel->role == MR_ROLE_MULTIFD;
	}
}

static int open_return(struct mr_source_world *world, struct mr_source_channel *channel)
{
	char name[24];
	bool at_end;

	snprintf(name, sizeof(name), "ch%u.ret", channel->number);
	if (mr_recording_open_file(world->recording, name, &channel->return_input, world->error, sizeof(world->error)) <
	    0)
		return -1;
	for (size_t wanted = 1 << 16;; wanted *= 2) {
		if (mr_input_fill(channel->return_input, wanted) < 0)
			return mr_source_input_failed(world, channel->return_input);
		channel->arrived.data = mr_input_window(channel->return_input, &channel->arrived.length, &at_end);
		if (at_end)
			return 0;
	}
}

static void name_channels(struct mr_source_world *world, const struct mr_migration *migration)
{
	uint32_t mains = 0;

	for (size_t i = 0; i < migration->channel_count; i++) {
		const struct mr_channel *from = &migration->channels[i];
		struct mr_source_channel *channel;

		if (from->role == MR_ROLE_RETURN)
			continue;
		channel = &world->channels[from->number];
		channel->number = from->number;
		channel->role = from->role;
		/* A preempt channel is opened beside the last main channel, and may be missing. */
		if (from->role == MR_ROLE_PREEMPT)
			channel->epoch = mains ? mains - 1 : 0;
		else if (from->role != MR_ROLE_MULTIFD)
			channel->epoch = mains++;
	}
	world->epochs = mains;
}

int mr_source_read(struct mr_source_world *world)
{
	const struct mr_stream_options nothing = {0};
	struct pass pass = {.world = world};
	int status = -1;

	if (mr_migration_open(&pass.migration, world->recording->directory, &nothing, NULL, NULL, world->error,
			      sizeof(world->error)) < 0)
		return -1;
	world->session = pass.migration->session;
	world->ram_section = MR_SOURCE_NONE;
	pass.scratch = malloc(MR_PACKET_DATA_SIZE);
	pass.intervals = calloc(world->channel_count + 1, sizeof(*pass.intervals));
	world->zero = calloc(1, MR_PAGE_SIZE_MAX);
	world->other = malloc(MR_PAGE_SIZE_MAX);
	name_channels(world, pass.migration);
	if (!pass.scratch || !pass.intervals || !world->zero || !world->other)
		mr_source_no_memory(world, "pages");
	else
		status = read_channels(&pass);
	if (world->other)
		memset(world->other, 0xff, MR_PAGE_SIZE_MAX);
	world->session = NULL;
	free(pass.scratch);
	free(pass.intervals);
	mr_migration_close(pass.migration);
	for (size_t i = 0; i < world->channel_count && status == 0; i++)
		if (world->recording->channels[i].has_return)
			status = open_return(world, &world->channels[i]);
	return status;
}
