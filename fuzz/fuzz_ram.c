/* fuzz_ram.c: the records of a `ram` section, with its block list or behind one, and of a preempt channel. */
#include "common.h"

static struct mr_session session;
static struct mr_decoder decoder;

static struct fuzz_outcome decode(const struct mr_context *context, uint8_t place, struct mr_bytes input,
				  enum fuzz_split split)
{
	mr_session_init(&session, context, NULL, NULL);
	if (place & 1)
		mr_decoder_init(&decoder, &session, MR_ROLE_PREEMPT, 1);
	else
		fuzz_begin_ram(&decoder, &session, false);
	return fuzz_decode(&decoder, input, split);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mr_bytes input = {data, size};
	struct fuzz_outcome whole;
	struct mr_context context;
	enum fuzz_split again;
	uint8_t options, more;

	if (size > FUZZ_INPUT_MAX)
		return 0;
	options = fuzz_option(&input);
	more = fuzz_option(&input);
	again = fuzz_second_split(more);
	fuzz_context(&context, options, more);
	whole = decode(&context, more >> 7, input, FUZZ_WHOLE);
	if (again != FUZZ_WHOLE)
		fuzz_demand(fuzz_same(whole, decode(&context, more >> 7, input, again)));
	return 0;
}
