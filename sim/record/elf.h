/* elf.h: guest-physical memory of a PC as an ELF core file, for gdb, crash, drgn and Volatility. */
#ifndef MR_RECORD_ELF_H
#define MR_RECORD_ELF_H

#include "sim/record/memory.h"

/* Where a run of a block stands in guest-physical memory. */
struct mr_elf_segment {
	uint64_t address, size; /* bytes */
	uint32_t block;         /* index in the session */
	uint64_t offset;        /* in the block, bytes */
};

enum { MR_ELF_SEGMENTS_MAX = 16 };

/*
 * The layout of memory of a machine type "pc-i440fx-*", "pc-q35-*" or an alias of those. Returns how many segments
 * there are, in ascending order of addresses, or -1 with one line in `error`: another machine, no main memory, blocks
 * that are cut short.
 *
 * Main memory begins at 0 and goes on at 4 GiB with what lies above the machine's split. Flash, else the firmware, ends
 * at 4 GiB. Between 640 KiB and 768 KiB a guest with a VGA has no memory. From 768 KiB to 1 MiB stands what the
 * processor sees: main memory once the firmware has copied itself there, before that the option ROMs and the
 * firmware's last 128 KiB.
 */
int mr_elf_layout(struct mr_elf_segment segments[MR_ELF_SEGMENTS_MAX], const struct mr_session *session,
		  const struct mr_memory *memory, const char *machine, char error[256]);
/*
 * Writes an ELF64 core with one PT_LOAD for each segment (virtual address equal to the physical one) and an empty
 * NT_PRSTATUS. Only pages that were written cost space in the file. Returns 0, or -1 with errno set.
 */
int mr_elf_write(int file, const struct mr_elf_segment *segments, int count, const struct mr_session *session,
		 const struct mr_memory *memory);

#endif
