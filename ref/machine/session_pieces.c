/* session_pieces.c: where the state of decoders and of what they share lies. */
#include "machine/pieces.h"

void mr_piece_finding(struct mr_pieces *pieces, const struct mr_finding *finding)
{
	MR_STATE(pieces, finding, rule, rule);
	if (finding->rule != MR_NO_RULE)
		MR_SCRATCH(pieces, finding, verdict, found);
}

static void add_block(struct mr_pieces *pieces, const struct mr_session *session, const struct mr_block *block)
{
	MR_STATE(pieces, block, index, name_length);
	mr_piece_add(pieces, block->name, block->name_length + 1u, false);
	MR_STATE(pieces, block, slot, slot);
	MR_STATE(pieces, block, used_length, address);
	mr_piece_add(pieces, &session->block_slots[block->slot], sizeof(session->block_slots[0]), false);
}

void mr_piece_session(struct mr_pieces *pieces, const struct mr_session *session)
{
	MR_STATE(pieces, session, context.capabilities, context.capabilities);
	MR_STATE(pieces, session, target_page_size, colo);
	MR_STATE(pieces, session, page_size_summary, section_count);
	for (uint32_t i = 0; i < session->section_count; i++) {
		const struct mr_section_entry *entry = &session->sections[i];

		MR_STATE(pieces, entry, id, idstr_length);
		mr_piece_add(pieces, entry->idstr, entry->idstr_length, false);
	}
	MR_STATE(pieces, session, block_count, block_count);
	for (uint32_t i = 0; i < session->block_count; i++)
		add_block(pieces, session, &session->blocks[i]);
}

/*
 * Whether it matters no more how many bytes came before: not within a package, a stretch of device sections, or the
 * bitmap and pages of a mapped block.
 */
static bool is_anywhere(const struct mr_decoder *decoder)
{
	return !decoder->in_package && decoder->device_next >= decoder->device_count &&
	       decoder->offset >= decoder->device_limit && decoder->offset >= decoder->hole_end;
}

void mr_piece_decoder(struct mr_pieces *pieces, const struct mr_decoder *decoder)
{
	const bool anywhere = is_anywhere(decoder);
	const uint32_t left =
		decoder->device_next < decoder->device_count ? decoder->device_count - decoder->device_next : 0;

	MR_STATE(pieces, decoder, session, channel);
	MR_PIECE_OF(pieces, decoder, offset, offset, anywhere);
	MR_SCRATCH(pieces, decoder, wanted, wanted);
	if (decoder->failed)
		mr_piece_finding(pieces, &decoder->error);
	MR_SCRATCH(pieces, decoder, description, description);
	MR_STATE(pieces, decoder, state, device_resolved);
	MR_PIECE_OF(pieces, decoder, package_end, resume_device_limit, !decoder->in_package);
	MR_STATE(pieces, decoder, rest_rule, requested_block);
	MR_PIECE_OF(pieces, decoder, device_limit, device_next, anywhere);
	MR_STATE(pieces, decoder, resolve_count, resolve_count);
	mr_piece_add(pieces, &decoder->devices[left ? decoder->device_next : 0], left * sizeof(decoder->devices[0]),
		     false);
}
