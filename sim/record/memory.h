/* memory.h: guest memory as a stream builds it: RAM blocks, and which of their pages ever came. */
#ifndef MR_RECORD_MEMORY_H
#define MR_RECORD_MEMORY_H

#include "ref/migref.h"

/* Pages that all discards together may name: 32 TiB of 4 KiB pages. */
#define MR_MEMORY_DISCARDED_MAX ((uint64_t)1 << 33)

struct mr_memory_block {
	uint8_t *data; /* used_length bytes; NULL until the block is declared */
	uint64_t size; /* bytes */
	uint64_t pages;
	uint64_t *received; /* bitmap: the page's content came, and was not discarded since */
	uint64_t *touched;  /* bitmap: the page was written at least once, so it may be other than zero */

	/* private: the pages that were last asked of the kernel, [first, behind) by number */
	uint64_t populated_first, populated_behind;
};

struct mr_memory {
	const struct mr_session *session;
	bool huge_pages; /* ask for transparent huge pages */
	uint32_t count;
	struct mr_memory_block blocks[MR_BLOCKS_MAX];
	uint64_t discarded; /* private: pages that discards named so far */
};

/* What a channel needs to take pages from packets. */
struct mr_packet_codec {
	const struct mr_multifd_method *method;
	void *state;
};

/* Why a record could not be applied. */
struct mr_fault {
	enum mr_rule rule;
	char text[96];
};

/* Whole pages of a block, by number. */
struct mr_page_range {
	uint64_t first, count;
};

/* Fills in the fault, whose text is cut where it is too long. Always -1, for the caller to return. */
__attribute__((format(printf, 3, 4))) int mr_fault_set(struct mr_fault *fault, enum mr_rule rule, const char *format,
						       ...);

void mr_memory_init(struct mr_memory *memory, const struct mr_session *session, bool huge_pages);
void mr_memory_clear(struct mr_memory *memory);
/*
 * Carries out what the record says of memory: maps a block, fills a page, discards a range. Records without meaning for
 * memory are skipped. Returns 0, or -1 with the fault; memory outside a block is never touched.
 */
int mr_memory_apply(struct mr_memory *memory, const struct mr_record *record, struct mr_fault *fault);
/* As mr_memory_apply() for a multifd packet, whose payload the codec's state decodes. */
int mr_memory_apply_packet(struct mr_memory *memory, struct mr_packet_codec *codec,
			   const struct mr_multifd_packet *packet, struct mr_fault *fault);
/* Where a page of the guest lies; NULL if the block or offset does not exist. */
uint8_t *mr_memory_page(struct mr_memory *memory, uint32_t index, uint64_t address);
/* Marks a page as received, after the caller wrote it. */
void mr_memory_mark(struct mr_memory *memory, uint32_t index, uint64_t address);
/* Empties `length` bytes of a block. Returns 0, or -1 with the fault: not whole pages of the block. */
int mr_memory_empty(struct mr_memory *memory, uint32_t index, uint64_t start, uint64_t length, struct mr_fault *fault);

/* ---- For those who keep the content of pages elsewhere ---- */

/* The block with this number; NULL with the fault if it was not declared, or is empty. */
struct mr_memory_block *mr_memory_block_at(struct mr_memory *memory, uint32_t index, struct mr_fault *fault);
/* Where the page of a record lies; NULL with the fault if it is outside its block. */
uint8_t *mr_memory_record_page(struct mr_memory *memory, const struct mr_ram_page *page, struct mr_fault *fault);
/* Where page `i` of a packet lies, normal pages first; NULL with the fault if it is outside the packet's block. */
uint8_t *mr_memory_packet_page(struct mr_memory *memory, const struct mr_multifd_packet *packet, uint32_t i,
			       struct mr_fault *fault);
/* The block that a discard names; NULL with the fault if it was not declared, or is empty. */
struct mr_memory_block *mr_memory_discard_block(struct mr_memory *memory, const struct mr_command *command,
						struct mr_fault *fault);
/*
 * The pages of range `i` of a discard in `block`. They are counted, since a few bytes of stream may discard a block of
 * any size, again and again. Returns 0, or -1 with the fault: not whole pages of the block, or too many by now.
 */
int mr_memory_discard_pages(struct mr_memory *memory, const struct mr_memory_block *block,
			    const struct mr_command *command, uint32_t i, struct mr_page_range *pages,
			    struct mr_fault *fault);

/* Makes sure that the codec has the method of the packet's flags. -1 with a fault if it has none. */
int mr_packet_codec_prepare(struct mr_packet_codec *codec, const struct mr_session *session,
			    const struct mr_multifd_packet *packet, struct mr_fault *fault);
void mr_packet_codec_clear(struct mr_packet_codec *codec);

#endif
