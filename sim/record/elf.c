/* elf.c: guest-physical memory of a PC as an ELF core file, for gdb, crash, drgn and Volatility. */
#include "sim/record/elf.h"

#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define GIB (KIB * MIB)

#define VGA_START    (640 * KIB)
#define ROM_START    (768 * KIB)
#define SHADOW_START (896 * KIB)
#define RESET_PAGE   (MIB - 4 * KIB) /* where the firmware's entry point stands in its copy below 1 MiB */
#define ABOVE_START  (4 * GIB)

enum { PRSTATUS_SIZE = 336, NODES_MAX = 128, FILE_ALIGNMENT = 4096 };

/* ---- Layout ---- */

/* One kind of PC: as much main memory as `largest` would not fit below 4 GiB, and is split at `split`. */
struct pc {
	const char *prefix;
	uint64_t largest, split;
};

static const struct pc pcs[] = {
	{"pc-i440fx-1.", 3584 * MIB, 3584 * MIB}, /* before 2.0 the split was not moved to a whole GiB */
	{"pc-i440fx-", 3584 * MIB, 3 * GIB},
	{"pc-q35-", 2816 * MIB, 2 * GIB},
};

struct layout {
	struct mr_elf_segment *segments;
	int count;
	const struct mr_session *session;
	const struct mr_memory *memory;
	const struct pc *pc;
	uint64_t total;            /* bytes of main memory */
	bool has_vga;              /* nothing of main memory shows at 640 KiB */
	bool has_shadow;           /* the firmware has copied itself to below 1 MiB */
	uint32_t nodes[NODES_MAX]; /* blocks of main memory, in their order */
	uint32_t node_count;
	uint32_t bios, rom, flash[2]; /* blocks; UINT32_MAX: none */
};

/* The last part of a block's name: behind the device's or object's path. */
static const char *plain_name(const struct mr_block *block)
{
	const char *slash = strrchr(block->name, '/');

	return slash ? slash + 1 : block->name;
}

/* Main memory made of one backend for each NUMA node: "ram-node0" and so on, as libvirt names them. */
static void find_nodes(struct layout *layout)
{
	for (uint32_t node = 0; node < NODES_MAX; node++) {
		char name[32];
		uint32_t index = 0;

		snprintf(name, sizeof(name), "ram-node%" PRIu32, node);
		while (index < layout->memory->count && strcmp(plain_name(&layout->session->blocks[index]), name) != 0)
			index++;
		if (index == layout->memory->count)
			return;
		layout->nodes[layout->node_count++] = index;
	}
}

static bool is_firmware(const struct mr_block *block)
{
	static const char *const names[] = {"pc.bios", "pc.rom", "system.flash0", "system.flash1"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(block->name, names[i]) == 0)
			return true;
	return false;
}

/* A block that is not one of a device: its name is no path, or that of a memory backend. */
static bool may_be_main(const struct mr_block *block)
{
	if (is_firmware(block) || strcmp(block->name, "vga.vram") == 0)
		return false;
	return strchr(block->name, '/') == NULL || strncmp(block->name, "/objects/", 9) == 0;
}

static void find_blocks(struct layout *layout)
{
	uint32_t largest = UINT32_MAX;

	layout->bios = layout->rom = layout->flash[0] = layout->flash[1] = UINT32_MAX;
	for (uint32_t i = 0; i < layout->memory->count; i++) {
		const struct mr_block *block = &layout->session->blocks[i];

		if (!layout->memory->blocks[i].data)
			continue;
		/* No firmware is that large; a stream that says so is not to move it around the end of the address
		 * space. */
		if (is_firmware(block) && layout->memory->blocks[i].size > GIB)
			continue;
		if (strcmp(block->name, "pc.bios") == 0)
			layout->bios = i;
		else if (strcmp(block->name, "pc.rom") == 0)
			layout->rom = i;
		else if (strcmp(block->name, "system.flash0") == 0)
			layout->flash[0] = i;
		else if (strcmp(block->name, "system.flash1") == 0)
			layout->flash[1] = i;
		layout->has_vga |= strstr(plain_name(block), ".vram") != NULL;
		if (may_be_main(block) &&
		    (largest == UINT32_MAX || layout->memory->blocks[i].size > layout->memory->blocks[largest].size))
			largest = i;
	}
	find_nodes(layout);
	if (layout->node_count == 0 && largest != UINT32_MAX)
		layout->nodes[layout->node_count++] = largest;
	for (uint32_t i = 0; i < layout->node_count; i++)
		layout->total += layout->memory->blocks[layout->nodes[i]].size;
}

static int add(struct layout *layout, uint64_t address, uint32_t block, uint64_t offset, uint64_t size)
{
	if (layout->count) {
		struct mr_elf_segment *last = &layout->segments[layout->count - 1];

		if (last->block == block && last->address + last->size == address &&
		    last->offset + last->size == offset) {
			last->size += size;
			return 0;
		}
	}
	if (size == 0)
		return 0;
	if (layout->count == MR_ELF_SEGMENTS_MAX)
		return -1;
	layout->segments[layout->count++] = (struct mr_elf_segment){address, size, block, offset};
	return 0;
}

/* The range [start, end) of main memory, which may lie in several blocks, at `address`. */
static int add_main(struct layout *layout, uint64_t address, uint64_t start, uint64_t end)
{
	uint64_t base = 0;

	for (uint32_t i = 0; i < layout->node_count; i++) {
		const uint64_t size = layout->memory->blocks[layout->nodes[i]].size;
		const uint64_t from = start > base ? start : base;
		const uint64_t to = end < base + size ? end : base + size;

		if (from < to && add(layout, address + (from - start), layout->nodes[i], from - base, to - from) < 0)
			return -1;
		base += size;
	}
	return 0;
}

/* What the processor sees between 768 KiB and 1 MiB before the firmware has copied itself there. */
static int add_roms(struct layout *layout)
{
	const struct mr_memory_block *blocks = layout->memory->blocks;
	const uint64_t window = SHADOW_START - ROM_START, tail = MIB - SHADOW_START;
	uint64_t size;

	if (layout->rom != UINT32_MAX) {
		size = blocks[layout->rom].size < window ? blocks[layout->rom].size : window;
		if (add(layout, ROM_START, layout->rom, 0, size) < 0)
			return -1;
	}
	if (layout->bios == UINT32_MAX)
		return 0;
	size = blocks[layout->bios].size < tail ? blocks[layout->bios].size : tail;
	return add(layout, MIB - size, layout->bios, blocks[layout->bios].size - size, size);
}

static int add_firmware(struct layout *layout)
{
	const uint32_t order[] = {layout->flash[1], layout->flash[0]};
	uint64_t below = ABOVE_START;

	for (size_t i = 0; i < 2; i++)
		if (order[i] != UINT32_MAX)
			below -= layout->memory->blocks[order[i]].size;
	for (size_t i = 0; i < 2; i++) {
		if (order[i] == UINT32_MAX)
			continue;
		if (add(layout, below, order[i], 0, layout->memory->blocks[order[i]].size) < 0)
			return -1;
		below += layout->memory->blocks[order[i]].size;
	}
	if (layout->flash[0] != UINT32_MAX || layout->bios == UINT32_MAX)
		return 0;
	return add(layout, ABOVE_START - layout->memory->blocks[layout->bios].size, layout->bios, 0,
		   layout->memory->blocks[layout->bios].size);
}

static int lay_out(struct layout *layout)
{
	const uint64_t below = layout->total >= layout->pc->largest ? layout->pc->split : layout->total;

	if (layout->has_shadow && !layout->has_vga) {
		if (add_main(layout, 0, 0, below) < 0)
			return -1;
	} else {
		const uint64_t end = layout->has_vga ? VGA_START : ROM_START;

		if (add_main(layout, 0, 0, end < below ? end : below) < 0 ||
		    (layout->has_shadow ? add_main(layout, ROM_START, ROM_START, MIB) : add_roms(layout)) < 0 ||
		    add_main(layout, MIB, MIB, below) < 0)
			return -1;
	}
	if (add_firmware(layout) < 0)
		return -1;
	return add_main(layout, ABOVE_START, below, layout->total);
}

static const struct pc *find_pc(const char *machine)
{
	if (strcmp(machine, "pc") == 0 || strcmp(machine, "q35") == 0)
		return &pcs[machine[0] == 'p' ? 1 : 2];
	for (size_t i = 0; i < sizeof(pcs) / sizeof(pcs[0]); i++)
		if (strncmp(machine, pcs[i].prefix, strlen(pcs[i].prefix)) == 0)
			return &pcs[i];
	return NULL;
}

/* Firmware that has not copied itself has left the place of its entry point as it was: zero. */
static bool shadow_is_there(const struct layout *layout)
{
	const struct mr_memory_block *first = &layout->memory->blocks[layout->nodes[0]];

	return first->size >= MIB && !mr_is_zero(first->data + RESET_PAGE, (size_t)(MIB - RESET_PAGE));
}

int mr_elf_layout(struct mr_elf_segment segments[MR_ELF_SEGMENTS_MAX], const struct mr_session *session,
		  const struct mr_memory *memory, const char *machine, char error[256])
{
	struct layout layout = {.segments = segments, .session = session, .memory = memory, .pc = find_pc(machine)};

	if (!layout.pc) {
		snprintf(error, 256, "expected a machine type pc-i440fx-* or pc-q35-*, found \"%.60s\"", machine);
		return -1;
	}
	find_blocks(&layout);
	if (layout.total < MIB) {
		snprintf(error, 256, "expected main memory of at least 1 MiB, found %" PRIu64 " bytes", layout.total);
		return -1;
	}
	layout.has_shadow = shadow_is_there(&layout);
	if (lay_out(&layout) < 0) {
		snprintf(error, 256, "expected at most %d segments of memory, found more", MR_ELF_SEGMENTS_MAX);
		return -1;
	}
	return layout.count;
}

/* ---- File ---- */

static int write_all(int file, const void *bytes, uint64_t length, uint64_t offset)
{
	const uint8_t *at = bytes;

	while (length) {
		const size_t piece = length < GIB ? (size_t)length : (size_t)GIB;
		const ssize_t written = pwrite(file, at, piece, (off_t)offset);

		if (written < 0 && errno != EINTR)
			return -1;
		if (written > 0) {
			at += written;
			offset += (uint64_t)written;
			length -= (uint64_t)written;
		}
	}
	return 0;
}

/* Runs of pages that were written; all else stays a hole. */
static int write_segment(int file, const struct mr_elf_segment *segment, const struct mr_memory_block *block,
			 uint64_t page_size, uint64_t place)
{
	const uint64_t end = segment->offset + segment->size;
	uint64_t page = mr_bitmap_next_set(block->touched, block->pages, segment->offset / page_size);

	while (page < block->pages && page * page_size < end) {
		const uint64_t behind = mr_bitmap_next_clear(block->touched, block->pages, page);
		const uint64_t from = page * page_size > segment->offset ? page * page_size : segment->offset;
		const uint64_t to = behind * page_size < end ? behind * page_size : end;

		if (write_all(file, block->data + from, to - from, place + (from - segment->offset)) < 0)
			return -1;
		page = mr_bitmap_next_set(block->touched, block->pages, behind);
	}
	return 0;
}

static void fill_headers(Elf64_Ehdr *header, Elf64_Phdr *note, int count, uint64_t note_size)
{
	const uint64_t place = sizeof(*header) + ((size_t)count + 1) * sizeof(*note);

	*header = (Elf64_Ehdr){
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		.e_type = htole16(ET_CORE),
		.e_machine = htole16(EM_X86_64),
		.e_version = htole32(EV_CURRENT),
		.e_phoff = htole64(sizeof(*header)),
		.e_ehsize = htole16(sizeof(*header)),
		.e_phentsize = htole16(sizeof(*note)),
		.e_phnum = htole16((uint16_t)(count + 1)),
	};
	*note = (Elf64_Phdr){
		.p_type = htole32(PT_NOTE),
		.p_offset = htole64(place),
		.p_filesz = htole64(note_size),
		.p_memsz = htole64(note_size),
	};
}

/* Registers are part of device state, which is not opened here; debuggers ask for the note all the same. */
struct status_note {
	Elf64_Nhdr header;
	char name[8];
	uint8_t registers[PRSTATUS_SIZE];
};

int mr_elf_write(int file, const struct mr_elf_segment *segments, int count, const struct mr_session *session,
		 const struct mr_memory *memory)
{
	struct {
		Elf64_Ehdr header;
		Elf64_Phdr programs[MR_ELF_SEGMENTS_MAX + 1];
	} start;
	const struct status_note note = {
		.header = {htole32(5), htole32(PRSTATUS_SIZE), htole32(NT_PRSTATUS)},
		.name = "CORE",
	};
	uint64_t place = FILE_ALIGNMENT;

	fill_headers(&start.header, &start.programs[0], count, sizeof(note));
	for (int i = 0; i < count; i++) {
		const struct mr_elf_segment *segment = &segments[i];

		start.programs[i + 1] = (Elf64_Phdr){
			.p_type = htole32(PT_LOAD),
			.p_flags = htole32(PF_R | PF_W | PF_X),
			.p_offset = htole64(place),
			.p_vaddr = htole64(segment->address),
			.p_paddr = htole64(segment->address),
			.p_filesz = htole64(segment->size),
			.p_memsz = htole64(segment->size),
			.p_align = htole64(FILE_ALIGNMENT),
		};
		if (write_segment(file, segment, &memory->blocks[segment->block], session->target_page_size, place) < 0)
			return -1;
		place += (segment->size + FILE_ALIGNMENT - 1) / FILE_ALIGNMENT * FILE_ALIGNMENT;
	}
	if (write_all(file, &start, sizeof(start.header) + ((size_t)count + 1) * sizeof(start.programs[0]), 0) < 0 ||
	    write_all(file, &note, sizeof(note), le64toh(start.programs[0].p_offset)) < 0)
		return -1;
	return ftruncate(file, (off_t)place);
}
