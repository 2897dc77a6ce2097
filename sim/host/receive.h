/*
 * receive.h: the destination of a live migration whose source is a real QEMU, or whoever speaks like one.
 *
 * One thread and one loop for all actors of the machine; only the vCPUs that touch memory are threads of their own, as
 * they have to wait for pages. RAM blocks are learned from the stream, which is read ahead until it has listed them.
 */
#ifndef MR_HOST_RECEIVE_H
#define MR_HOST_RECEIVE_H

#include "ref/incoming.h"
#include "sim/host/address.h"
#include "sim/host/memory.h"
#include "sim/host/readers.h"
#include "sim/record/recording.h"
#include "sim/world/scenario.h"

enum { MR_RECEIVE_TEXT = 512 };

/* How far it is: told about every 100 ms. */
struct mr_receive_progress {
	uint64_t bytes; /* that came */
	uint64_t pages; /* that are there */
	uint64_t total; /* pages of all blocks; 0: not known yet */
	enum mr_status status;
};

struct mr_receive_options {
	struct mr_address listen;

	/* What the stream does not tell before it has to be known. */
	uint32_t capabilities;     /* enum mr_capability; postcopy-ram and return-path are learned */
	uint32_t multifd_channels; /* with multifd */
	uint32_t multifd_method;   /* flag; MR_METHOD_UNKNOWN: any */
	const char *source_qemu;   /* release; NULL: unknown, and whatever any release sends is taken */
	const char *as;            /* release whose behaviour it has; NULL: the source's, else the newest */
	bool strict;
	const struct mr_description *description; /* of a machine like the source's; NULL: none */

	/* Memory and vCPUs. */
	bool simulated;                     /* faults are the vCPUs' own, the kernel catches none */
	enum mr_host_kind ordinary;         /* else: of what the blocks of ordinary pages are */
	uint64_t memory_max;                /* bytes of all blocks; more are refused */
	const struct mr_scenario *scenario; /* its workloads and seed; NULL: `vcpus` that read at random */
	uint32_t vcpus;
	uint64_t touches; /* of each vCPU; 0: until all pages have come */

	const char *directory; /* the recording; NULL: none */
	const char *ram;       /* file or directory for the memory; NULL: none */

	bool cuts; /* break all connections, once, before byte `cut_byte` of a direction */
	uint32_t cut_channel;
	bool cut_backward;
	uint64_t cut_byte;

	double time_limit; /* s */
	double idle;       /* s without a byte while the migration is not paused */

	/* Any may be NULL. */
	void *argument;
	void (*listening)(void *argument, const char *address);
	void (*complain)(void *argument, const char *line);
	void (*progress)(void *argument, const struct mr_receive_progress *progress);
};

enum mr_receive_end {
	MR_RECEIVE_COMPLETED,
	MR_RECEIVE_FAILED, /* the migration: `finding` says why, if it has a rule */
	MR_RECEIVE_TIME_LIMIT,
	MR_RECEIVE_IDLE,
	MR_RECEIVE_SIGNAL,
	MR_RECEIVE_HOST, /* this host refused something */
};

const char *mr_receive_end_name(enum mr_receive_end end);

struct mr_receive_channel {
	enum mr_role role;
	uint64_t forward, backward; /* bytes */
};

struct mr_receive_block {
	char name[MR_NAME_MAX + 1];
	uint64_t size, page_size; /* bytes */
};

struct mr_receive_result {
	enum mr_receive_end end;
	char reason[MR_RECEIVE_TEXT]; /* one line, unless it is COMPLETED */
	struct mr_finding finding;    /* its rule is MR_NO_RULE if nothing is known */
	enum mr_status status;
	enum mr_postcopy_state state;
	uint32_t capabilities; /* told and learned */
	char machine[MR_MACHINE_NAME_MAX + 1];
	const char *memory; /* "uffd", "uffd-shared", "simulated" */
	bool cut;           /* --cut happened */
	bool written;       /* the recording is whole */

	struct mr_receive_channel channels[MR_RECORDING_CHANNELS_MAX];
	uint32_t channel_count;
	struct mr_receive_block *blocks; /* mr_receive_clear() */
	uint32_t block_count;

	uint64_t time;          /* ns from the first connection to the end */
	uint64_t pages_precopy; /* records and pages of packets, in target pages, as the next two */
	uint64_t pages_placed, pages_discarded;
	/* One page may be asked for more than once; that what is asked for is there already makes no request. */
	uint64_t faults, requests_sent, pages_requested, pages_answered, requests_dropped, recoveries;
	struct mr_readers_figures readers;
	uint32_t vcpus;
};

/* Runs to the end, whatever that is. */
void mr_receive_run(const struct mr_receive_options *options, struct mr_receive_result *result);
/*
 * The same with connections that were accepted by somebody else, in their order, instead of a listener: for tests. The
 * sockets are closed in the end.
 */
void mr_receive_run_with(const struct mr_receive_options *options, const int *sockets, size_t count,
			 struct mr_receive_result *result);
void mr_receive_clear(struct mr_receive_result *result);

#endif
