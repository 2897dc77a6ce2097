/* test_block_file.c: blocks written to files while records come are what the same records make of memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "build.h"
#include "random.h"
#include "sim/record/block_file.h"

enum { PAGE = 4096, PAGES = 40, OPERATIONS = 400, SEEDS = 12, PACKET_ENTRIES = 8, BITMAP_WORDS = 1 };

static const char *const names[] = {"pc.ram", "/rom@etc/acpi"};

/* The same records on both sides. */
struct both {
	struct mr_session session;
	struct mr_memory memory, files_memory;
	struct mr_packet_codec codec, files_codec;
	struct mr_block_files *files;
	char folder[32];
	int folder_file;
	struct random random;
	uint8_t bytes[MR_PACKET_DATA_SIZE]; /* what a record points into */
};

static int apply_both(struct both *both, const struct mr_record *record, bool stays)
{
	struct mr_fault expected = {0}, found = {0};
	const int status = record->kind == MR_MULTIFD_PACKET
				   ? mr_memory_apply_packet(&both->memory, &both->codec, &record->packet, &expected)
				   : mr_memory_apply(&both->memory, record, &expected);

	assert_int_equal(mr_block_files_apply(both->files, &both->files_codec, record, stays, &found), status);
	if (status < 0) {
		assert_int_equal(found.rule, expected.rule);
		assert_string_equal(found.text, expected.text);
	}
	return status;
}

static void compare(struct both *both)
{
	assert_int_equal(mr_block_files_flush(both->files), 0);
	assert_int_equal(both->files_memory.count, both->memory.count);
	for (uint32_t i = 0; i < both->memory.count; i++) {
		const struct mr_memory_block *expected = &both->memory.blocks[i],
					     *found = &both->files_memory.blocks[i];

		assert_int_equal(found->size, expected->size);
		if (!expected->data)
			continue;
		assert_memory_equal(found->data, expected->data, (size_t)expected->size);
		assert_memory_equal(found->received, expected->received,
				    mr_bitmap_words(expected->pages) * sizeof(uint64_t));
	}
}

static void declare(struct both *both, uint32_t index, uint64_t size)
{
	const struct mr_record record = {.kind = MR_RAM_BLOCK, .ram_block = {.block = index, .used_length = size}};

	assert_int_equal(apply_both(both, &record, false), 0);
}

/* The session learns its blocks as it always does: from a stream. */
static void read_block_list(struct both *both)
{
	struct mr_decoder *decoder = malloc(sizeof(*decoder));
	struct build stream = {0};
	struct mr_record record;

	assert_non_null(decoder);
	build_header(&stream);
	build_start(&stream, 2, "ram", 4);
	build_size(&stream, 2 * PAGES * PAGE);
	build_block(&stream, names[0], PAGES * PAGE);
	build_block(&stream, names[1], PAGES * PAGE);
	build_eos(&stream);
	mr_session_init(&both->session, &(struct mr_context){.no_configuration = true}, NULL, NULL);
	mr_decoder_init(decoder, &both->session, MR_ROLE_MAIN, 0);
	while (mr_decode(decoder, stream.bytes + decoder->offset, stream.length - (size_t)decoder->offset, false,
			 &record) == MR_RECORD)
		;
	assert_int_equal(both->session.block_count, 2);
	free(decoder);
	build_free(&stream);
}

static struct both *start(uint64_t seed)
{
	struct both *both = calloc(1, sizeof(*both));

	assert_non_null(both);
	strcpy(both->folder, "/tmp/migref-blocks-XXXXXX");
	assert_non_null(mkdtemp(both->folder));
	both->folder_file = open(both->folder, O_RDONLY | O_DIRECTORY);
	both->random.state = seed * 0x9e3779b97f4a7c15 + 1;
	read_block_list(both);
	mr_memory_init(&both->memory, &both->session, false);
	mr_memory_init(&both->files_memory, &both->session, false);
	both->files = mr_block_files_new(&both->files_memory, both->folder_file);
	assert_non_null(both->files);
	declare(both, 0, PAGES * PAGE);
	declare(both, 1, PAGES * PAGE);
	return both;
}

static unsigned count_files(const struct both *both)
{
	DIR *folder = opendir(both->folder);
	const struct dirent *entry;
	unsigned count = 0;

	assert_non_null(folder);
	while ((entry = readdir(folder)) != NULL)
		count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(folder);
	return count;
}

static void end(struct both *both)
{
	mr_block_files_free(both->files);
	assert_int_equal(count_files(both), 0);
	mr_packet_codec_clear(&both->codec);
	mr_packet_codec_clear(&both->files_codec);
	mr_memory_clear(&both->memory);
	mr_memory_clear(&both->files_memory);
	close(both->folder_file);
	assert_int_equal(rmdir(both->folder), 0);
	free(both);
}

/* ---- Random records ---- */

static uint64_t below(struct both *both, uint64_t limit)
{
	return random_below(&both->random, limit);
}

static struct mr_record random_page(struct both *both, enum mr_kind kind)
{
	struct mr_record record = {
		.kind = kind,
		/* one page in the block's size is behind its end */
		.page = {.block = (uint32_t)below(both, 2), .address = below(both, PAGES + 1) * PAGE},
	};

	random_fill(&both->random, both->bytes, PAGE);
	record.page.data = (struct mr_bytes){both->bytes, PAGE};
	return record;
}

static struct mr_record random_zero(struct both *both)
{
	struct mr_record record = random_page(both, MR_RAM_ZERO);

	record.page.fill = below(both, 3) ? 0 : (uint8_t)below(both, 256);
	return record;
}

static struct mr_record random_xbzrle(struct both *both)
{
	struct mr_record record = random_page(both, MR_RAM_XBZRLE);

	both->bytes[0] = (uint8_t)below(both, 100);
	both->bytes[1] = 1 + (uint8_t)below(both, 100);
	record.page.data.length = 2 + (below(both, 5) ? both->bytes[1] : 0);
	return record;
}

static struct mr_record random_compressed(struct both *both)
{
	struct mr_record record = random_page(both, MR_RAM_COMPRESSED);
	uint8_t page[PAGE];

	memset(page, (int)below(both, 256), sizeof(page));
	record.page.data.length = mr_page_deflate(page, PAGE, 1, both->bytes, PAGE);
	if (below(both, 4) == 0)
		record.page.data.length /= 2;
	return record;
}

static struct mr_record random_packet(struct both *both)
{
	const uint32_t normal = (uint32_t)below(both, PACKET_ENTRIES + 1);
	struct mr_record record = {
		.kind = MR_MULTIFD_PACKET,
		.packet = {.block = (uint32_t)below(both, 2),
			   .normal_pages = normal,
			   .zero_pages = (uint32_t)below(both, PACKET_ENTRIES - normal + 1)},
	};
	uint8_t *offsets = both->bytes + PACKET_ENTRIES * PAGE;

	random_fill(&both->random, both->bytes, PACKET_ENTRIES * PAGE);
	for (unsigned i = 0; i < PACKET_ENTRIES; i++) {
		/* receivers take unaligned offsets too */
		uint64_t offset = below(both, PAGES - 1) * PAGE + (below(both, 8) ? 0 : below(both, PAGE));

		for (unsigned j = 8; j > 0; j--, offset >>= 8)
			offsets[i * 8 + j - 1] = (uint8_t)offset;
	}
	record.packet.offset_count = PACKET_ENTRIES;
	record.packet.offsets = (struct mr_bytes){offsets, (size_t)PACKET_ENTRIES * 8};
	record.packet.payload = (struct mr_bytes){both->bytes, (size_t)normal * PAGE};
	return record;
}

static struct mr_record random_discard(struct both *both)
{
	const uint64_t first = below(both, PAGES), count = below(both, PAGES - first + 2);
	const char *name = names[below(both, 2)];
	struct mr_record record = {
		.kind = MR_COMMAND,
		.command = {.number = MR_COMMAND_POSTCOPY_RAM_DISCARD,
			    .block = {(const uint8_t *)name, strlen(name)},
			    .range_count = 1,
			    .ranges = {both->bytes, 16}},
	};

	for (unsigned i = 0; i < 8; i++) {
		both->bytes[i] = (uint8_t)(first * PAGE >> 8 * (7 - i));
		both->bytes[8 + i] = (uint8_t)(count * PAGE >> 8 * (7 - i));
	}
	return record;
}

/* All of a block in mapped-ram form; a page whose bit was set once may be listed as zero the next time. */
static void list_block_again(struct both *both, bool stays)
{
	const uint32_t block = (uint32_t)below(both, 2);
	struct mr_record record = {
		.kind = MR_RAM_BITMAP,
		.bitmap = {.block = block, .bits = {both->bytes, BITMAP_WORDS * 8}},
	};

	random_fill(&both->random, both->bytes, PAGES * PAGE);
	assert_int_equal(apply_both(both, &record, stays), 0);
	record = (struct mr_record){.kind = MR_RAM_PAGES,
				    .pages = {.block = block, .data = {both->bytes, PAGES * PAGE}}};
	assert_int_equal(apply_both(both, &record, stays), 0);
}

static void random_operation(struct both *both)
{
	const uint64_t kind = below(both, 24);
	struct mr_record record;

	if (kind < 9)
		record = random_page(both, MR_RAM_PAGE);
	else if (kind < 13)
		record = random_zero(both);
	else if (kind < 16)
		record = random_xbzrle(both);
	else if (kind < 18)
		record = random_compressed(both);
	else if (kind < 21)
		record = random_packet(both);
	else
		record = random_discard(both);
	if (kind == 23 && below(both, 4) == 0)
		list_block_again(both, false);
	else
		apply_both(both, &record, false);
	/* What does not stay is gone now. */
	memset(both->bytes, 0xee, sizeof(both->bytes));
}

/* ---- Tests ---- */

static void files_are_what_memory_is(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct both *both = start(seed);

		for (unsigned i = 0; i < OPERATIONS; i++) {
			random_operation(both);
			if (i % 50 == 0)
				compare(both);
		}
		compare(both);
		end(both);
	}
}

static void bytes_that_stay_are_written_from_where_they_are(void **state)
{
	struct both *both = start(99);

	(void)state;
	random_fill(&both->random, both->bytes, sizeof(both->bytes));
	for (uint64_t i = 0; i < PAGES; i++) {
		const uint64_t page = i < PAGES / 2 ? i : PAGES + PAGES / 2 - 1 - i;
		const struct mr_record record = {
			.kind = MR_RAM_PAGE,
			.page = {.address = page * PAGE, .data = {both->bytes + i * PAGE, PAGE}},
		};

		assert_int_equal(apply_both(both, &record, true), 0);
	}
	compare(both);
	list_block_again(both, true);
	compare(both);
	end(both);
}

static void a_block_of_another_size_begins_anew(void **state)
{
	struct both *both = start(7);
	struct mr_record record = random_page(both, MR_RAM_PAGE);

	(void)state;
	record.page.address = 0;
	record.page.block = 1;
	apply_both(both, &record, false);
	declare(both, 1, PAGES * PAGE);
	compare(both);
	declare(both, 1, 2 * PAGES * PAGE);
	compare(both);
	declare(both, 1, 0);
	compare(both);
	assert_int_equal(count_files(both), 1);
	end(both);
}

static void files_get_their_names_at_the_end(void **state)
{
	struct both *both = start(8);
	struct stat status;

	(void)state;
	assert_int_equal(mr_block_files_flush(both->files), 0);
	assert_int_equal(fstatat(both->folder_file, "pc.ram", &status, 0), -1);
	assert_int_equal(mr_block_files_finish(both->files, 0), 0);
	assert_int_equal(mr_block_files_finish(both->files, 1), 0);
	assert_int_equal(fstatat(both->folder_file, "pc.ram", &status, 0), 0);
	assert_int_equal(status.st_size, PAGES * PAGE);
	assert_int_equal(status.st_blocks, 0);
	assert_int_equal(unlinkat(both->folder_file, "pc.ram", 0), 0);
	assert_int_equal(unlinkat(both->folder_file, "_rom@etc_acpi", 0), 0);
	end(both);
}

static void a_file_that_cannot_be_made_ends_it(void **state)
{
	struct both *both = start(9);
	const struct mr_record larger = {.kind = MR_RAM_BLOCK, .ram_block = {.block = 1, .used_length = PAGE}};
	struct mr_fault fault;
	uint32_t block = 0;

	(void)state;
	assert_int_equal(unlinkat(both->folder_file, "._rom@etc_acpi-1.part", 0), 0);
	assert_int_equal(mkdirat(both->folder_file, "._rom@etc_acpi-1.part", 0700), 0);
	assert_int_equal(mr_block_files_apply(both->files, NULL, &larger, false, &fault), -1);
	assert_int_equal(fault.rule, MR_NO_RULE);
	assert_int_equal(mr_block_files_error(both->files, &block), EISDIR);
	assert_int_equal(block, 1);
	assert_int_equal(mr_block_files_flush(both->files), -1);
	assert_int_equal(unlinkat(both->folder_file, "._rom@etc_acpi-1.part", AT_REMOVEDIR), 0);
	end(both);
}

static void no_two_blocks_share_a_name(void **state)
{
	static struct mr_session session;
	char name[MR_NAME_MAX + 1];

	(void)state;
	mr_session_init(&session, NULL, NULL, NULL);
	session.block_count = 3;
	session.blocks[0] = (struct mr_block){.index = 0, .name_length = 3, .name = "a/b"};
	session.blocks[1] = (struct mr_block){.index = 1, .name_length = 3, .name = ".\nb"};
	session.blocks[2] = (struct mr_block){.index = 2, .name_length = 3, .name = "a_b"};
	mr_block_file_name(&session, 0, name);
	assert_string_equal(name, "a_b");
	mr_block_file_name(&session, 1, name);
	assert_string_equal(name, "__b");
	mr_block_file_name(&session, 2, name);
	assert_string_equal(name, "a_b~2");
	for (uint32_t i = 0; i < 2; i++) {
		session.blocks[i].name_length = MR_NAME_MAX;
		memset(session.blocks[i].name, 'x', MR_NAME_MAX);
	}
	mr_block_file_name(&session, 1, name);
	assert_int_equal(strlen(name), 242);
	assert_string_equal(name + 240, "~1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_are_what_memory_is),
		cmocka_unit_test(bytes_that_stay_are_written_from_where_they_are),
		cmocka_unit_test(a_block_of_another_size_begins_anew),
		cmocka_unit_test(files_get_their_names_at_the_end),
		cmocka_unit_test(a_file_that_cannot_be_made_ends_it),
		cmocka_unit_test(no_two_blocks_share_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
