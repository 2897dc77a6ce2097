/* save.c: what the source makes of the amounts that its handlers still have to send. */
#include "handlers.h"

static uint64_t sum(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

uint64_t mr_pending_must(const struct mr_pending *pending)
{
	return sum(pending->precopy, pending->stopped);
}

uint64_t mr_pending_can(const struct mr_pending *pending)
{
	return sum(pending->any, pending->postcopy);
}

uint64_t mr_pending_total(const struct mr_pending *pending)
{
	return sum(mr_pending_must(pending), mr_pending_can(pending));
}

static enum mr_turn turn_in_postcopy(const struct mr_profile *profile, uint64_t total, uint64_t threshold)
{
	const bool ends_empty = mr_profile_does(profile, MR_SWITCH_POSTCOPY_ENDS_EMPTY);

	return total == 0 || (!ends_empty && total < threshold) ? MR_TURN_COMPLETE : MR_TURN_ITERATE;
}

/* Whether the estimate is not enough to go by. */
static bool wants_exact(const struct mr_profile *profile, const struct mr_turn_input *input, uint64_t must,
			uint64_t total)
{
	if (input->exact || mr_profile_does(profile, MR_SWITCH_PENDING_ONE))
		return false;
	if (mr_profile_does(profile, MR_SWITCH_PENDING_QUERY))
		return total <= input->threshold || must == 0;
	if (mr_profile_does(profile, MR_SWITCH_PENDING_BY_TOTAL))
		return total < input->threshold;
	return must <= input->threshold;
}

enum mr_turn mr_turn(const struct mr_profile *profile, const struct mr_turn_input *input)
{
	const uint64_t total = mr_pending_total(&input->pending);
	const uint64_t must = mr_pending_must(&input->pending);
	const bool postcopy_first = mr_profile_does(profile, MR_SWITCH_POSTCOPY_TESTED_FIRST);
	const bool small = postcopy_first ? total <= input->threshold : total == 0 || total < input->threshold;
	const bool fits = must <= input->threshold;

	if (input->in_postcopy)
		return turn_in_postcopy(profile, total, input->threshold);
	if (wants_exact(profile, input, must, total))
		return MR_TURN_EXACT;
	if (!input->switchover_allowed)
		return MR_TURN_ITERATE;
	if (input->postcopy_asked && fits && (postcopy_first || !small))
		return MR_TURN_POSTCOPY;
	return small ? MR_TURN_COMPLETE : MR_TURN_ITERATE;
}
