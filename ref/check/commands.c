/* commands.c: the order of the main channel's commands, and what stands in a package. */
#include "check.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- Packages ---- */

/* The package is over: it has to have ended with RUN. What stands behind RUN was reported by the decoder. */
static void close_package(struct mr_checker *checker, struct mr_check_channel *channel)
{
	struct mr_check_package *package = &checker->main.package;

	package->open = false;
	if (package->begun && !package->run_last && !package->said)
		mr_report(checker, mr_place_at(channel, package->offset), MR_CMD_019,
			  mr_text("RUN at the end of the package"), mr_text("another record"));
}

void mr_check_package(struct mr_checker *checker, struct mr_check_channel *channel, const struct mr_record *record)
{
	struct mr_check_package *package = &checker->main.package;
	const uint16_t number = record->kind == MR_COMMAND ? record->command.number : 0;

	if (!package->open)
		return;
	if (record->depth == 0) {
		close_package(checker, channel);
		return;
	}
	if (!package->begun && number != MR_COMMAND_POSTCOPY_LISTEN)
		mr_report(checker, mr_place_at(channel, record->offset), MR_CMD_019,
			  mr_text("LISTEN first in a package"),
			  mr_text("%s", number ? mr_command_name(number) : mr_kind_name(record->kind)));
	package->begun = true;
	package->run_last = number == MR_COMMAND_POSTCOPY_RUN;
	package->said = package->said || (record->kind == MR_OPAQUE && record->opaque.rule == MR_CMD_019);
}

void mr_check_package_end(struct mr_checker *checker, struct mr_check_channel *channel)
{
	if (checker->main.package.open)
		close_package(checker, channel);
}

static void check_packaged(struct mr_checker *checker, const struct mr_record *record)
{
	checker->main.packaged = true;
	checker->main.package = (struct mr_check_package){.open = true, .offset = record->offset};
}

/* ---- Return path ---- */

static void check_open(struct mr_checker *checker, struct mr_place place, const struct mr_record *record)
{
	struct mr_check_main *main = &checker->main;

	if (record->depth)
		mr_report(checker, place, MR_CMD_003, mr_text("OPEN_RETURN_PATH outside a package"),
			  mr_text("one inside"));
	else if (main->return_path)
		mr_report(checker, place, MR_CMD_003, mr_text("OPEN_RETURN_PATH once"), mr_text("another one"));
	main->return_path = true;
}

static void check_ping(struct mr_checker *checker, struct mr_place place, const struct mr_record *record)
{
	if (!checker->main.return_path)
		mr_report(checker, place, MR_CMD_004, mr_text("OPEN_RETURN_PATH before PING"), mr_text("none"));
	mr_check_ping(checker, place, record->command.value, false);
}

/* ---- Postcopy ---- */

static void check_advise(struct mr_checker *checker, struct mr_place place, const struct mr_record *record)
{
	struct mr_check_main *main = &checker->main;

	if (main->advised)
		mr_report(checker, place, MR_CMD_007, mr_text("ADVISE once"), mr_text("another one"));
	else if (main->section)
		mr_report(checker, place, MR_CMD_007, mr_text("ADVISE before the first section"),
			  mr_text("ADVISE behind it"));
	main->advised = true;
	main->postcopy_ram = record->command.length != 0;
	main->summary_due = main->postcopy_ram;
	main->summary = place;
	main->summary.offset += 5;
}

static void check_range(struct mr_checker *checker, struct mr_place place, uint64_t start, uint64_t length)
{
	struct mr_check_main *main = &checker->main;

	if (start < main->discard_end)
		mr_report(checker, place, MR_CMD_014, mr_text("a range from 0x%" PRIx64 " on", main->discard_end),
			  mr_text("0x%" PRIx64, start));
	main->discard_end = start + length < start ? UINT64_MAX : start + length;
}

static void check_ranges(struct mr_checker *checker, struct mr_place place, const struct mr_command *command)
{
	const struct mr_block *block = mr_session_find_block(checker->session, command->block);
	struct mr_check_main *main = &checker->main;

	if (!block)
		return;
	if (!main->discard_open || main->discard_block != block->index) {
		if (main->discard_done[block->index])
			mr_report(checker, place, MR_CMD_014, mr_text("the discards of a block together"),
				  mr_text("%.60s again", mr_text_name(command->block).text));
		main->discard_open = true;
		main->discard_block = block->index;
		main->discard_end = 0;
		main->discard_done[block->index] = true;
	}
	for (uint32_t i = 0; i < command->range_count; i++) {
		uint64_t start, length;

		mr_discard_range(command, i, &start, &length);
		check_range(checker, place, start, length);
		mr_check_discard(checker, place, block->index, start, length);
	}
}

static void check_discard(struct mr_checker *checker, struct mr_place place, const struct mr_record *record)
{
	struct mr_check_main *main = &checker->main;

	if (!main->advised)
		mr_report(checker, place, MR_CMD_013, mr_text("ADVISE before RAM_DISCARD"), mr_text("none"));
	else if (main->listening)
		mr_report(checker, place, MR_CMD_013, mr_text("RAM_DISCARD before LISTEN"),
			  mr_text("RAM_DISCARD behind it"));
	main->discards = true;
	main->named_page_due = true;
	check_ranges(checker, place, &record->command);
}

static void check_listen(struct mr_checker *checker, struct mr_place place)
{
	struct mr_check_main *main = &checker->main;

	if (main->listening)
		mr_report(checker, place, MR_CMD_015, mr_text("LISTEN once"), mr_text("another one"));
	else if (!main->advised)
		mr_report(checker, place, MR_CMD_015, mr_text("ADVISE before LISTEN"), mr_text("none"));
	else if (main->postcopy_ram && !main->discards)
		mr_report(checker, place, MR_CMD_016, mr_text("RAM_DISCARD before LISTEN"), mr_text("none"));
	main->listening = true;
}

static void check_run(struct mr_checker *checker, struct mr_place place)
{
	struct mr_check_main *main = &checker->main;

	if (main->running)
		mr_report(checker, place, MR_CMD_017, mr_text("RUN once"), mr_text("another one"));
	else if (!main->listening)
		mr_report(checker, place, MR_CMD_017, mr_text("LISTEN before RUN"), mr_text("none"));
	main->running = true;
}

/* ---- Recovery, COLO, switchover ---- */

static void check_recovery(struct mr_checker *checker, struct mr_check_channel *channel, const struct mr_record *record)
{
	const struct mr_command *command = &record->command;
	const struct mr_place place = mr_place_at(channel, record->offset);
	const char *name = mr_command_name(command->number);

	if (channel->role != MR_ROLE_RECOVERY)
		mr_report(checker, place, MR_CMD_022, mr_text("%s on a recovery connection", name),
			  mr_text("%s on the first one", name));
	else if (channel->resumes)
		mr_report(checker, place, MR_CMD_022, mr_text("nothing of the recovery behind RESUME"),
			  mr_text("%s", name));
	if (command->number == MR_COMMAND_POSTCOPY_RESUME)
		channel->resumes++;
	else
		mr_check_name(channel, command->block, record->offset);
}

static void check_colo(struct mr_checker *checker, struct mr_place place)
{
	if (checker->main.section)
		mr_report(checker, place, MR_CMD_023, mr_text("ENABLE_COLO before the first section"),
			  mr_text("ENABLE_COLO behind it"));
}

static void check_switchover(struct mr_checker *checker, struct mr_place place)
{
	const struct mr_check_main *main = &checker->main;

	if (main->end || main->discards || main->packaged)
		mr_report(checker, place, MR_CMD_024, mr_text("SWITCHOVER_START before END, RAM_DISCARD and PACKAGED"),
			  mr_text("SWITCHOVER_START behind %s", main->packaged   ? "PACKAGED"
								: main->discards ? "RAM_DISCARD"
										 : "END"));
}

/* ---- Dispatch ---- */

static bool is_outside_only(uint16_t number)
{
	return number == MR_COMMAND_POSTCOPY_ADVISE || number == MR_COMMAND_POSTCOPY_RAM_DISCARD ||
	       number == MR_COMMAND_RECV_BITMAP;
}

void mr_check_command(struct mr_checker *checker, struct mr_check_channel *channel, const struct mr_record *record)
{
	const struct mr_place place = mr_place_at(channel, record->offset);

	if (record->depth && is_outside_only(record->command.number)) {
		mr_report(checker, place, MR_CMD_020,
			  mr_text("%s outside a package", mr_command_name(record->command.number)),
			  mr_text("one inside"));
		return;
	}
	switch ((enum mr_command_number)record->command.number) {
	case MR_COMMAND_OPEN_RETURN_PATH:
		check_open(checker, place, record);
		break;
	case MR_COMMAND_PING:
		check_ping(checker, place, record);
		break;
	case MR_COMMAND_POSTCOPY_ADVISE:
		check_advise(checker, place, record);
		break;
	case MR_COMMAND_POSTCOPY_LISTEN:
		check_listen(checker, place);
		break;
	case MR_COMMAND_POSTCOPY_RUN:
		check_run(checker, place);
		break;
	case MR_COMMAND_POSTCOPY_RAM_DISCARD:
		check_discard(checker, place, record);
		break;
	case MR_COMMAND_PACKAGED:
		check_packaged(checker, record);
		break;
	case MR_COMMAND_ENABLE_COLO:
		check_colo(checker, place);
		break;
	case MR_COMMAND_POSTCOPY_RESUME:
	case MR_COMMAND_RECV_BITMAP:
		check_recovery(checker, channel, record);
		break;
	case MR_COMMAND_SWITCHOVER_START:
		check_switchover(checker, place);
		break;
	case MR_COMMAND_COUNT:
		break;
	}
}

void mr_check_name(struct mr_check_channel *channel, struct mr_bytes name, uint64_t offset)
{
	struct mr_check_names *names = &channel->names;

	if (names->count == names->capacity) {
		const uint32_t capacity = names->capacity ? 2 * names->capacity : 32;
		struct mr_check_name *larger = NULL;

		if (capacity <= MR_CHECK_NAMES_MAX)
			larger = realloc(names->names, capacity * sizeof(*larger));
		if (!larger) {
			names->incomplete = true;
			return;
		}
		names->names = larger;
		names->capacity = capacity;
	}
	names->names[names->count++] = (struct mr_check_name){mr_hash_name(MR_HASH_START, name), offset};
}
