/* fuzz_xbzrle.c: encodings as they come, and pages encoded and decoded again. */
#include "common.h"

enum { PAGE_MAX = 65536, MARGIN = 64, CANARY = 0xc5 };

static uint8_t patched[PAGE_MAX + MARGIN], goal[PAGE_MAX + MARGIN], out[2 * PAGE_MAX + MARGIN];

static void demand_canary(const uint8_t *bytes)
{
	for (size_t i = 0; i < MARGIN; i++)
		fuzz_demand(bytes[i] == CANARY);
}

/* The check and the decoder agree, and neither writes behind the page. */
static void decode_input(size_t page_size, struct mr_bytes encoding)
{
	size_t checked_at = 0, decoded_at = 0;
	enum mr_rule checked, decoded;

	memset(patched + page_size, CANARY, MARGIN);
	checked = mr_xbzrle_check(page_size, encoding, &checked_at);
	decoded = mr_xbzrle_decode(patched, page_size, encoding, &decoded_at);
	fuzz_demand(checked == decoded && checked_at == decoded_at && decoded_at <= encoding.length);
	fuzz_demand(checked != MR_NO_RULE || decoded_at == encoding.length);
	demand_canary(patched + page_size);
}

/* The two halves of the input are the starts of two pages; what is encoded decodes to the second. */
static void encode_input(size_t page_size, size_t capacity, struct mr_bytes input)
{
	const size_t half = input.length / 2 < page_size ? input.length / 2 : page_size;
	long length;

	memset(patched, 0, page_size);
	memset(goal, 0, page_size);
	if (half) {
		memcpy(patched, input.data, half);
		memcpy(goal, input.data + half, half);
	}
	memset(out + capacity, CANARY, MARGIN);
	length = mr_xbzrle_encode(patched, goal, page_size, out, capacity);
	demand_canary(out + capacity);
	if (length == MR_XBZRLE_OVERFLOW)
		return;
	fuzz_demand(length >= 0 && (size_t)length <= capacity);
	fuzz_demand(mr_xbzrle_check(page_size, (struct mr_bytes){out, (size_t)length}, NULL) == MR_NO_RULE);
	fuzz_demand(mr_xbzrle_decode(patched, page_size, (struct mr_bytes){out, (size_t)length}, NULL) == MR_NO_RULE);
	fuzz_demand(memcmp(patched, goal, page_size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mr_bytes input = {data, size};
	const uint8_t options = fuzz_option(&input);
	const size_t page_size = (size_t)64 << options % 11;

	if (options & 0x80) {
		const size_t capacity = (size_t)fuzz_option(&input) * page_size / 128;

		encode_input(page_size, capacity, input);
	} else {
		decode_input(page_size, input);
	}
	return 0;
}
