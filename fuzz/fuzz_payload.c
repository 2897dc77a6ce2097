/* fuzz_payload.c: what the multifd methods decompress, packet after packet, and pages compressed one by one. */
#include "common.h"

enum { PAGES_MAX = 8, MARGIN = 64, CANARY = 0xc5 };

static uint8_t memory[PAGES_MAX * MR_PAGE_SIZE_MAX + MARGIN];

static const size_t page_sizes[] = {1024, 4096, 16384, 65536};

/* Places a margin that nobody may write, behind `length` bytes. */
static void set_canary(size_t length)
{
	memset(memory + length, CANARY, MARGIN);
}

static void demand_canary(size_t length)
{
	for (size_t i = 0; i < MARGIN; i++)
		fuzz_demand(memory[length + i] == CANARY);
}

/* The next piece of the input: two bytes of length, or all that is left. */
static struct mr_bytes take_piece(struct mr_bytes *input)
{
	const size_t high = fuzz_option(input);
	const size_t length = high << 8 | fuzz_option(input);
	const struct mr_bytes piece = {input->data, length < input->length ? length : input->length};

	input->data += piece.length;
	input->length -= piece.length;
	return piece;
}

static void receive(const struct mr_multifd_method *method, size_t page_size, struct mr_bytes input)
{
	void *state = method->recv_setup(page_size);
	uint8_t *pages[PAGES_MAX];
	char found[96];

	fuzz_demand(state != NULL);
	for (size_t i = 0; i < PAGES_MAX; i++)
		pages[i] = memory + i * page_size;
	while (input.length) {
		const uint32_t count = fuzz_option(&input) % PAGES_MAX + 1;
		const struct mr_bytes payload = take_piece(&input);

		set_canary(count * page_size);
		if (method->recv(state, payload, pages, count, found) != MR_NO_RULE)
			fuzz_demand(memchr(found, 0, sizeof(found)) != NULL);
		demand_canary(count * page_size);
	}
	method->recv_cleanup(state);
}

static void inflate_page(size_t page_size, struct mr_bytes input)
{
	size_t produced;
	enum mr_rule rule;

	set_canary(page_size);
	rule = mr_page_inflate(input, memory, page_size, &produced);
	fuzz_demand(produced <= page_size && (rule != MR_NO_RULE || produced == page_size));
	demand_canary(page_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"none", "zlib", "zstd"};
	struct mr_bytes input = {data, size};
	const uint8_t options = fuzz_option(&input);
	const size_t page_size = page_sizes[options >> 2 & 3];

	if (size > FUZZ_INPUT_MAX)
		return 0;
	if ((options & 3) == 3)
		inflate_page(page_size, input);
	else
		receive(mr_multifd_method_by_name(names[options & 3]), page_size, input);
	return 0;
}
