/* status.c: changes of the migration status as ref/status.def has them, the first error, and what forbids a migration.
 */
#include "status.h"
#include "wire/wire.h"

#include <string.h>

static const struct mr_status_row rows[] = {
#define MR_STATUS_ROW(side, from, to, since, until, when, grounds) {MR_SIDE_##side, from, to, since, until, when},
#include "status.def"
#undef MR_STATUS_ROW
};

/* In their order: the destination listens, migrate-recover. */
static const struct mr_status_row event_rows[] = {
#define MR_STATUS_EVENT(side, status, since, until, when, grounds) {MR_SIDE_##side, "", status, since, until, when},
#include "status.def"
#undef MR_STATUS_EVENT
};

enum { ROWS = sizeof(rows) / sizeof(rows[0]), EVENT_LISTENING = 0, EVENT_RECOVERING };

static void describe(struct mr_finding *error, enum mr_rule rule, struct mr_text expected, struct mr_text found)
{
	if (!error)
		return;
	memset(error, 0, sizeof(*error));
	error->rule = rule;
	error->verdict = mr_rule_verdict(rule);
	memcpy(error->expected, expected.text, sizeof(error->expected));
	memcpy(error->found, found.text, sizeof(error->found));
}

/* ---- Changes of the status ---- */

const struct mr_status_row *mr_status_row(unsigned index)
{
	return index < ROWS ? &rows[index] : NULL;
}

bool mr_status_may_change(const struct mr_profile *profile, enum mr_side side, const char *from, const char *to)
{
	for (size_t i = 0; i < ROWS; i++)
		if (rows[i].side == side && strcmp(rows[i].from, from) == 0 && strcmp(rows[i].to, to) == 0 &&
		    mr_profile_within(profile, rows[i].since, rows[i].until))
			return true;
	return false;
}

/* ---- A status that is kept ---- */

void mr_status_init(struct mr_status_keeper *keeper, const struct mr_profile *profile, enum mr_side side, bool events)
{
	memset(keeper, 0, sizeof(*keeper));
	keeper->profile = profile;
	keeper->side = side;
	keeper->events = events;
	memcpy(keeper->status, "none", sizeof("none"));
}

enum mr_status_result mr_status_change(struct mr_status_keeper *keeper, const char *from, const char *to,
				       struct mr_finding *error)
{
	const bool source = keeper->side == MR_SIDE_SOURCE;
	const size_t length = strlen(to);

	if (strcmp(keeper->status, from) != 0)
		return MR_STATUS_KEPT;
	if (length >= sizeof(keeper->status) || !mr_status_may_change(keeper->profile, keeper->side, from, to)) {
		describe(error, source ? MR_STA_002 : MR_STA_001,
			 mr_text("a change of the %s's status", source ? "source" : "destination"),
			 mr_text("%.31s to %.31s", from, to));
		return MR_STATUS_REFUSED;
	}
	memcpy(keeper->status, to, length + 1);
	/* Another migration, hence another error. */
	if (source && strcmp(to, "setup") == 0)
		keeper->error.rule = MR_NO_RULE;
	return keeper->events ? MR_STATUS_SHOWN : MR_STATUS_CHANGED;
}

static bool has_event(const struct mr_profile *profile, size_t event)
{
	return profile->known && mr_profile_within(profile, event_rows[event].since, event_rows[event].until);
}

bool mr_status_shows_listening(const struct mr_profile *profile)
{
	return has_event(profile, EVENT_LISTENING);
}

bool mr_status_shows_recovering(const struct mr_profile *profile)
{
	return has_event(profile, EVENT_RECOVERING);
}

void mr_status_blame(struct mr_status_keeper *keeper, const struct mr_finding *error)
{
	if (keeper->error.rule == MR_NO_RULE)
		keeper->error = *error;
}

/* ---- Blockers ---- */

unsigned mr_blockers_add(struct mr_blockers *blockers, const char *reason, bool migrating, struct mr_finding *error)
{
	const size_t length = strlen(reason);
	const size_t kept = length < MR_BLOCKER_TEXT_MAX ? length : MR_BLOCKER_TEXT_MAX - 1;
	const char *why = blockers->only_migratable            ? "only what can be migrated"
			  : migrating                          ? "no new blocker in a migration"
			  : blockers->count == MR_BLOCKERS_MAX ? "no more blockers"
							       : NULL;

	if (why) {
		describe(error, MR_CAP_008, mr_text("%s", why), mr_text("%.90s", reason));
		return 0;
	}
	memcpy(blockers->reasons[blockers->count], reason, kept);
	blockers->reasons[blockers->count][kept] = '\0';
	blockers->numbers[blockers->count++] = ++blockers->last;
	return blockers->last;
}

bool mr_blockers_remove(struct mr_blockers *blockers, unsigned number)
{
	for (unsigned i = 0; i < blockers->count; i++) {
		const unsigned behind = blockers->count - i - 1;

		if (blockers->numbers[i] != number)
			continue;
		memmove(&blockers->numbers[i], &blockers->numbers[i + 1], behind * sizeof(blockers->numbers[0]));
		memmove(blockers->reasons[i], blockers->reasons[i + 1], behind * sizeof(blockers->reasons[0]));
		blockers->count--;
		return true;
	}
	return false;
}

const char *mr_blockers_reason(const struct mr_blockers *blockers, unsigned index)
{
	return index < blockers->count ? blockers->reasons[blockers->count - index - 1] : NULL;
}

bool mr_blockers_check(const struct mr_blockers *blockers, struct mr_finding *error)
{
	const char *reason = mr_blockers_reason(blockers, 0);

	if (reason)
		describe(error, MR_CAP_008, mr_text("nothing that forbids a migration"), mr_text("%.90s", reason));
	return !reason;
}
