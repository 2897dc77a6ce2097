/* test_elf.c: where a PC's blocks stand in guest-physical memory, and the core file that is made of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sim/record/elf.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static struct mr_session session;
static struct mr_memory memory;
static struct mr_elf_segment segments[MR_ELF_SEGMENTS_MAX];

static int begin(void **state)
{
	(void)state;
	memset(&session, 0, sizeof(session));
	session.target_page_size = 4096;
	mr_memory_init(&memory, &session, false);
	return 0;
}

static int end(void **state)
{
	(void)state;
	mr_memory_clear(&memory);
	return 0;
}

/* A block that was declared and never sent; memory that is not touched costs nothing. */
static void declare(const char *name, uint64_t size)
{
	const uint32_t index = session.block_count++;
	struct mr_block *block = &session.blocks[index];
	struct mr_record record = {.kind = MR_RAM_BLOCK, .ram_block = {.block = index, .used_length = size}};
	struct mr_fault fault;

	block->index = index;
	block->declared = true;
	block->used_length = size;
	block->name_length = (uint8_t)strlen(name);
	memcpy(block->name, name, strlen(name) + 1);
	assert_int_equal(mr_memory_apply(&memory, &record, &fault), 0);
}

static void write_byte(uint32_t block, uint64_t address, uint8_t byte)
{
	memory.blocks[block].data[address] = byte;
	mr_memory_mark(&memory, block, address / 4096 * 4096);
}

/* The firmware has copied itself to below 1 MiB. */
static void boot(uint32_t block)
{
	write_byte(block, MIB - 16, 0xea);
}

static void expect(int count, int index, uint64_t address, uint64_t size, uint32_t block, uint64_t offset)
{
	assert_in_range(index, 0, count - 1);
	assert_int_equal(segments[index].address, address);
	assert_int_equal(segments[index].size, size);
	assert_int_equal(segments[index].block, block);
	assert_int_equal(segments[index].offset, offset);
}

static int lay_out(const char *machine)
{
	char error[256] = "";
	const int count = mr_elf_layout(segments, &session, &memory, machine, error);

	if (count < 0)
		fail_msg("%s", error);
	return count;
}

/* One size of memory on one machine: how much of it lies below 4 GiB, as `info mtree` of real QEMU says. */
static void expect_split(const char *machine, uint64_t size, uint64_t below)
{
	int count;

	begin(NULL);
	declare("pc.ram", size);
	declare("pc.bios", MIB / 4);
	boot(0);
	count = lay_out(machine);
	assert_int_equal(count, below < size ? 3 : 2);
	expect(count, 0, 0, below, 0, 0);
	expect(count, 1, 4 * GIB - MIB / 4, MIB / 4, 1, 0);
	if (below < size)
		expect(count, 2, 4 * GIB, size - below, 0, below);
	end(NULL);
}

static void splits(void **state)
{
	(void)state;
	expect_split("pc-i440fx-7.2", 16 * MIB, 16 * MIB);
	expect_split("pc-i440fx-7.2", 3583 * MIB, 3583 * MIB);
	expect_split("pc-i440fx-7.2", 3584 * MIB, 3 * GIB);
	expect_split("pc-i440fx-2.0", 5 * GIB, 3 * GIB);
	expect_split("pc-i440fx-1.7", 5 * GIB, 3584 * MIB);
	expect_split("pc", 5 * GIB, 3 * GIB);
	expect_split("pc-q35-7.2", 2815 * MIB, 2815 * MIB);
	expect_split("pc-q35-7.2", 2816 * MIB, 2 * GIB);
	expect_split("q35", 5 * GIB, 2 * GIB);
}

static void before_the_firmware_ran(void **state)
{
	int count;

	(void)state;
	declare("mem", 16 * MIB);
	declare("pc.bios", MIB / 4);
	declare("pc.rom", MIB / 8);
	count = lay_out("pc-i440fx-7.2");
	assert_int_equal(count, 5);
	expect(count, 0, 0, 0xc0000, 0, 0);
	expect(count, 1, 0xc0000, 0x20000, 2, 0);
	expect(count, 2, 0xe0000, 0x20000, 1, 0x20000);
	expect(count, 3, MIB, 15 * MIB, 0, MIB);
	expect(count, 4, 4 * GIB - MIB / 4, MIB / 4, 1, 0);
}

static void a_vga_hides_memory(void **state)
{
	int count;

	(void)state;
	declare("pc.ram", 16 * MIB);
	declare("0000:00:02.0/vga.vram", 16 * MIB);
	boot(0);
	count = lay_out("pc-q35-7.2");
	assert_int_equal(count, 2);
	expect(count, 0, 0, 0xa0000, 0, 0);
	expect(count, 1, 0xc0000, 16 * MIB - 0xc0000, 0, 0xc0000);
}

static void flash_and_nodes(void **state)
{
	int count;

	(void)state;
	declare("/objects/ram-node1", 2 * GIB);
	declare("/objects/ram-node0", 2 * GIB);
	declare("system.flash0", 3 * MIB);
	declare("system.flash1", MIB);
	boot(1);
	count = lay_out("pc-q35-9.2");
	assert_int_equal(count, 4);
	expect(count, 0, 0, 2 * GIB, 1, 0);
	expect(count, 1, 4 * GIB - 4 * MIB, MIB, 3, 0);
	expect(count, 2, 4 * GIB - 3 * MIB, 3 * MIB, 2, 0);
	expect(count, 3, 4 * GIB, 2 * GIB, 0, 0);
}

static void refusals(void **state)
{
	char error[256] = "";

	(void)state;
	declare("pc.bios", (uint64_t)5 * GIB);
	assert_int_equal(mr_elf_layout(segments, &session, &memory, "virt-7.2", error), -1);
	assert_non_null(strstr(error, "virt-7.2"));
	assert_int_equal(mr_elf_layout(segments, &session, &memory, "pc-q35-7.2", error), -1);
	assert_non_null(strstr(error, "main memory"));
	declare("pc.ram", 16 * MIB);
	assert_int_equal(lay_out("pc-q35-7.2"), 2);
}

static void a_sparse_file(void **state)
{
	char path[] = "/tmp/elf-XXXXXX";
	const int file = mkstemp(path);
	Elf64_Ehdr header;
	Elf64_Phdr program;
	struct stat status;
	uint8_t byte;
	int count;

	(void)state;
	unlink(path);
	declare("pc.ram", 5 * GIB);
	boot(0);
	write_byte(0, 3 * GIB + 5, 0x5a);
	count = lay_out("pc-i440fx-7.2");
	assert_int_equal(mr_elf_write(file, segments, count, &session, &memory), 0);
	assert_int_equal(fstat(file, &status), 0);
	assert_int_equal(status.st_size, 5 * GIB + 4096);
	assert_true(status.st_blocks < 200);
	assert_int_equal(pread(file, &header, sizeof(header), 0), sizeof(header));
	assert_memory_equal(header.e_ident, ELFMAG, SELFMAG);
	assert_int_equal(header.e_phnum, count + 1);
	assert_int_equal(pread(file, &program, sizeof(program), (off_t)(header.e_phoff + 2 * sizeof(program))),
			 sizeof(program));
	assert_int_equal(program.p_type, PT_LOAD);
	assert_int_equal(program.p_paddr, 4 * GIB);
	assert_int_equal(pread(file, &byte, 1, (off_t)program.p_offset + 5), 1);
	assert_int_equal(byte, 0x5a);
	close(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(splits),
		cmocka_unit_test_setup_teardown(before_the_firmware_ran, begin, end),
		cmocka_unit_test_setup_teardown(a_vga_hides_memory, begin, end),
		cmocka_unit_test_setup_teardown(flash_and_nodes, begin, end),
		cmocka_unit_test_setup_teardown(refusals, begin, end),
		cmocka_unit_test_setup_teardown(a_sparse_file, begin, end),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("elf", tests, NULL, NULL);
}
