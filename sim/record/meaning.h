/* meaning.h: what records, fields and actions are for, in plain words, each with the rule of SPEC.md behind it. */
#ifndef MR_RECORD_MEANING_H
#define MR_RECORD_MEANING_H

#include "ref/incoming.h"
#include "sim/record/log.h"

struct mr_meaning {
	const char *text; /* one sentence; NULL: the tables have none */
	enum mr_rule rule;
};

enum { MR_VALUE_MEANING_MAX = 160 };

/* What the record is for. */
struct mr_meaning mr_record_meaning(const struct mr_record *record);
/* What the field `name` of such a record says. */
struct mr_meaning mr_field_meaning(enum mr_kind kind, const char *name);
/* What this value says in words ("ZERO, CONTINUE"); "" if it speaks for itself. */
void mr_value_meaning(const struct mr_record *record, const struct mr_field *field, char out[MR_VALUE_MEANING_MAX]);
/* What the destination does by the action, and why. */
struct mr_meaning mr_action_meaning(const struct mr_action *action);
/* What a record of the nondeterminism log tells the destination; steps and waits have none. */
struct mr_meaning mr_input_meaning(enum mr_log_kind kind);
/* What an actor waits for, behind "waits for"; NULL if it does not wait. */
const char *mr_wait_meaning(enum mr_wait wait);

#endif
