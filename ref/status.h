/*
 * status.h: the migration status of both sides as the monitor shows it, the first error, and what forbids a migration.
 *
 * Contents: changes of the status - a status that is kept - blockers. Rule ids are those of SPEC.md.
 */
#ifndef MR_STATUS_H
#define MR_STATUS_H

#include "migref.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Changes of the status --------------------------------------------------------------------------------------- */

enum mr_side { MR_SIDE_SOURCE, MR_SIDE_DESTINATION };

/* One row of the table: a change that releases from `since` to `until` make ("": no end is known). */
struct mr_status_row {
	enum mr_side side;
	const char *from, *to; /* as in QMP: "postcopy-active" */
	const char *since, *until, *when;
};

/* NULL behind the last row. */
const struct mr_status_row *mr_status_row(unsigned index);
/* Whether the release makes this change (STA-001, STA-002); one that is not known may make any of the table's. */
bool mr_status_may_change(const struct mr_profile *profile, enum mr_side side, const char *from, const char *to);

/* ---- A status that is kept --------------------------------------------------------------------------------------- */

enum { MR_STATUS_TEXT_MAX = 32 };

struct mr_status_keeper {
	const struct mr_profile *profile;
	enum mr_side side;
	bool events; /* capability events */
	char status[MR_STATUS_TEXT_MAX];
	struct mr_finding error; /* the first; its rule is MR_NO_RULE if there was none */
};

void mr_status_init(struct mr_status_keeper *keeper, const struct mr_profile *profile, enum mr_side side, bool events);

enum mr_status_result {
	MR_STATUS_KEPT,    /* another status than `from` is there: nothing happens, nothing is shown */
	MR_STATUS_CHANGED, /* done, without an event */
	MR_STATUS_SHOWN,   /* done, and a MIGRATION event is to be sent */
	MR_STATUS_REFUSED, /* the release makes no such change; `error` says so */
};

/* If the status is `from` it becomes `to` (STA-001 to STA-003). `error` may be NULL. */
enum mr_status_result mr_status_change(struct mr_status_keeper *keeper, const char *from, const char *to,
				       struct mr_finding *error);
/* Whether the destination that begins to listen sends a MIGRATION event `setup`, although its status stays (STA-003).
 */
bool mr_status_shows_listening(const struct mr_profile *profile);
/* The same for migrate-recover. */
bool mr_status_shows_recovering(const struct mr_profile *profile);
/* Remembers why the migration fails, if nothing is remembered yet (STA-004). A new migration forgets it. */
void mr_status_blame(struct mr_status_keeper *keeper, const struct mr_finding *error);

/* ---- Blockers ---------------------------------------------------------------------------------------------------- */

enum { MR_BLOCKERS_MAX = 64, MR_BLOCKER_TEXT_MAX = 128 };

/* What forbids a migration: devices and features that cannot be moved. Zeroed there is none. */
struct mr_blockers {
	bool only_migratable; /* -only-migratable: nothing that blocks may be added */
	unsigned count;
	unsigned last;                     /* number that was given last */
	unsigned numbers[MR_BLOCKERS_MAX]; /* oldest first */
	char reasons[MR_BLOCKERS_MAX][MR_BLOCKER_TEXT_MAX];
};

/* Adds a reason; its number, or 0 if it is refused: why stands in `error`. */
unsigned mr_blockers_add(struct mr_blockers *blockers, const char *reason, bool migrating, struct mr_finding *error);
/* Takes it back. False if there is no such number. */
bool mr_blockers_remove(struct mr_blockers *blockers, unsigned number);
/* The reasons as the monitor lists them, the newest first; NULL behind the last. */
const char *mr_blockers_reason(const struct mr_blockers *blockers, unsigned index);
/* Whether a migration may begin (CAP-008); else the newest reason stands in error->found. */
bool mr_blockers_check(const struct mr_blockers *blockers, struct mr_finding *error);

#ifdef __cplusplus
}
#endif

#endif
