/* fuzz_multifd.c: a multifd channel, its payloads decompressed by the method that each packet names. */
#include "common.h"

static struct mr_session session;
static struct mr_decoder main_channel, decoder;

/* A channel's decompression; method NULL: no packet needed one yet. */
struct receiver {
	const struct mr_multifd_method *method;
	void *state;
	size_t page_size;
};

static void receive(void *argument, const struct mr_record *record)
{
	static uint8_t memory[MR_PACKET_DATA_SIZE];
	static uint8_t *pages[MR_PACKET_PAGES_MAX];
	struct receiver *receiver = argument;
	const struct mr_multifd_packet *packet = &record->packet;
	const struct mr_multifd_method *method;
	char found[96];

	if (record->kind != MR_MULTIFD_PACKET || packet->normal_pages == 0)
		return;
	method = mr_multifd_method_by_flag(packet->flags & MR_MULTIFD_METHOD_MASK);
	if (!method || !method->decodable || (receiver->method && receiver->method != method))
		return;
	if (!receiver->method) {
		receiver->state = method->recv_setup(receiver->page_size);
		receiver->method = method;
	}
	fuzz_demand(packet->normal_pages * receiver->page_size <= sizeof(memory));
	for (uint32_t i = 0; i < packet->normal_pages; i++)
		pages[i] = memory + i * receiver->page_size;
	if (method->recv(receiver->state, packet->payload, pages, packet->normal_pages, found) != MR_NO_RULE)
		fuzz_demand(memchr(found, 0, sizeof(found)) != NULL);
}

static struct fuzz_outcome decode(const struct mr_context *context, bool blocks, struct mr_bytes input,
				  enum fuzz_split split)
{
	struct receiver receiver = {NULL, NULL, 0};
	struct fuzz_outcome outcome;

	mr_session_init(&session, context, NULL, NULL);
	if (blocks)
		fuzz_begin_ram(&main_channel, &session, true);
	receiver.page_size = session.target_page_size;
	mr_decoder_init(&decoder, &session, MR_ROLE_MULTIFD, 1);
	outcome = fuzz_decode(&decoder, input, split, split == FUZZ_WHOLE ? receive : NULL, &receiver);
	if (receiver.method)
		receiver.method->recv_cleanup(receiver.state);
	return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mr_bytes input = {data, size};
	struct fuzz_outcome whole;
	struct mr_context context;
	uint8_t options, more;
	bool blocks;

	if (size > FUZZ_INPUT_MAX)
		return 0;
	options = fuzz_option(&input);
	more = fuzz_option(&input);
	fuzz_context(&context, options, more & (uint8_t)~2u);
	blocks = more >> 7;
	whole = decode(&context, blocks, input, FUZZ_WHOLE);
	if (more & 0x40)
		fuzz_demand(fuzz_same(whole, decode(&context, blocks, input, more & 0x20 ? FUZZ_WANTED : FUZZ_STEPS)));
	return 0;
}
