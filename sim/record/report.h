/* report.h: the figures of a recorded migration, collected once, for one page about it. */
#ifndef MR_RECORD_REPORT_H
#define MR_RECORD_REPORT_H

#include "sim/record/judge.h"
#include "sim/record/replay.h"

enum {
	MR_REPORT_FRAMES = 12,         /* moments of the page map */
	MR_REPORT_BINS = 160,          /* of each lane */
	MR_REPORT_CELLS_MAX = 2200,    /* of the page map */
	MR_REPORT_MAP_BLOCKS_MAX = 24, /* that the page map shows; the largest ones */
	MR_REPORT_MARKS_MAX = 64,
	MR_REPORT_CHANGES_MAX = 256,
	MR_REPORT_NOTES_MAX = 16,
	MR_REPORT_REQUESTS_MAX = 1 << 20, /* kept; more are counted only */
	MR_REPORT_BUCKETS = 24,           /* of latencies: the first ends before 2 us, each next one is twice as wide */
	MR_REPORT_TEXT = 512,
};

#define MR_REPORT_NEVER UINT64_MAX

/* What a page record was. */
enum mr_report_kind {
	MR_REPORT_NORMAL,
	MR_REPORT_ZERO,
	MR_REPORT_XBZRLE,
	MR_REPORT_COMPRESSED,
	MR_REPORT_MULTIFD,
	MR_REPORT_MULTIFD_ZERO,
	MR_REPORT_MAPPED,
	MR_REPORT_MAPPED_ZERO,
	MR_REPORT_KIND_COUNT
};

enum mr_report_phase { MR_REPORT_PRECOPY, MR_REPORT_BACKGROUND, MR_REPORT_REQUESTED, MR_REPORT_PHASE_COUNT };

/* How a page came last; a cell of several pages shows the greatest. */
enum mr_report_arrival {
	MR_ARRIVAL_NEVER,
	MR_ARRIVAL_ZERO,
	MR_ARRIVAL_PRECOPY,
	MR_ARRIVAL_BACKGROUND,
	MR_ARRIVAL_DISCARDED, /* it came, was thrown away, and has to come again */
	MR_ARRIVAL_REQUESTED,
	MR_ARRIVAL_COUNT
};

/*
 * Where something happened: nanoseconds from the report's origin, or without any clock millionths of all bytes; see
 * `timed`.
 */
typedef uint64_t mr_position;

/* One direction of one connection. */
struct mr_report_lane {
	char name[16];
	enum mr_role role;
	uint64_t bytes;
	uint64_t bins[MR_REPORT_BINS]; /* bytes in each */
};

enum mr_report_band { MR_BAND_SOURCE, MR_BAND_DESTINATION, MR_BAND_POSTCOPY, MR_BAND_COUNT };

/* A status that begins. */
struct mr_report_change {
	enum mr_report_band band;
	mr_position at;
	char name[28];
};

enum mr_report_mark_kind { MR_MARK_COMMAND, MR_MARK_OPEN, MR_MARK_CUT };

struct mr_report_mark {
	enum mr_report_mark_kind kind;
	mr_position at;
	unsigned channel;
	uint64_t count; /* equal ones that follow each other */
	size_t order;   /* in which they came, where the moment is the same */
	char text[40];
};

enum mr_report_outcome {
	MR_OUTCOME_ADDED,
	MR_OUTCOME_REPEATED,
	MR_OUTCOME_DROPPED,
	MR_OUTCOME_SENT, /* a message of the return path, of which no trace tells more */
};

struct mr_report_request {
	uint32_t block;
	uint64_t offset, length; /* bytes */
	uint64_t thread;         /* 0: not told */
	mr_position at;
	uint64_t latency; /* nanoseconds to the placement; MR_REPORT_NEVER: none followed, or no clock */
	enum mr_report_outcome outcome;
};

struct mr_report_requests {
	struct mr_report_request *items;
	size_t count, capacity;
	uint64_t total; /* those without a place here included */
};

/* A block of the page map: cells of `pages_per_cell` pages. */
struct mr_report_map_block {
	uint32_t block;
	uint64_t pages;
	uint32_t first_cell, cells;
};

struct mr_report_map {
	uint64_t pages_per_cell; /* 0: there is no map */
	uint32_t cell_count, block_count;
	uint64_t hidden_blocks, hidden_bytes;
	struct mr_report_map_block blocks[MR_REPORT_MAP_BLOCKS_MAX];
	mr_position moments[MR_REPORT_FRAMES];
	uint8_t cells[MR_REPORT_FRAMES][MR_REPORT_CELLS_MAX]; /* enum mr_report_arrival */
	uint64_t counts[MR_REPORT_FRAMES][MR_ARRIVAL_COUNT];  /* pages */
};

struct mr_report_block {
	char name[MR_NAME_MAX + 1];
	uint64_t used_length, page_size; /* bytes */
};

struct mr_report {
	char name[256];
	struct mr_recording *recording; /* of its manifest: the report's own */
	uint32_t page_size;             /* of the target, bytes */
	uint32_t block_count;
	struct mr_report_block *blocks;

	bool mapped;        /* a mapped-ram file, which is no stream: nothing in it has a time */
	bool timed;         /* positions are nanoseconds */
	bool has_timeline;  /* those of bytes, too; else they are millionths in any case */
	mr_position length; /* of everything */

	struct mr_report_lane *lanes;
	size_t lane_count;
	struct mr_report_change changes[MR_REPORT_CHANGES_MAX];
	size_t change_count;
	bool changes_from_trace[MR_BAND_COUNT];
	struct mr_report_mark marks[MR_REPORT_MARKS_MAX];
	size_t mark_count;
	uint64_t hidden_marks; /* that found no place */
	uint64_t cuts, connections;

	uint64_t pages[MR_REPORT_KIND_COUNT][MR_REPORT_PHASE_COUNT];
	uint64_t discards; /* pages */
	struct mr_report_map *map;

	struct mr_report_requests sent;   /* by the return paths */
	struct mr_report_requests traced; /* faults, by the destination's trace */
	bool has_faults;                  /* the trace could be read */

	struct mr_judgement judgement;
	struct mr_replay replay;
	bool judged, replayed;
	char replay_error[MR_REPORT_TEXT];

	char missing[MR_REPORT_NOTES_MAX][MR_REPORT_TEXT]; /* what could not be told, for lack of which file */
	size_t missing_count;
	char errors[MR_REPORT_NOTES_MAX][MR_REPORT_TEXT]; /* what is cut, malformed or cannot be read */
	size_t error_count;
	bool well; /* no error, a verdict that is not invalid, and the replay holds */
};

/*
 * Reads the recording in `path` several times over. What is wrong inside of it is part of the report. Returns 0, or -1
 * with one line in `error` if it cannot be opened, or memory is short.
 */
int mr_report_collect(struct mr_report *report, const char *path, char *error, size_t error_size);
void mr_report_clear(struct mr_report *report);
/* The requests that latencies are known best of: the trace's, else the return paths'. */
const struct mr_report_requests *mr_report_best(const struct mr_report *report);

#endif
