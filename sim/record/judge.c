/* judge.c: a stream or recording judged as a whole: every finding of decoders and checker, and the verdict. */
#include "sim/record/judge.h"
#include "sim/record/progress.h"
#include "sim/record/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void keep(struct mr_judgement *judgement, const struct mr_finding *finding)
{
	if (judgement->kept == judgement->capacity && judgement->capacity < MR_FINDINGS_MAX) {
		const size_t capacity = judgement->capacity ? 2 * judgement->capacity : 64;
		struct mr_finding *larger = realloc(judgement->findings, capacity * sizeof(*larger));

		if (!larger)
			return;
		judgement->findings = larger;
		judgement->capacity = capacity;
	}
	if (judgement->kept < judgement->capacity)
		judgement->findings[judgement->kept++] = *finding;
}

static void take_finding(void *argument, const struct mr_finding *finding)
{
	struct mr_judgement *judgement = argument;

	judgement->count++;
	judgement->rule_count += !judgement->broken[finding->rule];
	judgement->broken[finding->rule] = true;
	if (finding->verdict > judgement->verdict)
		judgement->verdict = finding->verdict;
	keep(judgement, finding);
}

struct judge {
	struct mr_judgement *judgement;
	struct mr_migration *migration;
	bool cut_allowed; /* for the channel that is being read */
};

static void report(void *argument, const struct mr_finding *finding)
{
	struct judge *judge = argument;
	struct mr_finding milder = *finding;

	if (finding->rule == MR_STR_026 && judge->cut_allowed)
		milder.verdict = MR_ACCEPTABLE;
	take_finding(judge->judgement, &milder);
}

/*
 * The channel that the next record will come from is known only afterwards; the end of a main channel is what matters.
 */
static void allow_cuts(struct judge *judge)
{
	const struct mr_migration *migration = judge->migration;
	bool recovery = false;

	for (size_t i = 0; i < migration->channel_count; i++)
		recovery |= migration->channels[i].role == MR_ROLE_RECOVERY;
	judge->cut_allowed = !migration->lone && (recovery || !migration->finished);
}

static int read_all(struct judge *judge, struct mr_checker *checker, struct mr_progress *progress, char *error,
		    size_t error_size)
{
	for (;;) {
		struct mr_channel *channel;
		struct mr_record record;
		const uint8_t *wire;
		const enum mr_result result = mr_migration_next(judge->migration, &channel, &record, &wire);
		uint64_t bytes;

		if (!channel)
			return 0;
		if (result == MR_RECORD) {
			mr_checker_record(checker, channel->decoder, &record);
			if (channel->records % 1024 == 0)
				mr_progress_update(progress, mr_migration_fraction(judge->migration, &bytes), bytes);
			continue;
		}
		if (result == MR_MORE) {
			snprintf(error, error_size, "%s", mr_input_error(channel->input));
			return -1;
		}
		mr_checker_channel_end(checker, channel->decoder, mr_channel_is_cut(channel));
	}
}

static int by_place(const void *left, const void *right)
{
	const struct mr_finding *a = left, *b = right;

	if (a->channel != b->channel)
		return a->channel < b->channel ? -1 : 1;
	if (a->backward != b->backward)
		return a->backward ? 1 : -1;
	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	return (int)a->rule - (int)b->rule;
}

int mr_judge(struct mr_judgement *judgement, const char *path, const struct mr_stream_options *options, bool quiet,
	     char *error, size_t error_size)
{
	struct judge judge = {.judgement = judgement};
	struct mr_progress progress;
	struct mr_checker *checker;
	int status;

	memset(judgement, 0, sizeof(*judgement));
	if (mr_migration_open(&judge.migration, path, options, report, &judge, error, error_size) < 0)
		return -1;
	judgement->lone = judge.migration->channel_count == 1;
	if (judge.migration->channel_count)
		memcpy(judgement->name, judge.migration->channels[0].name, sizeof(judgement->name));
	allow_cuts(&judge);
	if (judge.migration->recording && !judge.migration->lone)
		mr_settings_check(judge.migration->recording, report, &judge);
	checker = mr_checker_new(judge.migration->session);
	if (!checker) {
		snprintf(error, error_size, "%s: no memory for a checker", path);
		mr_migration_close(judge.migration);
		return -1;
	}
	mr_progress_start(&progress, "check", quiet);
	status = read_all(&judge, checker, &progress, error, error_size);
	if (status == 0)
		mr_checker_finish(checker);
	mr_progress_end(&progress);
	mr_checker_free(checker);
	mr_migration_close(judge.migration);
	if (status < 0)
		mr_judgement_clear(judgement);
	else if (judgement->kept)
		qsort(judgement->findings, judgement->kept, sizeof(*judgement->findings), by_place);
	return status;
}

void mr_judgement_clear(struct mr_judgement *judgement)
{
	free(judgement->findings);
	memset(judgement, 0, sizeof(*judgement));
}

const char *mr_judgement_channel(const struct mr_judgement *judgement, const struct mr_finding *finding)
{
	static char name[32];

	if (finding->channel == MR_SETTINGS_CHANNEL)
		return "manifest.json";
	if (judgement->lone)
		return judgement->name;
	snprintf(name, sizeof(name), "ch%u.%s", (unsigned)finding->channel, finding->backward ? "ret" : "fwd");
	return name;
}
