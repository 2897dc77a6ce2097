/* fuzz_main.c: a main channel from its first byte, or a recovery connection. */
#include "common.h"

static struct mr_session session;
static struct mr_decoder decoder;

static struct fuzz_outcome decode(const struct mr_context *context, enum mr_role role, struct mr_bytes input,
				  enum fuzz_split split)
{
	mr_session_init(&session, context, NULL, NULL);
	mr_decoder_init(&decoder, &session, role, 0);
	return fuzz_decode(&decoder, input, split);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mr_bytes input = {data, size};
	struct fuzz_outcome whole;
	struct mr_context context;
	enum fuzz_split again;
	uint8_t options, more;
	enum mr_role role;

	if (size > FUZZ_INPUT_MAX)
		return 0;
	options = fuzz_option(&input);
	more = fuzz_option(&input);
	again = fuzz_second_split(more);
	role = more & 0x80 ? MR_ROLE_RECOVERY : MR_ROLE_MAIN;
	fuzz_context(&context, options, more);
	whole = decode(&context, role, input, FUZZ_WHOLE);
	if (again != FUZZ_WHOLE)
		fuzz_demand(fuzz_same(whole, decode(&context, role, input, again)));
	return 0;
}
