/* judge.h: a stream or recording judged as a whole: every finding of decoders and checker, and the verdict. */
#ifndef MR_RECORD_JUDGE_H
#define MR_RECORD_JUDGE_H

#include "sim/record/migration.h"

enum { MR_FINDINGS_MAX = 1 << 20 }; /* kept; more are counted only */

struct mr_judgement {
	enum mr_verdict verdict; /* the worst finding's */
	size_t count;            /* findings */
	size_t rule_count;       /* different rules among them */
	size_t kept, capacity;
	struct mr_finding *findings;
	bool lone; /* a stream, whose channel's name is: */
	char name[16];
	bool broken[MR_RULE_COUNT];
};

/*
 * Reads all channels of `path` to their ends. Where a recording says that a connection was cut, the end within a record
 * is acceptable. Returns 0, or -1 with one line in `error` if the input cannot be read. `quiet`: no progress bar.
 */
int mr_judge(struct mr_judgement *judgement, const char *path, const struct mr_stream_options *options, bool quiet,
	     char *error, size_t error_size);
void mr_judgement_clear(struct mr_judgement *judgement);
/* Name of the channel that a finding is about; valid until the next call. */
const char *mr_judgement_channel(struct mr_judgement const *judgement, const struct mr_finding *finding);

#endif
