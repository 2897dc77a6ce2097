/*
 * test_sim_properties.c: a simulation that is lied to names the property that does not hold any more. The lies are told
 * from outside: what the simulation remembers is changed between two of its events.
 */
#include "sim_support.h"

#include "sim/world/sim_state.h"

enum { BIT = 0x10, FAR_AWAY = 1000, MAGIC = 4 };

static struct mr_scenario scenario;
static struct mr_sim_result result;

/* When the lie is due, it is told: true. */
typedef bool lie(struct mr_sim *sim);

static void expect_broken_in(struct mr_sim *sim, lie *tell, enum mr_property property)
{
	bool told = false;

	while (!mr_sim_run(sim, 1))
		told = told || tell(sim);
	assert_true(told);
	mr_sim_result(sim, &result);
	mr_sim_free(sim);
	if (result.violation.property != property)
		fail_msg("expected %s, found %s: %s", mr_property_name(property),
			 result.violation.property ? mr_property_name(result.violation.property) : "nothing",
			 result.violation.text);
	assert_int_equal(result.outcome, MR_OUTCOME_VIOLATED);
	assert_true(result.violation.time <= result.run_time);
	assert_true(strlen(result.violation.text) > 10);
	assert_null(strchr(result.violation.text, '\n'));
}

static void expect_broken(uint32_t capabilities, lie *tell, enum mr_property property)
{
	sim_scenario(&scenario, "11.1", capabilities, 1);
	expect_broken_in(sim_new(&scenario, NULL), tell, property);
}

/* ---- Places ---- */

/* The first page of block 0 that is, or is not, at the destination. */
static bool find_page(const struct mr_sim *sim, bool arrived, uint64_t *page)
{
	const struct sim_block *block = &sim->blocks[0];

	*page = arrived ? mr_bitmap_next_set(block->arrived, block->pages, 0)
			: mr_bitmap_next_clear(block->arrived, block->pages, 0);
	return *page < block->pages;
}

/* The first page of block 0 that was written to and is at the destination. */
static struct mr_page_entry *find_written(const struct mr_sim *sim, const struct mr_page_map *map)
{
	const struct sim_block *block = &sim->blocks[0];

	for (uint64_t page = 0; page < block->pages; page++) {
		struct mr_page_entry *entry = mr_page_map_find(map, 0, page);

		if (entry && entry->version && mr_bitmap_test(block->arrived, page))
			return entry;
	}
	return NULL;
}

static bool stands_still(const struct mr_sim *sim)
{
	return !sim->source_runs && !sim->destination_runs && sim->stopped_at;
}

/* ---- One guest, whole and in time ---- */

static bool source_goes_on(struct mr_sim *sim)
{
	if (!stands_still(sim) || !sim->devices_loaded)
		return false;
	sim->source_runs = true;
	return true;
}

static void one_guest(void **state)
{
	(void)state;
	expect_broken(0, source_goes_on, MR_PROPERTY_ONE_GUEST);
	expect_broken(SIM_POSTCOPY, source_goes_on, MR_PROPERTY_ONE_GUEST);
}

/* The source takes its guest back for a reason that nobody knows of. */
static bool destination_runs_early(struct mr_sim *sim)
{
	if (!stands_still(sim) || !mr_sim_command(sim, MR_SOURCE_COMMAND_CANCEL))
		return false;
	sim->destination_runs = true;
	return true;
}

static void one_guest_at_the_source(void **state)
{
	(void)state;
	expect_broken(0, destination_runs_early, MR_PROPERTY_ONE_GUEST);
}

static bool forget_devices(struct mr_sim *sim)
{
	if (sim->devices_loaded < 2)
		return false;
	sim->devices_loaded = 0;
	return true;
}

static void run_after_package(void **state)
{
	(void)state;
	expect_broken(0, forget_devices, MR_PROPERTY_RUN_AFTER_PACKAGE);
	expect_broken(SIM_POSTCOPY, forget_devices, MR_PROPERTY_RUN_AFTER_PACKAGE);
}

static bool catch_nothing_at_the_start(struct mr_sim *sim)
{
	if (!sim->blocks[1].registered)
		return false;
	sim->blocks[1].registered = false;
	return true;
}

static bool catch_nothing_later(struct mr_sim *sim)
{
	if (!sim->destination_runs)
		return false;
	sim->blocks[0].registered = false;
	return true;
}

static void caught(void **state)
{
	(void)state;
	expect_broken(SIM_POSTCOPY, catch_nothing_at_the_start, MR_PROPERTY_CAUGHT);
	expect_broken(SIM_POSTCOPY, catch_nothing_later, MR_PROPERTY_CAUGHT);
}

/* ---- Contents ---- */

/* Where the bytes of a page stand that is on its way, so that one of them may be changed. */
struct page_bytes {
	struct mr_sim *sim;
	bool due, changed;
};

static void change_page(void *argument, const struct mr_source_log_record *record,
			const struct mr_source_action *action)
{
	struct page_bytes *bytes = argument;
	struct mr_pipe *pipe;
	uint64_t at;

	(void)record;
	if (!bytes->due || bytes->changed || !action || action->kind != MR_SOURCE_ACTION_SEND ||
	    action->send.block == UINT32_MAX || action->send.body.length < 4096)
		return;
	pipe = &bytes->sim->link.pipes[MR_LINK_FORWARD][action->send.channel];
	at = action->send.offset + action->send.head.length + 2000;
	pipe->bytes[at - pipe->base] ^= BIT;
	bytes->changed = true;
}

static struct page_bytes page_bytes;

static bool change_at_once(struct mr_sim *sim)
{
	page_bytes.due = !sim->in_postcopy;
	return page_bytes.changed;
}

static bool change_in_postcopy(struct mr_sim *sim)
{
	page_bytes.due = sim->in_postcopy;
	return page_bytes.changed;
}

static void expect_content(const char *release, uint32_t capabilities, uint64_t page_size, lie *tell)
{
	const struct mr_watch watch = {.argument = &page_bytes, .source = change_page};

	sim_scenario(&scenario, release, capabilities, 1);
	scenario.blocks[0].page_size = page_size;
	if (page_size > scenario.blocks[0].size)
		scenario.blocks[0].size = page_size;
	/* nothing but pages that no method makes smaller */
	memset(scenario.guest.shares, 0, sizeof(scenario.guest.shares));
	scenario.guest.shares[MR_CONTENT_RANDOM] = 1000;
	scenario.guest.filled = page_size > (16 << 20) ? 20 : 1000;
	page_bytes = (struct page_bytes){.sim = sim_new(&scenario, &watch)};
	expect_broken_in(page_bytes.sim, tell, MR_PROPERTY_CONTENT);
}

static void content(void **state)
{
	(void)state;
	expect_content("11.1", 0, 4096, change_at_once);
	expect_content("7.2", SIM_MULTIFD, 4096, change_at_once);
	expect_content("11.1", SIM_POSTCOPY, 4096, change_in_postcopy);
	expect_content("11.1", SIM_PREEMPT, 64 << 10, change_in_postcopy);
	expect_content("11.1", SIM_POSTCOPY, 64 << 20, change_in_postcopy);
}

/* What is on its way tells of writes that the guest has not made. */
static bool forget_writes(struct mr_sim *sim)
{
	if (sim->result.pages_sent < 200)
		return false;
	for (uint64_t page = 0; page < sim->blocks[0].pages; page++) {
		struct mr_page_entry *entry = mr_page_map_find(&sim->source_map, 0, page);

		if (entry)
			entry->version = 0;
	}
	return true;
}

static void content_from_the_future(void **state)
{
	(void)state;
	expect_broken(0, forget_writes, MR_PROPERTY_CONTENT);
}

static bool foresee_versions(struct mr_sim *sim)
{
	bool any = false;

	for (uint64_t page = 0; page < sim->blocks[0].pages; page++) {
		struct mr_page_entry *entry = mr_page_map_find(&sim->destination_map, 0, page);

		if (!entry || !mr_bitmap_test(sim->blocks[0].arrived, page) || entry->version >= FAR_AWAY)
			continue;
		entry->version += FAR_AWAY;
		any = true;
	}
	return any;
}

/* All is there, but the last version of a page, whose contents nobody takes for zero. */
static bool lose_last_version(struct mr_sim *sim)
{
	for (uint64_t page = 0; stands_still(sim) && sim->devices_loaded && page < sim->blocks[0].pages; page++) {
		struct mr_page_entry *entry = mr_page_map_find(&sim->destination_map, 0, page);

		if (!entry || entry->version == 0 || !mr_bitmap_test(sim->blocks[0].arrived, page) ||
		    mr_content_is_zero(&sim->content, 0, page, entry->version))
			continue;
		entry->version--;
		return true;
	}
	return false;
}

/* What is on its way to be placed counts as sent before the last write, with which it went out. */
static bool age_what_comes(struct mr_sim *sim)
{
	bool any = false;

	for (uint64_t page = 0; sim->in_postcopy && page < sim->blocks[0].pages; page++) {
		struct mr_page_entry *entry = mr_page_map_find(&sim->source_map, 0, page);

		if (!entry || entry->later || mr_bitmap_test(sim->blocks[0].arrived, page))
			continue;
		entry->version++;
		any = true;
	}
	return any;
}

static void not_older(void **state)
{
	(void)state;
	expect_broken(0, foresee_versions, MR_PROPERTY_NOT_OLDER);
	expect_broken(SIM_MULTIFD, foresee_versions, MR_PROPERTY_NOT_OLDER);
	expect_broken(0, lose_last_version, MR_PROPERTY_NOT_OLDER);
	expect_broken(SIM_MULTIFD, lose_last_version, MR_PROPERTY_NOT_OLDER);
	expect_broken(SIM_POSTCOPY, lose_last_version, MR_PROPERTY_NOT_OLDER);
	expect_broken(SIM_POSTCOPY, age_what_comes, MR_PROPERTY_NOT_OLDER);
}

/* A packet that was written is none. */
static bool forget_packet(struct mr_sim *sim)
{
	if (sim->packets_written == 0 || sim->barrier_count == 0)
		return false;
	sim->packets_written--;
	return true;
}

static void barrier(void **state)
{
	static const char *const of_releases[] = {"4.0", "7.2", "8.2", "9.2", "11.1"};

	(void)state;
	for (size_t i = 0; i < sizeof(of_releases) / sizeof(of_releases[0]); i++) {
		sim_scenario(&scenario, of_releases[i], SIM_MULTIFD, i);
		expect_broken_in(sim_new(&scenario, NULL), forget_packet, MR_PROPERTY_BARRIER);
	}
	expect_broken(SIM_MULTIFD | SIM_POSTCOPY, forget_packet, MR_PROPERTY_BARRIER);
}

/* ---- Pages that are there ---- */

static bool pretend_all_there(struct mr_sim *sim)
{
	if (!sim->in_postcopy)
		return false;
	mr_bitmap_set(sim->blocks[1].arrived, 0, sim->blocks[1].pages);
	mr_bitmap_set(sim->blocks[0].arrived, 0, sim->blocks[0].pages);
	return true;
}

static void placed_once(void **state)
{
	(void)state;
	/* before its guest looks at a page */
	sim_scenario(&scenario, "11.1", SIM_POSTCOPY, 1);
	scenario.workloads[0].interval = 1000000000;
	expect_broken_in(sim_new(&scenario, NULL), pretend_all_there, MR_PROPERTY_PLACED_ONCE);
}

static bool let_guest_see_all(struct mr_sim *sim)
{
	uint64_t page;

	if (!find_page(sim, true, &page))
		return false;
	sim->destination_runs = true;
	return true;
}

static bool let_guest_see_before_discards(struct mr_sim *sim)
{
	if (!stands_still(sim) || mr_incoming_postcopy_state(sim->destination) != MR_POSTCOPY_DISCARD)
		return false;
	sim->destination_runs = true;
	return true;
}

static void nothing_overwritten(void **state)
{
	(void)state;
	sim_scenario(&scenario, "11.1", 0, 1);
	scenario.workloads[0].interval = 1000000000;
	expect_broken_in(sim_new(&scenario, NULL), let_guest_see_all, MR_PROPERTY_NOTHING_OVERWRITTEN);
	expect_broken(SIM_POSTCOPY, let_guest_see_before_discards, MR_PROPERTY_NOTHING_OVERWRITTEN);
}

/* A write that no log has. */
static bool write_in_secret(struct mr_sim *sim)
{
	struct mr_page_entry *entry =
		stands_still(sim) && sim->devices_loaded ? find_written(sim, &sim->source_map) : NULL;

	if (!entry)
		return false;
	entry->version++;
	entry->later++;
	return true;
}

static bool write_in_secret_later(struct mr_sim *sim)
{
	if (!sim->destination_runs || !sim->in_postcopy)
		return false;
	for (uint64_t page = 0; page < sim->blocks[0].pages; page++) {
		if (!mr_bitmap_test(sim->blocks[0].arrived, page))
			continue;
		mr_bitmap_set(sim->blocks[0].touched, page, 1);
		mr_page_map_get(&sim->source_map, 0, page)->version += FAR_AWAY;
		mr_page_map_get(&sim->source_map, 0, page)->later += FAR_AWAY;
	}
	return true;
}

static void stale_discarded(void **state)
{
	(void)state;
	expect_broken(0, write_in_secret, MR_PROPERTY_STALE_DISCARDED);
	expect_broken(SIM_POSTCOPY, write_in_secret, MR_PROPERTY_STALE_DISCARDED);
	expect_broken(SIM_POSTCOPY, write_in_secret_later, MR_PROPERTY_STALE_DISCARDED);
}

/* ---- The machines and the world ---- */

/* Whoever completes an action before the world does leaves it nothing to complete. */
static void complete_source(void *argument, const struct mr_line *line)
{
	struct mr_sim **sim = argument;

	if (line->event == MR_LINE_OPEN)
		assert_true(mr_outgoing_complete((*sim)->source, MR_SOURCE_MIGRATION, 0));
}

static void complete_destination(void *argument, const struct mr_line *line)
{
	struct mr_sim **sim = argument;

	for (unsigned i = 0; line->event == MR_LINE_BYTES && line->backward && i < MR_ACTOR_MULTIFD; i++)
		mr_incoming_complete((*sim)->destination, i, 0);
}

static bool nothing_more(struct mr_sim *sim)
{
	(void)sim;
	return true;
}

static void action(void **state)
{
	struct mr_sim *sim;
	struct mr_watch watch = {.argument = &sim, .line = complete_source};

	(void)state;
	sim_scenario(&scenario, "11.1", SIM_POSTCOPY, 1);
	sim = sim_new(&scenario, &watch);
	expect_broken_in(sim, nothing_more, MR_PROPERTY_ACTION);
	watch.line = complete_destination;
	sim = sim_new(&scenario, &watch);
	expect_broken_in(sim, nothing_more, MR_PROPERTY_ACTION);
}

static bool finish_source(struct mr_sim *sim)
{
	sim->source_finished = stands_still(sim) || sim->destination_runs;
	return sim->source_finished;
}

static bool finish_destination(struct mr_sim *sim)
{
	sim->destination_finished = stands_still(sim);
	return sim->destination_finished;
}

static void end_once(void **state)
{
	(void)state;
	expect_broken(MR_CAPABILITY_RETURN_PATH, finish_source, MR_PROPERTY_END_ONCE);
	expect_broken(MR_CAPABILITY_RETURN_PATH, finish_destination, MR_PROPERTY_END_ONCE);
}

/* The first bytes that are on their way are others. */
static bool spoil_header(struct mr_sim *sim)
{
	struct mr_pipe *pipe = &sim->link.pipes[MR_LINK_FORWARD][0];

	if (pipe->written < MAGIC || pipe->arrived)
		return false;
	pipe->bytes[MAGIC - 1] ^= BIT;
	return true;
}

static void legal_end(void **state)
{
	(void)state;
	expect_broken(MR_CAPABILITY_RETURN_PATH, spoil_header, MR_PROPERTY_LEGAL_END);
	expect_broken(SIM_POSTCOPY, spoil_header, MR_PROPERTY_LEGAL_END);
}

/* ---- In the end ---- */

static bool change_memory_afterwards(struct mr_sim *sim)
{
	struct mr_page_entry *entry = sim->ended ? find_written(sim, &sim->destination_map) : NULL;

	if (!entry)
		return false;
	entry->version--;
	return true;
}

static void memory(void **state)
{
	(void)state;
	sim_scenario(&scenario, "11.1", 0, 1);
	/* nobody looks at the page meanwhile */
	scenario.workloads[0].interval = 2000000;
	scenario.migration.run_after = 1;
	expect_broken_in(sim_new(&scenario, NULL), change_memory_afterwards, MR_PROPERTY_MEMORY);
}

/* A page that nobody ever wrote to, and that holds something. */
static bool lose_page(struct mr_sim *sim)
{
	if (!sim->ended)
		return false;
	for (uint64_t page = 0; page < sim->blocks[1].pages; page++)
		if (!mr_content_is_zero(&sim->content, 1, page, 0)) {
			mr_bitmap_clear(sim->blocks[1].arrived, page, 1);
			return true;
		}
	return false;
}

static void all_there(void **state)
{
	(void)state;
	expect_broken(0, lose_page, MR_PROPERTY_ALL_THERE);
	expect_broken(SIM_POSTCOPY, lose_page, MR_PROPERTY_ALL_THERE);
}

/* Whoever waits for a page is taken for one who waits for another, which is there. */
static bool miss_wakening(struct mr_sim *sim)
{
	uint64_t page;

	if (!find_page(sim, true, &page))
		return false;
	for (uint32_t i = 0; i < sim->scenario->guest.vcpus; i++)
		if (sim->vcpus[i].waits) {
			sim->vcpus[i].touch.page = page;
			return true;
		}
	return false;
}

static void resolved(void **state)
{
	(void)state;
	expect_broken(SIM_POSTCOPY, miss_wakening, MR_PROPERTY_RESOLVED);
}

/* A thread that is never scheduled again. */
static bool stop_source(struct mr_sim *sim)
{
	if (!sim->logging)
		return false;
	sim->source_actors[MR_SOURCE_MIGRATION].turn++;
	sim->source_actors[MR_SOURCE_MIGRATION].idle = false;
	return true;
}

static bool stop_destination(struct mr_sim *sim)
{
	if (!sim->destination_runs)
		return false;
	sim->destination_actors[MR_ACTOR_LISTEN].turn++;
	sim->destination_actors[MR_ACTOR_LISTEN].idle = false;
	return true;
}

static void over(void **state)
{
	(void)state;
	expect_broken(0, stop_source, MR_PROPERTY_OVER);
	expect_broken(SIM_POSTCOPY, stop_destination, MR_PROPERTY_OVER);
}

/* With compression, packets of nothing but zeros are not sent by 9.0 to 9.2: pages that became zero stay as they were.
 */
static void a_defect_of_a_release_is_found(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 30; seed++) {
		sim_scenario(&scenario, "9.2", SIM_MULTIFD, seed);
		strcpy(scenario.migration.method, "zstd");
		memset(scenario.guest.shares, 0, sizeof(scenario.guest.shares));
		scenario.guest.shares[MR_CONTENT_CONSTANT] = 1000;
		scenario.workloads[0].pattern.pages = scenario.workloads[0].pattern.working_set = 1;
		scenario.workloads[0].interval = 60000;
		sim_end(sim_new(&scenario, NULL), &result);
		if (result.outcome == MR_OUTCOME_VIOLATED)
			break;
	}
	assert_int_equal(result.violation.property, MR_PROPERTY_STALE_DISCARDED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_guest),
		cmocka_unit_test(one_guest_at_the_source),
		cmocka_unit_test(run_after_package),
		cmocka_unit_test(caught),
		cmocka_unit_test(content),
		cmocka_unit_test(content_from_the_future),
		cmocka_unit_test(not_older),
		cmocka_unit_test(barrier),
		cmocka_unit_test(placed_once),
		cmocka_unit_test(nothing_overwritten),
		cmocka_unit_test(stale_discarded),
		cmocka_unit_test(action),
		cmocka_unit_test(end_once),
		cmocka_unit_test(legal_end),
		cmocka_unit_test(memory),
		cmocka_unit_test(all_there),
		cmocka_unit_test(resolved),
		cmocka_unit_test(over),
		cmocka_unit_test(a_defect_of_a_release_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
