/* session.c: what the channels of one migration share: context, page size, RAM blocks by name. */
#include "wire.h"

enum { DEFAULT_PAGE_SIZE = 4096 };

void mr_session_init(struct mr_session *session, const struct mr_context *context, mr_report_function *report,
		     void *report_argument)
{
	static const struct mr_context nothing_known = {.multifd_method = MR_METHOD_UNKNOWN};
	uint32_t page_size;

	session->context = context ? *context : nothing_known;
	page_size = session->context.target_page_size;
	session->target_page_size = page_size ? page_size : DEFAULT_PAGE_SIZE;
	session->return_path = false;
	session->advised = false;
	session->listening = false;
	session->colo = (session->context.capabilities & MR_CAPABILITY_COLO) != 0;
	session->page_size_summary = 0;
	session->section_count = 0;
	session->block_count = 0;
	memset(session->block_slots, 0, sizeof(session->block_slots));
	session->report = report;
	session->report_argument = report_argument;
}

/* FNV-1a: block names are few and short, and the order of slots reaches no output. */
static uint32_t hash_name(struct mr_bytes name)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < name.length; i++)
		hash = (hash ^ name.data[i]) * 16777619u;
	return hash;
}

/* Only then, so that a table in which other names stood before need not be cleared (mr_incoming_pieces()). */
static bool is_taken(const struct mr_session *session, uint32_t slot)
{
	const uint32_t number = session->block_slots[slot];

	return number && number <= session->block_count && session->blocks[number - 1].slot == slot;
}

static uint32_t find_slot(const struct mr_session *session, struct mr_bytes name)
{
	const uint32_t mask = 2 * MR_BLOCKS_MAX - 1;
	uint32_t slot = hash_name(name) & mask;

	while (is_taken(session, slot)) {
		const struct mr_block *block = &session->blocks[session->block_slots[slot] - 1];
		const struct mr_bytes here = {(const uint8_t *)block->name, block->name_length};

		if (mr_bytes_equal(here, name))
			break;
		slot = (slot + 1) & mask;
	}
	return slot;
}

const struct mr_block *mr_session_find_block(const struct mr_session *session, struct mr_bytes name)
{
	const uint32_t slot = find_slot(session, name);

	return is_taken(session, slot) ? &session->blocks[session->block_slots[slot] - 1] : NULL;
}

uint32_t mr_session_name_block(struct mr_session *session, struct mr_bytes name)
{
	const uint32_t slot = find_slot(session, name);
	struct mr_block *block;

	if (is_taken(session, slot))
		return session->block_slots[slot] - 1u;
	if (session->block_count == MR_BLOCKS_MAX || name.length > MR_NAME_MAX)
		return UINT32_MAX;
	block = &session->blocks[session->block_count];
	memset(block, 0, sizeof(*block));
	block->index = session->block_count++;
	block->name_length = (uint8_t)name.length;
	block->slot = (uint16_t)slot;
	if (name.length)
		memcpy(block->name, name.data, name.length);
	session->block_slots[slot] = (uint16_t)(block->index + 1);
	return block->index;
}

bool mr_session_has_block_list(const struct mr_session *session)
{
	return session->block_count && session->blocks[0].declared;
}

uint64_t mr_session_host_page(const struct mr_session *session, const struct mr_block *block)
{
	/* ADVISE has told all sizes in one number: the ordinary one, which no block tells, is the smallest of them */
	const uint64_t ordinary = session->page_size_summary & (~session->page_size_summary + 1);

	if (block->page_size)
		return block->page_size;
	return ordinary > session->target_page_size ? ordinary : session->target_page_size;
}

uint32_t mr_session_packet_pages(const struct mr_session *session)
{
	return MR_PACKET_DATA_SIZE / session->target_page_size;
}
