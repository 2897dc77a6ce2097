/* rules.c: the rules of SPEC.md as a table, and the names of verdicts. */
#include "migref.h"

#include <string.h>

static const struct rule {
	const char *id;
	enum mr_verdict verdict;
	const char *title;
} rules[MR_RULE_COUNT] = {
#define MR_RULE(symbol, id, verdict, title) [MR_##symbol] = {id, verdict, title},
#include "rules.def"
#undef MR_RULE
};

static const char *const verdict_names[] = {
	[MR_VALID] = "valid",     [MR_ACCEPTABLE] = "acceptable", [MR_STATE] = "state",
	[MR_RUNTIME] = "runtime", [MR_MALFORMED] = "malformed",
};

static const struct rule *find(enum mr_rule rule)
{
	static const struct rule none = {NULL, MR_VALID, ""};

	return rule > MR_NO_RULE && rule < MR_RULE_COUNT ? &rules[rule] : &none;
}

const char *mr_rule_id(enum mr_rule rule)
{
	return find(rule)->id;
}

const char *mr_rule_title(enum mr_rule rule)
{
	return find(rule)->title;
}

enum mr_verdict mr_rule_verdict(enum mr_rule rule)
{
	return find(rule)->verdict;
}

enum mr_rule mr_rule_by_id(const char *id)
{
	for (int rule = MR_NO_RULE + 1; rule < MR_RULE_COUNT; rule++)
		if (strcmp(rules[rule].id, id) == 0)
			return (enum mr_rule)rule;
	return MR_NO_RULE;
}

const char *mr_verdict_name(enum mr_verdict verdict)
{
	return verdict <= MR_MALFORMED ? verdict_names[verdict] : "unknown";
}
