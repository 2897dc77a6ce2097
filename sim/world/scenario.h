/*
 * scenario.h: what happens in a simulated migration: guest, workload, link, migration, faults; read from an INI file,
 * drawn from a seed, written as an INI file. migref-scenario(5) documents each key.
 */
#ifndef MR_WORLD_SCENARIO_H
#define MR_WORLD_SCENARIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "ref/migref.h"
#include "ref/outgoing.h"
#include "sim/world/content.h"
#include "sim/world/pattern.h"

enum {
	MR_SCENARIO_BLOCKS_MAX = 16,
	MR_SCENARIO_VCPUS_MAX = 256,
	MR_SCENARIO_WORKLOADS_MAX = 16,
	MR_SCENARIO_FAULTS_MAX = 32,
	MR_SCENARIO_OPERATIONS_MAX = 32,
	MR_SCENARIO_DEVICES_MAX = 16,
	MR_SCENARIO_CONNECTIONS_MAX = 300, /* of one run, those after cuts included */
	MR_SCENARIO_NAME_MAX = 40,         /* characters of what stands behind [block, [workload, [fault, [operator */
};

/* [block NAME]. This and other names: printable ASCII without blank, ] and ;. */
struct mr_scenario_block {
	char name[MR_NAME_MAX + 1]; /* at most MR_SCENARIO_NAME_MAX of it */
	uint64_t size;              /* bytes, a multiple of page_size */
	uint64_t page_size;         /* of its host pages: a power of two, at least the target page */
};

/* [workload NAME] */
struct mr_scenario_workload {
	char name[64];
	uint32_t first_vcpu, vcpu_count; /* those that run it; a vCPU without a workload is idle */
	uint32_t block;
	struct mr_pattern_config pattern;
	uint64_t interval;    /* ns from touch to touch, at least 1 */
	char trace_file[256]; /* TRACE: as in the file; lines of "PAGE r|w [PAUSES]" */
};

enum mr_fault_kind {
	MR_FAULT_CUT,        /* the connection breaks: both ends see an error; what was on its way is lost */
	MR_FAULT_CUT_ALL,    /* every connection does */
	MR_FAULT_CLOSE,      /* it ends in order: what was on its way arrives */
	MR_FAULT_SLOW,       /* for `duration`, the connection has `percent` of the bandwidth */
	MR_FAULT_STALL,      /* for `duration`, nothing arrives on it in either direction */
	MR_FAULT_DELAY_OPEN, /* its set-up takes `duration` longer: the destination accepts it behind others */
	MR_FAULT_PLACE,      /* the destination's `count`-th placement fails with `error` (errno) */
	MR_FAULT_DISCARD,    /* the same of discards */
	MR_FAULT_DEVICE,     /* the same of loads of devices */
	MR_FAULT_MEMORY,     /* from `at` on, placements fail with ENOMEM while more than `count` pages are there */
	MR_FAULT_KIND_COUNT
};

enum mr_fault_trigger {
	MR_TRIGGER_TIME,   /* at `at` ns from the start */
	MR_TRIGGER_SWITCH, /* `at` ns after the guest runs at the destination */
	MR_TRIGGER_BYTES,  /* when byte number `at` of the connection's direction is about to be delivered */
	MR_TRIGGER_COUNT,  /* PLACE, DISCARD, DEVICE: the `count`-th, from 1 */
};

/* Which connection a fault is about. */
enum mr_fault_channel { MR_CHANNEL_MAIN, MR_CHANNEL_PREEMPT, MR_CHANNEL_MULTIFD };

/* [fault NAME] */
struct mr_scenario_fault {
	char name[64];
	enum mr_fault_kind kind;
	enum mr_fault_trigger trigger;
	uint64_t at;
	enum mr_fault_channel channel; /* the one of this role that was opened last */
	uint32_t multifd;              /* its number among the multifd channels */
	bool backward;                 /* BYTES: of the return path */
	uint64_t duration;             /* ns */
	uint32_t percent;              /* 1 to 99 */
	uint64_t count;
	int error;
};

enum mr_operation_kind {
	MR_OPERATION_START_POSTCOPY,
	MR_OPERATION_PAUSE,
	MR_OPERATION_RECOVER,
	MR_OPERATION_CANCEL,
	MR_OPERATION_STOP_GUEST, /* at the source, before the switch */
	MR_OPERATION_CONTINUE_GUEST,
	MR_OPERATION_KIND_COUNT
};

/* [operator NAME]: a command at a time; refused where it makes no sense, as real ones are. */
struct mr_scenario_operation {
	char name[64];
	enum mr_operation_kind kind;
	enum mr_fault_trigger trigger; /* TIME or SWITCH */
	uint64_t at;                   /* ns */
};

/* [link] */
struct mr_scenario_link {
	uint64_t bandwidth;      /* bytes a second, of all connections together, each direction; 1 to 2^40 */
	uint64_t latency;        /* ns, one way, at most 10 s */
	uint64_t jitter;         /* ns, at most so much is added to the latency; order within a connection stays */
	uint64_t send_buffer;    /* bytes that the sender's host takes before the sender has to wait */
	uint64_t receive_buffer; /* bytes that wait at the receiver before the link has to */
	uint64_t return_buffer;  /* bytes of the same, backward, of both hosts together */
	bool fair;               /* the link takes from all connections in turn; else in the order of sending */
	uint64_t quantum;        /* bytes of a turn, 1500 to 1 MiB */
};

/* [costs]: what a step takes, ns of the thread that does it. */
struct mr_scenario_costs {
	uint64_t zero_test; /* source: looking at a page */
	uint64_t send;      /* source: a page record, or each page of a packet */
	uint64_t record;    /* source: any other record */
	uint64_t copy;      /* either: each KiB of a page's contents that is moved */
	uint64_t load;      /* destination: taking a page record */
	uint64_t place;     /* destination: the system call of a placement */
	uint64_t discard;   /* destination: the system call of a discard */
	uint64_t fault;     /* destination: from a vCPU's access until the fault handler knows */
	uint64_t request;   /* destination: from there until the request is sent */
	uint64_t wake;      /* destination: from a placement until the vCPU goes on */
	uint64_t sync;      /* source: fetching the dirty log, for each GiB of memory */
	uint64_t device;    /* either: a device's section */
};

/* [migration] */
struct mr_scenario_migration {
	char source[16], destination[16]; /* releases: "11.1" */
	char machine[64];                 /* machine type; "": of the older release */
	uint32_t capabilities;            /* enum mr_capability */
	bool pause_before_switchover, release_ram, auto_converge;
	bool blocktime;    /* the capability postcopy-blocktime */
	bool strict;       /* the destination does right where QEMU's releases have a defect */
	bool start_paused; /* -S: the guest does not run at the destination */
	uint32_t multifd_channels;
	char method[16];  /* of multifd: "none", "zlib", "zstd" */
	int method_level; /* INT32_MIN: default */
	enum mr_zero_detection zero_detection;
	uint64_t max_bandwidth, max_postcopy_bandwidth,
		switchover_bandwidth; /* bytes a second, as mr_outgoing_config */
	uint64_t downtime_limit;      /* ms */
	uint64_t xbzrle_cache_size;   /* bytes */
	uint32_t throttle_initial, throttle_increment, throttle_maximum;

	/* when the operator asks for postcopy: whatever comes first */
	uint64_t switch_after;  /* ns; UINT64_MAX: never */
	uint64_t switch_passes; /* passes over all memory; UINT64_MAX: never */
	uint64_t
		switch_dirty; /* pages: once no more than so many are dirty, behind the first pass; UINT64_MAX: never */
	uint64_t recover_after;  /* ns from both ends' pause to the operator's recovery; UINT64_MAX: never */
	uint64_t continue_after; /* ns from pre-switchover to migrate-continue */
	uint64_t run_after;      /* ns that the guest goes on once the migration is over */
	uint64_t time_limit; /* ns: then faults end and the operator recovers; as long again, and the run has failed */
};

/* [choices]: of a thousand choices, so many are answered otherwise than canonically; each such answer is legal. */
struct mr_scenario_choices {
	uint32_t permille[MR_CHOICE_COUNT];
	uint32_t spurious_dirty; /* of a thousand fetches of the dirty log: pages that nobody wrote to come with it */
};

/* [guest] */
struct mr_scenario_guest {
	uint32_t vcpus;
	uint32_t target_page_size;                       /* bytes */
	uint32_t host_page_size;                         /* the ordinary one, bytes */
	uint32_t devices;                                /* sections of devices beside `ram` */
	uint32_t device_bytes;                           /* of each */
	uint32_t device_touches;                         /* guest pages that loading the devices touches */
	uint16_t shares[MR_CONTENT_CLASS_COUNT], filled; /* contents, as struct mr_content */
};

struct mr_scenario {
	char name[64]; /* [scenario] name; else of the file, without directory and suffix; "random" */
	uint64_t seed; /* of everything that is drawn */
	struct mr_scenario_guest guest;
	struct mr_scenario_block blocks[MR_SCENARIO_BLOCKS_MAX];
	uint32_t block_count;
	struct mr_scenario_workload workloads[MR_SCENARIO_WORKLOADS_MAX];
	uint32_t workload_count;
	struct mr_scenario_link link;
	struct mr_scenario_costs costs;
	struct mr_scenario_migration migration;
	struct mr_scenario_choices choices;
	struct mr_scenario_fault faults[MR_SCENARIO_FAULTS_MAX];
	uint32_t fault_count;
	struct mr_scenario_operation operations[MR_SCENARIO_OPERATIONS_MAX];
	uint32_t operation_count;
	struct mr_touch *traces[MR_SCENARIO_WORKLOADS_MAX]; /* owned; of workloads with a trace */
};

/* What a file without any key says: one idle vCPU, 16 MiB, precopy from 11.1 to 11.1, 10 Gbit/s, no faults. */
void mr_scenario_default(struct mr_scenario *scenario);
/*
 * Reads a scenario. Returns 0, or -1 with one line "FILE:LINE: expected ..., found ..." in `error`: a key or section
 * that is unknown or comes twice, a value that is impossible, a block that is not a multiple of its page, a workload
 * outside of its block, a combination that the releases refuse. A trace's lines are its own; of a file that cannot be
 * read there is no line. The caller clears the scenario; after -1 there is nothing to clear.
 */
int mr_scenario_read(struct mr_scenario *scenario, const char *path, char *error, size_t error_size);
/* The same rules for one that was made: 0, or -1 with one line "[SECTION]: expected ..., found ...". */
int mr_scenario_check(const struct mr_scenario *scenario, char *error, size_t error_size);
/* Writes a scenario that mr_scenario_read() reads as the same one; what is default is left out. -1 if writing fails. */
int mr_scenario_write(const struct mr_scenario *scenario, FILE *out);
/*
 * Draws a small migration from a seed: any mode, release, workload, link and set of faults that goes together. It
 * passes mr_scenario_check() always.
 */
void mr_scenario_random(struct mr_scenario *scenario, uint64_t seed);
/* Makes a scenario simpler in one respect: a fault less, a block smaller, a vCPU less, a choice canonical, ... Numbered
 * from 0; false behind the last. It may come out the same, or as one that mr_scenario_check() refuses. */
bool mr_scenario_simplify(struct mr_scenario *scenario, uint32_t number);
/* Sets keys that nothing goes by to their defaults, such as parameters of a capability that is off: each run stays what
 * it was. True if there was one. */
bool mr_scenario_tidy(struct mr_scenario *scenario);
/* Copies, with traces of its own. -1 if memory is short; there is nothing to clear then. */
int mr_scenario_copy(struct mr_scenario *to, const struct mr_scenario *from);
void mr_scenario_clear(struct mr_scenario *scenario);

/* The machine type of both ends: the scenario's, or the older release's, which decides on the properties of both. */
void mr_scenario_machine(const struct mr_scenario *scenario, char machine[64]);
/* What both ends are: their releases with the properties of the machine type, or of the older release's. */
void mr_scenario_profiles(const struct mr_scenario *scenario, struct mr_profile *source,
			  struct mr_profile *destination);

const char *mr_fault_kind_name(enum mr_fault_kind kind);         /* "cut", "cut-all", ... */
const char *mr_operation_kind_name(enum mr_operation_kind kind); /* "start-postcopy", ... */

#endif
