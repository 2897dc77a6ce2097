/*
 * tapped.h: the recording that a tap writes: what crossed each connection, when, and nothing that a tap cannot know.
 *
 * The streams go to their files as they cross, or redacted; the manifest is written last, so that a directory without
 * one is no recording. After its first problem nothing more is recorded.
 */
#ifndef MR_RECORD_TAPPED_H
#define MR_RECORD_TAPPED_H

#include "sim/record/recording.h"

struct mr_tapped;

struct mr_tapped_options {
	const char *directory;                      /* new or empty */
	const char *capabilities;                   /* of QEMU, separated by commas; NULL: not told */
	const char *source_qemu, *destination_qemu; /* releases; NULL: not told */
	bool redact;
};

/* What has been recorded of a channel. */
struct mr_tapped_figures {
	enum mr_role role;
	uint64_t bytes[2]; /* forward, return */
};

/* Returns 0, or -1 with one line in `error`; strings of the options have to live as long as the recording. */
int mr_tapped_open(struct mr_tapped **result, const struct mr_tapped_options *options, char *error, size_t error_size);
/*
 * A connection was made: the channel's number, from 0 in this order, below MR_RECORDING_CHANNELS_MAX, which the caller
 * sees to. Times are ns of one clock, from any begin.
 */
uint32_t mr_tapped_connection(struct mr_tapped *tapped, uint64_t time);
/* Bytes crossed. */
void mr_tapped_bytes(struct mr_tapped *tapped, uint32_t channel, bool backward, uint64_t time, struct mr_bytes bytes);
/* A direction has ended; no byte of it follows. */
void mr_tapped_end(struct mr_tapped *tapped, uint32_t channel, bool backward, uint64_t time);
/* The tap itself ended all connections that there are. */
void mr_tapped_cut(struct mr_tapped *tapped, uint64_t time);
/* What went wrong, as one line; empty: nothing yet. */
const char *mr_tapped_problem(const struct mr_tapped *tapped);
/* Of a channel below the number that there are; NULL behind. Roles are certain once all directions have ended. */
const struct mr_tapped_figures *mr_tapped_figures(const struct mr_tapped *tapped, uint32_t channel);
/*
 * What somebody knows beside the tap: members of the manifest, taken over, instead of the tap's own of the same name. A
 * recording of which something is told is made also without connections.
 */
void mr_tapped_tell(struct mr_tapped *tapped, json_t *members);
/* The recording's directory, open, for further files of it. */
int mr_tapped_folder(const struct mr_tapped *tapped);
/*
 * Ends the recording, which stays until mr_tapped_free(). Every direction has ended. Without connections no directory
 * is left behind. Whether a manifest was written: not if a file could not be.
 */
bool mr_tapped_finish(struct mr_tapped *tapped);
void mr_tapped_free(struct mr_tapped *tapped);

#endif
