/* A recording directory: its manifest, the channels and other files in it, and its timeline. */
#ifndef MR_RECORD_RECORDING_H
#define MR_RECORD_RECORDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "ref/migref.h"
#include "sim/record/input.h"

#define MR_RECORDING_FORMAT              1
#define MR_RECORDING_CHANNELS_MAX        300
#define MR_RECORDING_CAPABILITIES_MAX    256
#define MR_RECORDING_MANIFEST_MAX        ((size_t)16 << 20) /* bytes */
#define MR_RECORDING_TIMELINE_LINE_MAX   ((size_t)64 << 10) /* bytes */
#define MR_RECORDING_TIMELINE_EVENTS_MAX ((size_t)10000000)

enum { MR_RECORDING_DIGEST_SIZE = 32 }; /* bytes of a SHA-256 */

/* What a manifest says of the bytes of one direction. */
struct mr_recording_wire {
	bool told;
	uint64_t bytes;
	uint8_t sha256[MR_RECORDING_DIGEST_SIZE];
};

/* One connection. An absent direction means that no byte went that way. */
struct mr_recording_channel {
	bool has_forward; /* chN.fwd: source to destination */
	bool has_return;  /* chN.ret: destination to source */
	/* what only some producers tell */
	bool role_told;
	enum mr_role role; /* of the forward direction */
	struct mr_recording_wire forward, backward;
};

/* All strings belong to the manifest and live as long as the recording. */
struct mr_recording {
	char *directory;
	json_t *manifest;

	const char *source_qemu; /* release, such as "7.2.22" */
	const char *destination_qemu;
	const char *machine;            /* machine type; NULL if not told */
	const char *accel;              /* NULL if not told */
	const char *backend;            /* of the RAM: "file", "anon", "hugetlb"; NULL if not told */
	uint64_t memory_mib;            /* 0 if not told */
	uint64_t host_page_size;        /* bytes; 0 if not told */
	uint64_t target_page_size;      /* bytes; 0 if not told: as the stream says */
	const char *status;             /* how the migration ended, as the recorder judged it */
	const char *source_status;      /* query-migrate at the end; NULL if not told */
	const char *destination_status; /* the same of the destination; NULL if not told */
	const char **capabilities;      /* those switched on */
	size_t capability_count;
	json_t *parameters; /* object, part of the manifest; NULL if there are none */

	struct mr_recording_channel channels[MR_RECORDING_CHANNELS_MAX];
	unsigned int channel_count;

	bool has_source_ram;
	bool has_source_pmem;
	bool has_source_trace;
	bool has_destination_trace;
	bool has_timeline;
	bool has_mapped;      /* state.mapped: a mapped-ram file instead of channels */
	bool has_log;         /* nondeterminism.jsonl: of the destination */
	bool has_source_log;  /* source-nondeterminism.jsonl */
	bool has_actions;     /* actions.jsonl: of the destination */
	bool has_description; /* description.json: of the source's devices */
};

/*
 * Reads the manifest of the recording in directory and looks which files are there.
 *
 * Returns 0 and a recording that the caller closes, or -1 with one line (file, expected, found) in
 * error: not a directory, no manifest, not JSON, another format, a key that is missing or of a
 * wrong type, a gap in the numbers of the channels. Keys it does not know are ignored.
 */
int mr_recording_open(struct mr_recording **result, const char *directory, char *error, size_t error_size);

/*
 * Reads a manifest alone, as the context of a stream that lies elsewhere: a recording without files. Returns
 * 0, or -1 with one line in error.
 */
int mr_recording_open_manifest(struct mr_recording **result, const char *path, char *error, size_t error_size);

/* Releases the recording and every string got from it. NULL is allowed. */
void mr_recording_close(struct mr_recording *recording);

/* Opens the file name ("ch0.fwd", "source.ram") of the recording, compressed or not. */
int mr_recording_open_file(const struct mr_recording *recording, const char *name, struct mr_input **result,
			   char *error, size_t error_size);

/* Whether source.ram holds the block of this name: the guest's main memory, which all PC types list under one of few.
 */
bool mr_recording_is_main_memory(const char *block);

/* Whether the capability, by QEMU's name ("postcopy-ram"), was on. */
bool mr_recording_has_capability(const struct mr_recording *recording, const char *name);

/* The migration parameter by QEMU's name, or fallback if it is not there or not of that type. */
int64_t mr_recording_parameter_integer(const struct mr_recording *recording, const char *name, int64_t fallback);
const char *mr_recording_parameter_string(const struct mr_recording *recording, const char *name, const char *fallback);

enum mr_timeline_kind {
	MR_TIMELINE_CHUNK, /* bytes offset..offset+length of a direction crossed the tap */
	MR_TIMELINE_OPEN,  /* the channel was connected; no direction */
	MR_TIMELINE_EOF,   /* the direction ended */
	MR_TIMELINE_CUT,   /* the tap cut all channels; no direction */
};

enum mr_timeline_direction {
	MR_TIMELINE_NO_DIRECTION,
	MR_TIMELINE_FORWARD,
	MR_TIMELINE_RETURN,
};

struct mr_timeline_event {
	uint64_t t_ns; /* the recorder's monotonic clock, nanoseconds */
	uint64_t offset;
	uint64_t length;
	int channel; /* 0 to MR_RECORDING_CHANNELS_MAX - 1, or -1 where the event is of all channels */
	enum mr_timeline_kind kind;
	enum mr_timeline_direction direction;
};

struct mr_timeline {
	struct mr_timeline_event *events;
	size_t count;
};

/*
 * Reads timeline.jsonl in the order of its lines; without that file the timeline is empty. Returns
 * 0, or -1 with one line (file, line, expected, found) in error. The caller clears the timeline.
 */
int mr_recording_read_timeline(const struct mr_recording *recording, struct mr_timeline *timeline, char *error,
			       size_t error_size);

/* Releases the events; the timeline is empty then. */
void mr_timeline_clear(struct mr_timeline *timeline);

#endif
