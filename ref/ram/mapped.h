/*
 * mapped.h: mapped-ram files: headers in the block list, bitmaps and pages at fixed places behind them.
 *
 * In such a file a block's entry goes on with a header that names two places in the file; the bitmap and the pages
 * stand there, and the next entry or record follows the last page. Places count from the file's first byte: where a
 * stream lies behind something else in its file, the decoder's offset has to begin with that something's length.
 */
#ifndef MR_RAM_MAPPED_H
#define MR_RAM_MAPPED_H

#include "wire/wire.h"

/* Whether a header follows at the cursor, behind a block's other fields. MR_RECORD, or MR_MORE. */
enum mr_result mr_mapped_recognise(struct mr_decoder *decoder, struct mr_cursor *cursor, bool *mapped);
/* Reads and judges a header. */
enum mr_result mr_mapped_header(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_ram_block *block);
/* After the entry with its header is complete: bitmap and pages come next. */
void mr_mapped_enter(struct mr_decoder *decoder, const struct mr_ram_block *block);
/* True while bitmap and pages of a block come next. */
static inline bool mr_mapped_is_inside(const struct mr_decoder *decoder)
{
	return decoder->offset < decoder->hole_end;
}
/* One piece of a bitmap or of pages. */
enum mr_result mr_mapped_decode(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record);
/* The file ends at `end`, within a bitmap or pages. */
enum mr_result mr_mapped_cut(struct mr_decoder *decoder, uint64_t end);
/* What else may not stand in such a file. */
void mr_mapped_check(struct mr_decoder *decoder, const struct mr_record *record);

void mr_mapped_header_fields(const struct mr_ram_block *block, struct mr_emitter *emitter);
void mr_mapped_fields(const struct mr_record *record, struct mr_emitter *emitter);

#endif
