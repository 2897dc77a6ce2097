/* postcopy.c: PostcopyState, the migration status, and what each command does in each state. */
#include "incoming.h"

enum cell_kind { CELL_KEEP, CELL_TO, CELL_IGNORE, CELL_REFUSE, CELL_NEVER };

struct cell {
	uint8_t kind, next, next_in_qemu; /* the last two: MR_POSTCOPY_COUNT where the state stays */
};

#define KEEP                                                                                                           \
	{                                                                                                              \
		CELL_KEEP, MR_POSTCOPY_COUNT, MR_POSTCOPY_COUNT                                                        \
	}
#define TO(state)                                                                                                      \
	{                                                                                                              \
		CELL_TO, MR_POSTCOPY_##state, MR_POSTCOPY_##state                                                      \
	}
#define TO2(state, qemu)                                                                                               \
	{                                                                                                              \
		CELL_TO, MR_POSTCOPY_##state, MR_POSTCOPY_##qemu                                                       \
	}
#define IGNORE                                                                                                         \
	{                                                                                                              \
		CELL_IGNORE, MR_POSTCOPY_COUNT, MR_POSTCOPY_COUNT                                                      \
	}
#define REFUSE                                                                                                         \
	{                                                                                                              \
		CELL_REFUSE, MR_POSTCOPY_COUNT, MR_POSTCOPY_COUNT                                                      \
	}
#define SPOIL(state)                                                                                                   \
	{                                                                                                              \
		CELL_REFUSE, MR_POSTCOPY_COUNT, MR_POSTCOPY_##state                                                    \
	}
#define NEVER                                                                                                          \
	{                                                                                                              \
		CELL_NEVER, MR_POSTCOPY_COUNT, MR_POSTCOPY_COUNT                                                       \
	}

static const struct cell table[MR_COMMAND_COUNT][MR_POSTCOPY_COUNT] = {
#define MR_COMMAND_ROW(command, none, advise, discard, listening, running, end)                                        \
	[MR_COMMAND_##command] = {none, advise, discard, listening, running, end},
#include "postcopy.def"
#undef MR_COMMAND_ROW
};

struct mr_transition mr_postcopy_transition(unsigned command, enum mr_postcopy_state state)
{
	static const enum mr_reception receptions[] = {
		[CELL_KEEP] = MR_RECEPTION_TAKEN,     [CELL_TO] = MR_RECEPTION_TAKEN,
		[CELL_IGNORE] = MR_RECEPTION_IGNORED, [CELL_REFUSE] = MR_RECEPTION_REFUSED,
		[CELL_NEVER] = MR_RECEPTION_NEVER,
	};
	struct mr_transition transition = {MR_RECEPTION_REFUSED, state, state};
	const struct cell *cell;

	if (command == 0 || command >= MR_COMMAND_COUNT || (unsigned)state >= MR_POSTCOPY_COUNT)
		return transition;
	cell = &table[command][state];
	transition.reception = receptions[cell->kind];
	if (cell->next != MR_POSTCOPY_COUNT)
		transition.next = (enum mr_postcopy_state)cell->next;
	if (cell->next_in_qemu != MR_POSTCOPY_COUNT)
		transition.next_in_qemu = (enum mr_postcopy_state)cell->next_in_qemu;
	return transition;
}

const char *mr_postcopy_state_name(enum mr_postcopy_state state)
{
	static const char *const names[MR_POSTCOPY_COUNT] = {
		"NONE", "ADVISE", "DISCARD", "LISTENING", "RUNNING", "END",
	};

	return (unsigned)state < MR_POSTCOPY_COUNT ? names[state] : "unknown";
}

const char *mr_status_name(enum mr_status status)
{
	static const char *const names[MR_STATUS_COUNT] = {
		[MR_STATUS_NONE] = "none",
		[MR_STATUS_SETUP] = "setup",
		[MR_STATUS_ACTIVE] = "active",
		[MR_STATUS_POSTCOPY_DEVICE] = "postcopy-device",
		[MR_STATUS_POSTCOPY_ACTIVE] = "postcopy-active",
		[MR_STATUS_POSTCOPY_PAUSED] = "postcopy-paused",
		[MR_STATUS_POSTCOPY_RECOVER] = "postcopy-recover",
		[MR_STATUS_COMPLETED] = "completed",
		[MR_STATUS_FAILED] = "failed",
	};

	return (unsigned)status < MR_STATUS_COUNT ? names[status] : "unknown";
}
