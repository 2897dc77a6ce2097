/* test_machine_pieces.c: what mr_incoming_pieces() and mr_outgoing_pieces() list is the machine's whole state. */
#include "hostile.h"
#include "pair_support.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

enum { POISON = 0xa5, ROUNDS = 6, STEPS_BEFORE = 300, STEPS_AGAIN = 200 };

/* A copy of one machine's state. */
struct state {
	struct mr_piece pieces[2 * MR_PIECES_MAX];
	size_t count;
	struct build bytes;
};

/* A pair at one moment. */
struct moment {
	struct pair pair;
	struct state source, destination;
};

/* What both arenas held when they were made. */
struct beginning {
	uint8_t *source, *destination;
};

static void list(const struct pair *pair, struct state *source, struct state *destination)
{
	const size_t room = sizeof(source->pieces) / sizeof(source->pieces[0]);

	source->count = mr_outgoing_pieces(pair->source, false, source->pieces, room);
	destination->count = mr_incoming_pieces(pair->destination, destination->pieces, room);
	assert_in_range(source->count, 1, room);
	assert_in_range(destination->count, 1, room);
}

static void keep_state(struct state *state)
{
	state->bytes.length = 0;
	for (size_t i = 0; i < state->count; i++)
		build_bytes(&state->bytes, state->pieces[i].at, state->pieces[i].length);
}

static void put_state(const struct state *state)
{
	const uint8_t *from = state->bytes.bytes;

	for (size_t i = 0; i < state->count; i++) {
		memcpy(state->pieces[i].at, from, state->pieces[i].length);
		from += state->pieces[i].length;
	}
}

static void keep(const struct pair *pair, struct moment *moment)
{
	moment->pair = *pair;
	list(pair, &moment->source, &moment->destination);
	keep_state(&moment->source);
	keep_state(&moment->destination);
}

/* What was written since the beginning means nothing, wherever it is not written again; not all of it was ever set. */
static void poison(uint8_t *arena, const uint8_t *beginning)
{
	const size_t size = malloc_usable_size(arena);

	VALGRIND_DISABLE_ERROR_REPORTING;

	for (size_t i = 0; i < size; i += 4096) {
		const size_t length = size - i < 4096 ? size - i : 4096;

		if (memcmp(arena + i, beginning + i, length) == 0)
			continue;
		for (size_t j = i; j < i + length; j++)
			if (arena[j] != beginning[j])
				arena[j] = POISON;
	}
	VALGRIND_ENABLE_ERROR_REPORTING;
}

static void put(struct pair *pair, const struct moment *moment, const struct beginning *beginning)
{
	struct build text = pair->text;
	void *states[sizeof(pair->method_states) / sizeof(pair->method_states[0])];

	for (unsigned i = moment->pair.connection_count; i < pair->connection_count; i++) {
		build_free(&pair->connections[i].forward);
		build_free(&pair->connections[i].backward);
	}
	poison(pair->source_arena, beginning->source);
	poison(pair->destination_arena, beginning->destination);
	put_state(&moment->source);
	put_state(&moment->destination);
	/* The method `none` keeps nothing from packet to packet. */
	memcpy(states, pair->method_states, sizeof(states));
	*pair = moment->pair;
	memcpy(pair->method_states, states, sizeof(states));
	text.length = moment->pair.text.length;
	pair->text = text;
}

/* FNV-1a over what counts. */
static uint64_t digest(const struct state *state)
{
	uint64_t hash = UINT64_C(14695981039346656037);

	for (size_t i = 0; i < state->count; i++) {
		const uint8_t *at = state->pieces[i].at;

		if (state->pieces[i].scratch)
			continue;
		for (size_t j = 0; j < state->pieces[i].length; j++)
			hash = (hash ^ at[j]) * UINT64_C(1099511628211);
	}
	return hash;
}

static uint64_t digest_of(const struct pair *pair)
{
	static struct state source, destination;

	list(pair, &source, &destination);
	return digest(&source) * 31 + digest(&destination);
}

static void *copy_of(const void *arena, size_t size)
{
	void *copy = malloc(size);

	assert_non_null(copy);
	memcpy(copy, arena, size);
	return copy;
}

/* The same steps from the same moment, with whatever else standing around. */
static void go_twice(struct pair *pair, const struct beginning *beginning, struct moment *moment)
{
	uint64_t first[STEPS_AGAIN];

	keep(pair, moment);
	for (unsigned i = 0; i < STEPS_AGAIN; i++) {
		pair_step(pair);
		first[i] = digest_of(pair);
	}
	put(pair, moment, beginning);
	for (unsigned i = 0; i < STEPS_AGAIN; i++) {
		pair_step(pair);
		if (digest_of(pair) != first[i])
			fail_msg("%s seed %llu: another state after %u steps", pair->setup.source,
				 (unsigned long long)pair->setup.seed, i + 1);
	}
}

static void migrate(struct pair_setup setup)
{
	struct moment *moment = calloc(1, sizeof(*moment));
	struct pair *pair = pair_new(&setup);
	const struct beginning beginning = {
		copy_of(pair->source_arena, malloc_usable_size(pair->source_arena)),
		copy_of(pair->destination_arena, malloc_usable_size(pair->destination_arena)),
	};

	assert_non_null(moment);
	for (unsigned round = 0; round < (RUNNING_ON_VALGRIND ? 3 : ROUNDS); round++) {
		for (unsigned i = 0; i < STEPS_BEFORE; i++)
			pair_step(pair);
		go_twice(pair, &beginning, moment);
	}
	assert_true(pair_run(pair));
	go_twice(pair, &beginning, moment);
	expect_migrated(pair);
	build_free(&moment->source.bytes);
	build_free(&moment->destination.bytes);
	free(beginning.source);
	free(beginning.destination);
	free(moment);
	pair_free(pair);
}

static void from_some_seeds(struct pair_setup setup)
{
	for (setup.seed = 1; setup.seed <= (RUNNING_ON_VALGRIND ? 1 : 2); setup.seed++)
		migrate(setup);
}

enum { POSTCOPY = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_RETURN_PATH };

static void precopy(void **state)
{
	(void)state;
	from_some_seeds((struct pair_setup){.source = "11.1", .capabilities = MR_CAPABILITY_RETURN_PATH});
	from_some_seeds((struct pair_setup){.source = "2.5"});
}

static void xbzrle(void **state)
{
	(void)state;
	from_some_seeds((struct pair_setup){.source = "11.1", .capabilities = MR_CAPABILITY_XBZRLE});
}

static void multifd(void **state)
{
	(void)state;
	from_some_seeds(
		(struct pair_setup){.source = "11.1", .capabilities = MR_CAPABILITY_MULTIFD, .multifd_channels = 2});
}

static void postcopy(void **state)
{
	(void)state;
	from_some_seeds((struct pair_setup){.source = "11.1", .capabilities = POSTCOPY, .switches = true});
	from_some_seeds((struct pair_setup){.source = "4.1", .capabilities = POSTCOPY, .switches = true});
}

static void postcopy_recovered(void **state)
{
	(void)state;
	from_some_seeds((struct pair_setup){.source = "11.1", .capabilities = POSTCOPY, .switches = true, .cuts = 3});
	from_some_seeds((struct pair_setup){.source = "7.2", .capabilities = POSTCOPY, .switches = true, .cuts = 2});
}

static void preempt_huge_pages_recovered(void **state)
{
	struct pair_setup setup = {
		.capabilities = POSTCOPY | MR_CAPABILITY_POSTCOPY_PREEMPT,
		.switches = true,
		.huge_page_size = 4 * PAIR_PAGE,
		.cuts = 2,
	};

	(void)state;
	setup.source = "11.1";
	from_some_seeds(setup);
	setup.source = "7.2";
	from_some_seeds(setup);
}

/* A part of it lies elsewhere. */
static void streams_of_compression(void **state)
{
	struct pair_setup setup = {.source = "11.1",
				   .capabilities = MR_CAPABILITY_MULTIFD,
				   .multifd_channels = 2,
				   .method = "zlib",
				   .seed = 1};
	struct pair *pair = pair_new(&setup);
	struct mr_piece piece;

	(void)state;
	assert_int_equal(mr_outgoing_pieces(pair->source, false, &piece, 1), 0);
	pair_free(pair);
}

/* Whoever has too little room learns how much there has to be, and nothing is written behind it. */
static void too_little_room(void **state)
{
	struct pair_setup setup = {.source = "11.1", .capabilities = POSTCOPY, .switches = true, .seed = 1};
	struct pair *pair = pair_new(&setup);
	struct mr_piece pieces[2] = {{0}};

	(void)state;
	assert_true(mr_outgoing_pieces(pair->source, true, pieces, 1) > 2);
	assert_non_null(pieces[0].at);
	assert_null(pieces[1].at);
	assert_true(mr_incoming_pieces(pair->destination, pieces, 1) > 2);
	assert_null(pieces[1].at);
	assert_int_equal(mr_incoming_pieces(pair->destination, NULL, 0),
			 mr_incoming_pieces(pair->destination, pieces, 1));
	pair_free(pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(precopy),
		cmocka_unit_test(xbzrle),
		cmocka_unit_test(multifd),
		cmocka_unit_test(postcopy),
		cmocka_unit_test(postcopy_recovered),
		cmocka_unit_test(preempt_huge_pages_recovered),
		cmocka_unit_test(streams_of_compression),
		cmocka_unit_test(too_little_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
