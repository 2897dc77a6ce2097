/* explain.h: records with every byte annotated, and what they make the destination do, for people who read along. */
#ifndef MR_RECORD_EXPLAIN_H
#define MR_RECORD_EXPLAIN_H

#include "sim/record/meaning.h"

#include <stdio.h>

struct mr_explainer {
	FILE *out;
	bool json;                      /* one JSON object a line */
	const char *indent;             /* text: before each line */
	const struct mr_layout *device; /* whose body the next record is; NULL: none */
};

/* A page that was asked for and has not come. */
struct mr_explained_page {
	uint32_t block;
	char name[MR_NAME_MAX + 1]; /* of the block */
	uint64_t offset, thread;
};

enum { MR_EXPLAINED_PAGES_MAX = 16, MR_EXPLAINED_WAITS_MAX = 16 };

/* How the destination stands after a record. */
struct mr_explained_state {
	enum mr_postcopy_state state;
	enum mr_status status;
	uint32_t outstanding;
	size_t page_count; /* of those waited for, as many as find a place here */
	struct mr_explained_page pages[MR_EXPLAINED_PAGES_MAX];
	size_t wait_count;
	struct {
		unsigned actor;
		struct mr_wants wants;
	} waits[MR_EXPLAINED_WAITS_MAX]; /* actors that wait for more than bytes */
};

/* What the record is for, and each of its fields: offset, bytes, name, value, meaning, rule. `wire` are its bytes. */
void mr_explain_record(const struct mr_explainer *explainer, const char *channel, const struct mr_record *record,
		       const uint8_t *wire);
/* What the destination did, and why. */
void mr_explain_action(const struct mr_explainer *explainer, const struct mr_incoming *incoming,
		       const struct mr_action *action);
/* What the destination was told beside bytes; nothing for records of the log that tell it nothing. */
void mr_explain_input(const struct mr_explainer *explainer, const struct mr_incoming *incoming,
		      const struct mr_log_record *record);
void mr_explain_state(const struct mr_explainer *explainer, const struct mr_explained_state *state);

#endif
