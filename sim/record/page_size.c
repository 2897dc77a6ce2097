/* page_size.c: the target page size of a lone stream, where only the end of its file tells it. */
#include "sim/record/page_size.h"

#include "migref.h"

#include <string.h>

enum { TAIL_MAX = 4 << 20 };             /* a description that is longer is not found in a compressed file */
#define UNPACKED_MAX ((uint64_t)4 << 30) /* bytes that are looked through */

/* Goes through a compressed file with two tails in the window, so that the last is whole at the end. */
static uint32_t look_through(struct mr_input *input)
{
	for (uint64_t passed = 0; passed < UNPACKED_MAX; passed += TAIL_MAX) {
		struct mr_bytes window;
		bool at_end;

		if (mr_input_fill(input, (size_t)2 * TAIL_MAX) < 0)
			return 0;
		window.data = mr_input_window(input, &window.length, &at_end);
		if (at_end)
			return mr_described_page_size(window);
		mr_input_consume(input, TAIL_MAX);
	}
	return 0;
}

/* Only a main channel ends with a description, and a small file of something else may be a very long one inside. */
static bool begins_a_stream(struct mr_bytes window)
{
	static const uint8_t magic[] = {'Q', 'E', 'V', 'M'};

	return window.length >= sizeof(magic) && memcmp(window.data, magic, sizeof(magic)) == 0;
}

uint32_t mr_look_for_page_size(const struct mr_input *input, const char *path)
{
	const uint64_t total = mr_input_total(input);
	struct mr_input *again;
	struct mr_bytes stream;
	uint32_t page_size;
	char ignored[256];
	bool at_end;

	stream.data = mr_input_window(input, &stream.length, &at_end);
	if (at_end && stream.length == total)
		return mr_described_page_size(stream);
	if (!begins_a_stream(stream) || total == 0 || total > MR_PAGE_SIZE_LOOK_MAX || strcmp(path, "-") == 0 ||
	    mr_input_open(&again, path, ignored, sizeof(ignored)) < 0)
		return 0;
	page_size = look_through(again);
	mr_input_close(again);
	return page_size;
}
