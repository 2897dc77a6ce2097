/*
 * migration.h: all channels of a migration, pulled record by record in an order in which a destination may take them.
 */
#ifndef MR_RECORD_MIGRATION_H
#define MR_RECORD_MIGRATION_H

#include "sim/record/channel.h"
#include "sim/record/container.h"
#include "sim/record/recording.h"

/* What the user said about a stream on the command line; zero for nothing. */
struct mr_stream_options {
	bool role_given;
	enum mr_role role;         /* of a lone stream */
	const char *release;       /* profile of the source, "7.2"; NULL if not given */
	const char *manifest;      /* file with the context, NULL: the manifest beside the stream, if there is one */
	uint32_t target_page_size; /* bytes; 0 if not given */
	uint32_t capabilities;     /* enum mr_capability, added to what is known otherwise */
	bool capabilities_given;
	/* of another stream of the same machine, NULL if not given; the caller's */
	const struct mr_description *description;
};

struct mr_migration {
	struct mr_recording *recording; /* NULL for a lone stream without a manifest beside it */
	bool lone;                      /* a stream, not a recording */
	struct mr_container *container; /* what the lone stream is wrapped in; NULL if it is not */
	struct mr_session *session;
	struct mr_channel *channels; /* forward ones by number, then return paths by number */
	size_t channel_count;
	bool finished; /* the manifest says that the migration ended well, or there is none */
	struct mr_description
		*description; /* of the source's devices, as the recording tells it; NULL if it does not */

	/* private: the order */
	size_t main;            /* channel being read */
	size_t barrier_channel; /* multifd channel that runs to its SYNC; channel_count: none does */
	bool flush_seen;        /* per-round barriers, where no profile tells */
	size_t drain;           /* next channel to read to its end */
};

/*
 * Opens a recording directory, or one stream: a file, "-", or one channel of a recording. `report` gets each finding of
 * decoders. Returns 0, or -1 with one line in `error`.
 */
int mr_migration_open(struct mr_migration **result, const char *path, const struct mr_stream_options *options,
		      mr_report_function *report, void *report_argument, char *error, size_t error_size);
void mr_migration_close(struct mr_migration *migration);
/*
 * The next record, its channel and its bytes. MR_RECORD; MR_DONE, MR_FAILED or MR_MORE (its input failed) when
 * `*channel` has ended; MR_DONE with `*channel` NULL when all have.
 *
 * Main channels come one after the other. At a barrier each multifd channel runs to its next SYNC; at the end of the
 * last main channel all others run to their ends, return paths last.
 */
enum mr_result mr_migration_next(struct mr_migration *migration, struct mr_channel **channel, struct mr_record *record,
				 const uint8_t **wire);
/* Progress of all inputs together, 0 to 1, or -1; and bytes decoded so far. */
double mr_migration_fraction(const struct mr_migration *migration, uint64_t *bytes);
/* True if a main channel goes on after this one, so that this one may end anywhere. */
bool mr_migration_continues(const struct mr_migration *migration, const struct mr_channel *channel);

#endif
