/* block_file.h: RAM blocks as files that are written while the stream is read. */
#ifndef MR_RECORD_BLOCK_FILE_H
#define MR_RECORD_BLOCK_FILE_H

#include "sim/record/memory.h"

struct mr_block_files;

/*
 * Files in the directory `folder`, an open descriptor that stays the caller's, as `memory` must do, for as long as the
 * files. `memory` must be fresh; it keeps the blocks and which of their pages came, but its data are then read-only
 * views of the files, complete after each flush. Returns NULL if memory is short.
 *
 * Every block has an open file. The limit on open files is raised as far as the system lets it.
 */
struct mr_block_files *mr_block_files_new(struct mr_memory *memory, int folder);
/* Removes every file that was not finished. NULL is allowed. */
void mr_block_files_free(struct mr_block_files *files);
/*
 * Carries out what the record says of memory, as mr_memory_apply() and mr_memory_apply_packet() do; `codec` is that of
 * the record's channel. `stays`: the record's bytes stay where they are until the files are flushed, otherwise until
 * this call returns. Returns 0, or -1 with the fault; its rule is MR_NO_RULE if a file could not be written, and then
 * nothing more can be applied.
 */
int mr_block_files_apply(struct mr_block_files *files, struct mr_packet_codec *codec, const struct mr_record *record,
			 bool stays, struct mr_fault *fault);
/* Writes what is still gathered. Returns 0, or -1 if a file could not be written, now or before. */
int mr_block_files_flush(struct mr_block_files *files);
/* Gives the file of a block its name, when all has been flushed. Returns 0, or -1 with errno set. */
int mr_block_files_finish(struct mr_block_files *files, uint32_t block);
/* errno of the first write that failed, with its block; 0 if none did. */
int mr_block_files_error(const struct mr_block_files *files, uint32_t *block);
/*
 * The file name of a block: what a path or terminal could misread becomes _. Of two blocks with one file name the later
 * one gets its number behind it.
 */
void mr_block_file_name(const struct mr_session *session, uint32_t block, char name[MR_NAME_MAX + 1]);

#endif
