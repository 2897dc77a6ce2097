/* fuzz_multifd.c: a multifd channel: initial packet, packets of each layout; their payloads are those of
 * fuzz_payload.c. */
#include "common.h"

static struct mr_session session;
static struct mr_decoder main_channel, decoder;

static struct fuzz_outcome decode(const struct mr_context *context, bool blocks, struct mr_bytes input,
				  enum fuzz_split split)
{
	mr_session_init(&session, context, NULL, NULL);
	if (blocks)
		fuzz_begin_ram(&main_channel, &session, true);
	mr_decoder_init(&decoder, &session, MR_ROLE_MULTIFD, 1);
	return fuzz_decode(&decoder, input, split);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mr_bytes input = {data, size};
	struct fuzz_outcome whole;
	struct mr_context context;
	enum fuzz_split again;
	uint8_t options, more;
	bool blocks;

	if (size > FUZZ_INPUT_MAX)
		return 0;
	options = fuzz_option(&input);
	more = fuzz_option(&input);
	again = fuzz_second_split(more);
	fuzz_context(&context, options, more & (uint8_t)~2u);
	blocks = more >> 7;
	whole = decode(&context, blocks, input, FUZZ_WHOLE);
	if (again != FUZZ_WHOLE)
		fuzz_demand(fuzz_same(whole, decode(&context, blocks, input, again)));
	return 0;
}
