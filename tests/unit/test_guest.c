/* test_guest.c: the memory of a bootable guest, made here as the guest would have left it, judged by its prediction. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "scratch_file.h"
#include "sim/guest/predict.h"

#include <string.h>

enum {
	BASE = MR_GUEST_REGION_LOWEST,
	PAGE = MR_GUEST_PAGE_SIZE,
	PAGES = 40,
	TABLE = BASE + PAGES * PAGE,
	SIZE = TABLE + PAGES * (int)sizeof(struct mr_guest_version),
	VCPUS = 3,
	CUT = 1000, /* bytes of a page that a stopped vCPU had written */
};

static uint8_t *bytes;
static struct mr_guest_memory memory;
static struct mr_guest_parameters parameters;
static struct mr_guest_status *status;
static struct mr_content content;
static struct mr_pattern patterns[VCPUS];
static char error[MR_GUEST_LINE];

/* ---- A guest ---- */

static struct mr_guest_version *version_of(uint64_t page)
{
	return (struct mr_guest_version *)(void *)(bytes + TABLE) + page;
}

static void put(uint64_t page, uint32_t version, size_t length)
{
	uint8_t whole[PAGE];

	mr_content_fill(&content, parameters.block, page, version, whole, PAGE);
	memcpy(bytes + BASE + page * PAGE, whole, length);
}

static void touch(uint32_t vcpu)
{
	struct mr_touch next;

	assert_true(mr_pattern_next(&patterns[vcpu], &next));
	status->vcpu[vcpu].begun++;
	status->vcpu[vcpu].done++;
	if (next.write)
		put(next.page, ++version_of(next.page)->version, PAGE);
}

/* Touches until the next one of the vCPU writes a page that takes up all its bytes; which it begins. */
static uint64_t begin_write(uint32_t vcpu)
{
	for (;;) {
		const struct mr_pattern before = patterns[vcpu];
		struct mr_touch next;

		assert_true(mr_pattern_next(&patterns[vcpu], &next));
		if (next.write && mr_content_class_of(&content, parameters.block, next.page) == MR_CONTENT_RANDOM) {
			status->vcpu[vcpu].begun++;
			version_of(next.page)->lock = 1;
			return next.page;
		}
		patterns[vcpu] = before;
		touch(vcpu);
	}
}

static void make_parameters(void)
{
	mr_guest_parameters_default(&parameters);
	parameters.seed = 11;
	parameters.region_pages = PAGES;
	parameters.vcpus = VCPUS;
	parameters.block = 3;
	for (unsigned i = 0; i < MR_GUEST_VCPUS_MAX; i++)
		parameters.vcpu[i].working_set = 8;
	parameters.vcpu[1].kind = MR_PATTERN_ZIPF;
	parameters.vcpu[2].kind = MR_PATTERN_STRIDED;
	parameters.vcpu[2].first = 10;
	parameters.vcpu[2].pages = 20;
	parameters.vcpu[2].stride = 3;
}

static int make_guest(void **state)
{
	(void)state;
	bytes = calloc(1, SIZE);
	memory = (struct mr_guest_memory){bytes, SIZE};
	make_parameters();
	memcpy(content.shares, parameters.shares, sizeof(content.shares));
	content.filled = parameters.filled;
	mr_content_init(&content, parameters.seed);
	assert_true(mr_guest_image_make(&parameters, bytes + MR_GUEST_IMAGE_BASE, error));
	status = (struct mr_guest_status *)(void *)(bytes + MR_GUEST_STATUS_BASE);
	status->magic = MR_GUEST_STATUS_MAGIC;
	status->layout = MR_GUEST_LAYOUT;
	status->state = MR_GUEST_RUNNING;
	status->vcpus = status->started = VCPUS;
	for (uint64_t page = 0; page < PAGES; page++)
		put(page, 0, PAGE);
	for (uint32_t i = 0; i < VCPUS; i++) {
		const struct mr_pattern_config config = mr_guest_pattern(&parameters, i);

		mr_pattern_init(&patterns[i], &config, parameters.seed, i);
	}
	for (unsigned i = 0; i < 300; i++)
		touch(i * i % VCPUS);
	return 0;
}

static int free_guest(void **state)
{
	(void)state;
	free(bytes);
	return 0;
}

static void expect(enum mr_guest_verdict verdict, const char *text)
{
	error[0] = '\0';
	assert_int_equal(mr_guest_check(&parameters, &memory, error), verdict);
	if (!strstr(error, text))
		fail_msg("expected %s, found %s", text, error);
}

/* ---- What holds, and what does not ---- */

static void test_whole(void **state)
{
	(void)state;
	expect(MR_GUEST_HOLDS, "");
	for (uint32_t i = 0; i < 200; i++) {
		touch(i % VCPUS);
		expect(MR_GUEST_HOLDS, "");
	}
}

/* Any bit of the region, of its table, or of the image: none may be another. */
static void test_flipped(void **state)
{
	(void)state;
	for (uint64_t page = 0; page < PAGES; page++) {
		const uint64_t at = BASE + page * PAGE + page * 997 % PAGE;

		bytes[at] ^= 0x10;
		expect(MR_GUEST_DIFFERS, "expected version");
		bytes[at] ^= 0x10;
	}
	bytes[TABLE + 5 * 8] ^= 1;
	expect(MR_GUEST_DIFFERS, "page 0x5 at 0x105000: its entry in the table: expected version");
	bytes[TABLE + 5 * 8] ^= 1;
	version_of(PAGES - 1)->lock = 1;
	expect(MR_GUEST_DIFFERS, "and lock 1");
	version_of(PAGES - 1)->lock = 0;
	bytes[MR_GUEST_IMAGE_BASE + 0x1234] ^= 1;
	expect(MR_GUEST_DIFFERS, "offset 0x11234: expected 0x");
	bytes[MR_GUEST_IMAGE_BASE + 0x1234] ^= 1;
	expect(MR_GUEST_HOLDS, "");
}

/* A page of the version before, and one of the version behind: what a migration loses, and what it brings too early. */
static void test_other_version(void **state)
{
	const uint64_t page = begin_write(0);
	const uint32_t version = version_of(page)->version;
	char text[64];

	(void)state;
	snprintf(text, sizeof(text), "expected version %u by the touches of the vCPUs, found version %u", version,
		 version + 2);
	put(page, version + 2, PAGE);
	expect(MR_GUEST_DIFFERS, text);
	put(page, version, PAGE);
	status->vcpu[0].begun--;
	version_of(page)->lock = 0;
	expect(MR_GUEST_HOLDS, "");
	status->vcpu[0].begun++;
	status->vcpu[0].done++;
	version_of(page)->version++;
	expect(MR_GUEST_DIFFERS, "found version");
	put(page, version + 1, PAGE);
	expect(MR_GUEST_HOLDS, "");
}

/* Stopped within a write: before it, at any byte, behind it, with its entry in the table, without its lock. */
static void test_within_write(void **state)
{
	const uint64_t page = begin_write(1);
	const uint32_t version = version_of(page)->version;

	(void)state;
	for (size_t length = 0; length <= PAGE; length += length < 64 ? 1 : 251) {
		put(page, version + 1, length);
		expect(MR_GUEST_HOLDS, "");
	}
	put(page, version, PAGE);
	put(page, version + 1, CUT);
	bytes[BASE + page * PAGE + CUT + 500] ^= 1;
	expect(MR_GUEST_DIFFERS, "found bytes that begin as version");
	put(page, version, PAGE);
	put(page, version + 1, CUT);
	version_of(page)->lock = 0;
	expect(MR_GUEST_DIFFERS, "by the touches of the vCPUs");
	put(page, version + 1, PAGE);
	version_of(page)->version++;
	expect(MR_GUEST_HOLDS, "");
	version_of(page)->version++;
	expect(MR_GUEST_DIFFERS, "its entry in the table");
	version_of(page)->version--;
	status->vcpu[1].done++;
	expect(MR_GUEST_HOLDS, "");
}

/* ---- What cannot be judged ---- */

static void test_status(void **state)
{
	const struct mr_guest_status kept = *status;

	(void)state;
	status->magic ^= 1;
	expect(MR_GUEST_UNREADY, "offset 0x9000: expected a status page, magic");
	*status = kept;
	status->layout++;
	expect(MR_GUEST_UNREADY, "and layout 1, found");
	*status = kept;
	status->state = MR_GUEST_FILLING;
	expect(MR_GUEST_UNREADY, "the guest is filling; error: none");
	status->state = MR_GUEST_HALTED;
	status->error = MR_GUEST_TOO_FEW;
	expect(MR_GUEST_UNREADY, "the guest is halted; error: the machine has fewer vCPUs");
	*status = kept;
	status->error = MR_GUEST_READ_DIFFERS;
	status->error_vcpu = 2;
	status->error_page = 0x17;
	expect(MR_GUEST_DIFFERS, "vCPU 2 read page 0x17");
	*status = kept;
	status->vcpus = VCPUS + 1;
	expect(MR_GUEST_DIFFERS, "expected 3 vCPUs by the parameters, found 4");
	*status = kept;
	status->vcpu[2].begun += 2;
	expect(MR_GUEST_DIFFERS, "status of vCPU 2");
	*status = kept;
	status->vcpu[0].begun = status->vcpu[0].done = UINT64_MAX;
	expect(MR_GUEST_DIFFERS, "no guest has that");
	*status = kept;
	status->vcpu[VCPUS].begun = 1;
	expect(MR_GUEST_DIFFERS, "status of vCPU 3");
	*status = kept;
	status->vcpu[1].begun++;
	parameters.vcpu[1].kind = MR_PATTERN_IDLE;
	memcpy(bytes + MR_GUEST_IMAGE_BASE + MR_GUEST_PARAMETERS_OFFSET, &parameters, sizeof(parameters));
	expect(MR_GUEST_DIFFERS, "status of vCPU 1: expected at most 0 touches by its pattern, found");
}

static void test_cut_memory(void **state)
{
	struct mr_guest_parameters read;

	(void)state;
	memory.size = SIZE - 1;
	expect(MR_GUEST_FAILED, "expected memory up to 0x1");
	memory.size = MR_GUEST_STATUS_BASE + 100;
	expect(MR_GUEST_FAILED, "offset 0x9064: expected memory up to 0x9");
	assert_false(mr_guest_parameters_read(&memory, &read, error));
	assert_non_null(strstr(error, "the parameter block"));
	memory.size = SIZE;
	assert_true(mr_guest_parameters_read(&memory, &read, error));
	assert_memory_equal(&read, &parameters, sizeof(read));
	bytes[MR_GUEST_IMAGE_BASE + MR_GUEST_PARAMETERS_OFFSET] ^= 1;
	assert_false(mr_guest_parameters_read(&memory, &read, error));
}

/* The memory as a file: the same verdict; a file that is not there, and one that is empty, are told. */
static void test_file(void **state)
{
	struct mr_guest_memory mapped;

	(void)state;
	write_file((const char *)bytes, SIZE);
	assert_true(mr_guest_memory_open(&mapped, path, error));
	assert_int_equal(mapped.size, SIZE);
	assert_int_equal(mr_guest_check(&parameters, &mapped, error), MR_GUEST_HOLDS);
	mr_guest_memory_close(&mapped);
	write_file("", 0);
	assert_false(mr_guest_memory_open(&mapped, path, error));
	assert_non_null(strstr(error, path));
	assert_false(mr_guest_memory_open(&mapped, "/nowhere/memory", error));
	assert_non_null(strstr(error, "No such file"));
}

static void expect_refused(const char *text)
{
	static uint8_t image[MR_GUEST_IMAGE_SIZE];

	assert_false(mr_guest_image_make(&parameters, image, error));
	if (!strstr(error, text))
		fail_msg("expected %s, found %s", text, error);
	expect(MR_GUEST_FAILED, text);
	make_parameters();
}

static void test_refused(void **state)
{
	(void)state;
	parameters.size--;
	expect_refused("layout");
	parameters.vcpus = 17;
	expect_refused("more than 16");
	parameters.region_base += 2048;
	expect_refused("region");
	parameters.region_base = 0;
	expect_refused("region");
	parameters.region_pages = UINT64_MAX / PAGE;
	expect_refused("region");
	parameters.region_pages = (0x80000000 - 0x100000) / PAGE;
	expect_refused("region");
	parameters.shares[0]++;
	expect_refused("shares");
	parameters.vcpu[2].pages = PAGES;
	expect_refused("vCPU 2: the pattern");
	parameters.vcpu[1].kind = MR_PATTERN_TRACE;
	expect_refused("vCPU 1: the pattern");
	parameters.vcpu[2].stride = 0;
	expect_refused("vCPU 2: the pattern");
	parameters.vcpu[0].kind = MR_PATTERN_STACK;
	parameters.vcpu[0].working_set = PAGES + 1;
	expect_refused("vCPU 0: the pattern");
	parameters.vcpu[0].kind = MR_PATTERN_CONSUMER;
	parameters.vcpu[0].lag = PAGES;
	expect_refused("vCPU 0: the pattern");
	parameters.vcpu[0].kind = MR_PATTERN_BURSTS;
	parameters.vcpu[0].pause = 0;
	expect_refused("vCPU 0: the pattern");
	parameters.vcpu[0].kind = MR_PATTERN_PHASED;
	parameters.vcpu[0].phase = 0;
	expect_refused("vCPU 0: the pattern");
}

/* Boot sector, parameters and reset vector are where machines look for them, and all text has names. */
static void test_image(void **state)
{
	(void)state;
	assert_int_equal(mr_guest_image[510] | mr_guest_image[511] << 8, 0xaa55);
	assert_int_equal(mr_guest_image[MR_GUEST_IMAGE_SIZE - 16], 0xe9);
	mr_guest_parameters_default(&parameters);
	assert_true(mr_guest_image_make(&parameters, bytes, error));
	assert_memory_equal(bytes, mr_guest_image, MR_GUEST_IMAGE_SIZE);
	assert_string_equal(mr_guest_state_name(MR_GUEST_RUNNING), "running");
	assert_string_equal(mr_guest_state_name(MR_GUEST_HALTED + 1), "unknown");
	for (uint32_t i = 0; i < MR_GUEST_ERROR_COUNT; i++)
		assert_string_not_equal(mr_guest_error_text(i), "unknown");
	assert_string_equal(mr_guest_error_text(MR_GUEST_ERROR_COUNT), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_whole, make_guest, free_guest),
		cmocka_unit_test_setup_teardown(test_flipped, make_guest, free_guest),
		cmocka_unit_test_setup_teardown(test_other_version, make_guest, free_guest),
		cmocka_unit_test_setup_teardown(test_within_write, make_guest, free_guest),
		cmocka_unit_test_setup_teardown(test_status, make_guest, free_guest),
		cmocka_unit_test_setup_teardown(test_cut_memory, make_guest, free_guest),
		cmocka_unit_test_setup_teardown(test_file, make_guest, free_guest),
		cmocka_unit_test_setup_teardown(test_refused, make_guest, free_guest),
		cmocka_unit_test_setup_teardown(test_image, make_guest, free_guest),
	};

	if (!mr_guest_has_image()) {
		puts("this build has no image of the guest");
		return 0;
	}
	return cmocka_run_group_tests(tests, make_file, remove_file);
}
