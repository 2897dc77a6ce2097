/* predict.c: guest memory by the touches of its vCPUs, computed anew from the parameters. */
#include "sim/guest/predict.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = MR_GUEST_PAGE_SIZE };

/* Days of a fast guest; what a damaged count would have computed otherwise has no end. */
#define TOUCHES_MAX (UINT64_C(1) << 34)

/* One look at memory. */
struct look {
	const struct mr_guest_parameters *parameters;
	struct mr_guest_memory memory;
	struct mr_guest_status status;
	struct mr_content content;
	uint32_t *versions; /* of each page, by the touches that are done */
	uint8_t *writing;   /* vCPUs that were stopped within a touch that writes the page, ... */
	uint8_t *touching;  /* ... or that touches it */
	char *error;
};

/* ---- Names ---- */

const char *mr_guest_state_name(uint32_t state)
{
	static const char *const names[] = {"not started", "filling", "starting", "running", "halted"};

	return state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

const char *mr_guest_error_text(uint32_t error)
{
	static const char *const texts[MR_GUEST_ERROR_COUNT] = {
		[MR_GUEST_NO_ERROR] = "none",
		[MR_GUEST_BAD_BLOCK] = "the parameter block is not of this layout",
		[MR_GUEST_BAD_VCPUS] = "more than 16 vCPUs",
		[MR_GUEST_BAD_REGION] = "the region is not whole pages between 1 MiB and 2 GiB, with its table",
		[MR_GUEST_BAD_SHARES] = "the shares of contents are not 1000 together, or `filled` is above 1000",
		[MR_GUEST_BAD_PATTERN] = "the pattern is none, or its numbers are outside of their limits",
		[MR_GUEST_NO_MEMORY] = "the machine has too little memory for the region and its table",
		[MR_GUEST_TOO_FEW] = "the machine has fewer vCPUs than the parameters ask for",
		[MR_GUEST_READ_DIFFERS] = "a vCPU read something else than what was written",
	};

	return error < MR_GUEST_ERROR_COUNT ? texts[error] : "unknown";
}

/* ---- The image ---- */

bool mr_guest_has_image(void)
{
	struct mr_guest_parameters parameters;

	mr_guest_parameters_default(&parameters);
	return parameters.magic == MR_GUEST_PARAMETERS_MAGIC;
}

void mr_guest_parameters_default(struct mr_guest_parameters *parameters)
{
	memcpy(parameters, mr_guest_image + MR_GUEST_PARAMETERS_OFFSET, sizeof(*parameters));
}

static void no_image(char error[MR_GUEST_LINE])
{
	snprintf(error, MR_GUEST_LINE, "this build has no image of the guest: it had no compiler for x86-64");
}

static bool accept(const struct mr_guest_parameters *parameters, char error[MR_GUEST_LINE])
{
	uint32_t vcpu;
	const enum mr_guest_error wrong = mr_guest_parameters_check(parameters, &vcpu);

	if (wrong == MR_GUEST_BAD_PATTERN)
		snprintf(error, MR_GUEST_LINE, "vCPU %" PRIu32 ": %s", vcpu, mr_guest_error_text(wrong));
	else if (wrong)
		snprintf(error, MR_GUEST_LINE, "%s", mr_guest_error_text(wrong));
	return !wrong;
}

bool mr_guest_image_make(const struct mr_guest_parameters *parameters, uint8_t *image, char error[MR_GUEST_LINE])
{
	if (!mr_guest_has_image()) {
		no_image(error);
		return false;
	}
	if (!accept(parameters, error))
		return false;
	memcpy(image, mr_guest_image, MR_GUEST_IMAGE_SIZE);
	memcpy(image + MR_GUEST_PARAMETERS_OFFSET, parameters, sizeof(*parameters));
	return true;
}

/* ---- Memory ---- */

bool mr_guest_memory_open(struct mr_guest_memory *memory, const char *path, char error[MR_GUEST_LINE])
{
	const int file = open(path, O_RDONLY | O_CLOEXEC);
	struct stat about;
	void *bytes = MAP_FAILED;

	if (file >= 0 && fstat(file, &about) == 0) {
		if (about.st_size == 0)
			errno = ENODATA;
		else
			bytes = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_SHARED, file, 0);
	}
	if (bytes == MAP_FAILED)
		snprintf(error, MR_GUEST_LINE, "%.160s: %s", path, strerror(errno));
	if (file >= 0)
		close(file);
	if (bytes == MAP_FAILED)
		return false;
	*memory = (struct mr_guest_memory){.bytes = bytes, .size = (uint64_t)about.st_size};
	return true;
}

void mr_guest_memory_close(struct mr_guest_memory *memory)
{
	munmap((void *)memory->bytes, (size_t)memory->size);
	*memory = (struct mr_guest_memory){NULL, 0};
}

static bool reaches(const struct mr_guest_memory *memory, uint64_t end, const char *what, char error[MR_GUEST_LINE])
{
	if (memory->size >= end)
		return true;
	snprintf(error, MR_GUEST_LINE,
		 "offset 0x%" PRIx64 ": expected memory up to 0x%" PRIx64 " with %s, found its end", memory->size, end,
		 what);
	return false;
}

bool mr_guest_status_read(const struct mr_guest_memory *memory, struct mr_guest_status *status,
			  char error[MR_GUEST_LINE])
{
	if (!reaches(memory, MR_GUEST_STATUS_BASE + sizeof(*status), "the status page", error))
		return false;
	memcpy(status, memory->bytes + MR_GUEST_STATUS_BASE, sizeof(*status));
	if (status->magic == MR_GUEST_STATUS_MAGIC && status->layout == MR_GUEST_LAYOUT)
		return true;
	snprintf(error, MR_GUEST_LINE,
		 "offset 0x%x: expected a status page, magic 0x%" PRIx64 " and layout %d, found 0x%" PRIx64
		 " and %" PRIu32,
		 MR_GUEST_STATUS_BASE, MR_GUEST_STATUS_MAGIC, MR_GUEST_LAYOUT, status->magic, status->layout);
	return false;
}

bool mr_guest_parameters_read(const struct mr_guest_memory *memory, struct mr_guest_parameters *parameters,
			      char error[MR_GUEST_LINE])
{
	const uint64_t at = MR_GUEST_IMAGE_BASE + MR_GUEST_PARAMETERS_OFFSET;

	if (!reaches(memory, at + sizeof(*parameters), "the parameter block", error))
		return false;
	memcpy(parameters, memory->bytes + at, sizeof(*parameters));
	return accept(parameters, error);
}

/* ---- The prediction ---- */

/* Whether the counts can be: none has done what it has not begun, nor is in two touches at once. */
static bool counts_are_good(const struct look *look)
{
	for (uint32_t i = 0; i < MR_GUEST_VCPUS_MAX; i++) {
		const struct mr_guest_vcpu_status *vcpu = &look->status.vcpu[i];
		const bool runs = i < look->status.vcpus;

		if (vcpu->begun - vcpu->done <= 1 && vcpu->begun <= (runs ? TOUCHES_MAX : 0))
			continue;
		snprintf(look->error, MR_GUEST_LINE,
			 "status of vCPU %" PRIu32 ": %" PRIu64 " touches begun, %" PRIu64 " done: no guest has that",
			 i, vcpu->begun, vcpu->done);
		return false;
	}
	return true;
}

static bool go_with(const struct look *look, uint32_t index)
{
	const struct mr_pattern_config config = mr_guest_pattern(look->parameters, index);
	const struct mr_guest_vcpu_status *vcpu = &look->status.vcpu[index];
	struct mr_pattern pattern;
	struct mr_touch touch;

	mr_pattern_init(&pattern, &config, look->parameters->seed, index);
	for (uint64_t i = 0; i < vcpu->begun; i++) {
		if (!mr_pattern_next(&pattern, &touch)) {
			snprintf(look->error, MR_GUEST_LINE,
				 "status of vCPU %" PRIu32 ": expected at most %" PRIu64
				 " touches by its pattern, found %" PRIu64,
				 index, i, vcpu->begun);
			return false;
		}
		if (i < vcpu->done) {
			look->versions[touch.page] += touch.write;
		} else {
			look->writing[touch.page] = (uint8_t)(look->writing[touch.page] + touch.write);
			look->touching[touch.page]++;
		}
	}
	return true;
}

static const uint8_t *page_at(const struct look *look, uint64_t page)
{
	return look->memory.bytes + look->parameters->region_base + page * PAGE;
}

static struct mr_guest_version version_at(const struct look *look, uint64_t page)
{
	struct mr_guest_version version;

	memcpy(&version, page_at(look, look->parameters->region_pages) + page * sizeof(version), sizeof(version));
	return version;
}

/* Whether the page is the start of a version and, behind that, the one before it. */
static bool is_between(const struct look *look, uint64_t page, uint32_t version, const uint8_t *before)
{
	const uint8_t *found = page_at(look, page);
	uint8_t after[PAGE];
	size_t same = 0;

	mr_content_fill(&look->content, look->parameters->block, page, version, after, PAGE);
	while (same < PAGE && found[same] == after[same])
		same++;
	return memcmp(found + same, before + same, PAGE - same) == 0;
}

static bool check_page(const struct look *look, uint64_t page)
{
	const struct mr_guest_version noted = version_at(look, page);
	const uint32_t version = look->versions[page], ahead = noted.version - version;
	const uint64_t address = look->parameters->region_base + page * PAGE;
	uint8_t expected[PAGE];
	uint32_t found;

	if (ahead > look->writing[page] || noted.lock > (look->touching[page] > 0)) {
		snprintf(look->error, MR_GUEST_LINE,
			 "page 0x%" PRIx64 " at 0x%" PRIx64 ": its entry in the table: expected version %" PRIu32
			 ", found version %" PRIu32 " and lock %" PRIu32,
			 page, address, version, noted.version, noted.lock);
		return false;
	}
	mr_content_fill(&look->content, look->parameters->block, page, noted.version, expected, PAGE);
	if (memcmp(page_at(look, page), expected, PAGE) == 0 ||
	    (ahead < look->writing[page] && noted.lock && is_between(look, page, noted.version + 1, expected)))
		return true;
	found = mr_content_version(&look->content, look->parameters->block, page, page_at(look, page), PAGE);
	mr_content_fill(&look->content, look->parameters->block, page, found, expected, PAGE);
	snprintf(look->error, MR_GUEST_LINE,
		 "page 0x%" PRIx64 " at 0x%" PRIx64 ": expected version %" PRIu32
		 " by the touches of the vCPUs, found %s %" PRIu32,
		 page, address, noted.version,
		 memcmp(page_at(look, page), expected, PAGE) == 0 ? "version" : "bytes that begin as version", found);
	return false;
}

static bool check_image(const struct look *look)
{
	const uint8_t *found = look->memory.bytes + MR_GUEST_IMAGE_BASE;
	uint8_t image[MR_GUEST_IMAGE_SIZE];
	size_t at = 0;

	if (!mr_guest_image_make(look->parameters, image, look->error))
		return false;
	while (at < sizeof(image) && found[at] == image[at])
		at++;
	if (at == sizeof(image))
		return true;
	snprintf(look->error, MR_GUEST_LINE, "offset 0x%zx: expected 0x%02x of the image of this build, found 0x%02x",
		 MR_GUEST_IMAGE_BASE + at, image[at], found[at]);
	return false;
}

static enum mr_guest_verdict compare(const struct look *look)
{
	if (!check_image(look) || !counts_are_good(look))
		return MR_GUEST_DIFFERS;
	for (uint32_t i = 0; i < look->status.vcpus; i++)
		if (!go_with(look, i))
			return MR_GUEST_DIFFERS;
	for (uint64_t page = 0; page < look->parameters->region_pages; page++)
		if (!check_page(look, page))
			return MR_GUEST_DIFFERS;
	return MR_GUEST_HOLDS;
}

/* What the guest says of itself, before anything is computed. */
static enum mr_guest_verdict ask(const struct look *look)
{
	const struct mr_guest_status *status = &look->status;
	const uint32_t wanted = look->parameters->vcpus;

	if (status->error == MR_GUEST_READ_DIFFERS) {
		snprintf(look->error, MR_GUEST_LINE,
			 "vCPU %" PRIu32 " read page 0x%" PRIx64 ": something else than what was last written",
			 status->error_vcpu, status->error_page);
		return MR_GUEST_DIFFERS;
	}
	if (status->error || status->state != MR_GUEST_RUNNING) {
		snprintf(look->error, MR_GUEST_LINE, "the guest is %s; error: %s", mr_guest_state_name(status->state),
			 mr_guest_error_text(status->error));
		return MR_GUEST_UNREADY;
	}
	if (status->vcpus <= MR_GUEST_VCPUS_MAX && (wanted == 0 || status->vcpus == wanted))
		return MR_GUEST_HOLDS;
	snprintf(look->error, MR_GUEST_LINE,
		 "status page: expected %" PRIu32 " vCPUs by the parameters, found %" PRIu32,
		 wanted ? wanted : MR_GUEST_VCPUS_MAX, status->vcpus);
	return MR_GUEST_DIFFERS;
}

static void prepare_content(struct look *look)
{
	memcpy(look->content.shares, look->parameters->shares, sizeof(look->content.shares));
	look->content.filled = look->parameters->filled;
	mr_content_init(&look->content, look->parameters->seed);
}

static enum mr_guest_verdict look_at(struct look *look)
{
	const uint64_t pages = look->parameters->region_pages;
	enum mr_guest_verdict verdict;

	if (!mr_guest_has_image()) {
		no_image(look->error);
		return MR_GUEST_FAILED;
	}
	if (!mr_guest_status_read(&look->memory, &look->status, look->error))
		return look->memory.size < MR_GUEST_STATUS_BASE + PAGE ? MR_GUEST_FAILED : MR_GUEST_UNREADY;
	verdict = ask(look);
	if (verdict != MR_GUEST_HOLDS)
		return verdict;
	if (!reaches(&look->memory, look->parameters->region_base + pages * (PAGE + sizeof(struct mr_guest_version)),
		     "the region and its table", look->error))
		return MR_GUEST_FAILED;
	look->versions = calloc(pages, sizeof(*look->versions));
	look->writing = calloc(pages, 1);
	look->touching = calloc(pages, 1);
	if (look->versions && look->writing && look->touching) {
		prepare_content(look);
		return compare(look);
	}
	snprintf(look->error, MR_GUEST_LINE, "no memory for the versions of %" PRIu64 " pages", pages);
	return MR_GUEST_FAILED;
}

enum mr_guest_verdict mr_guest_check(const struct mr_guest_parameters *parameters, const struct mr_guest_memory *memory,
				     char error[MR_GUEST_LINE])
{
	struct look *look;
	enum mr_guest_verdict verdict;

	if (!accept(parameters, error))
		return MR_GUEST_FAILED;
	look = calloc(1, sizeof(*look));
	if (!look) {
		snprintf(error, MR_GUEST_LINE, "no memory for a look at a guest");
		return MR_GUEST_FAILED;
	}
	look->parameters = parameters;
	look->memory = *memory;
	look->error = error;
	verdict = look_at(look);
	free(look->versions);
	free(look->writing);
	free(look->touching);
	free(look);
	return verdict;
}
