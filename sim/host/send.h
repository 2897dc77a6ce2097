/*
 * send.h: the source of a live migration into a real QEMU, or into whoever reads as one: the machine of a recording is
 * migrated by one thread with one loop, as fast as the destination takes it.
 */
#ifndef MR_HOST_SEND_H
#define MR_HOST_SEND_H

#include "ref/outgoing.h"
#include "sim/host/address.h"
#include "sim/host/pretend_guest.h"
#include "sim/host/send_machine.h"
#include "sim/record/recording.h"
#include "sim/world/watch.h"

enum { MR_SEND_TEXT = 512 };

/* How far it is: told about ten times a second. */
struct mr_send_progress {
	uint64_t bytes;            /* that were sent */
	uint64_t remaining, total; /* bytes of RAM */
	uint64_t passes;
	enum mr_source_status status;
};

struct mr_send_options {
	struct mr_send_machine *machine;         /* that is configured, */
	const struct mr_outgoing_config *config; /* as this says; memory is set by the run */
	const struct mr_address *connect;
	const struct mr_address *recover; /* where a recovery goes on; NULL: the same */
	const struct mr_watch *watch;     /* who looks on; NULL: nobody */

	/* The guest that seems to run. */
	uint64_t seed;
	uint32_t stale, rewrites; /* as of struct mr_pretend_config */

	/* The switch to postcopy; UINT64_MAX: never. */
	uint64_t switch_after; /* ns behind the beginning */
	uint64_t switch_passes;
	uint64_t recover_after; /* ns behind a break, and between attempts */

	bool cuts; /* break all connections, once, before byte `cut_byte` of a direction */
	uint32_t cut_channel;
	bool cut_backward;
	uint64_t cut_byte;

	double time_limit; /* s in all */
	double idle;       /* s in which the destination neither takes nor sends anything that is due */

	void *argument;
	void (*progress)(void *argument, const struct mr_send_progress *progress); /* may be NULL */
};

enum mr_send_end {
	MR_SEND_COMPLETED,
	MR_SEND_FAILED, /* the migration */
	MR_SEND_TIME_LIMIT,
	MR_SEND_IDLE,
	MR_SEND_SIGNAL,
	MR_SEND_UNREACHABLE, /* no connection to begin with */
	MR_SEND_HOST,        /* this host refused something */
	MR_SEND_END_COUNT
};

/* "completed" */
const char *mr_send_end_name(enum mr_send_end end);

struct mr_send_channel {
	enum mr_role role;
	uint64_t forward, backward; /* bytes that were sent, that came */
};

struct mr_send_result {
	enum mr_send_end end;
	char reason[MR_SEND_TEXT]; /* one line, unless it is COMPLETED */
	enum mr_source_status status;
	struct mr_outgoing_statistics statistics;
	struct mr_send_channel channels[MR_RECORDING_CHANNELS_MAX];
	uint32_t channel_count;
	bool cut; /* it happened */
	uint64_t passes, recoveries, bytes;
	uint64_t total_time, setup_time; /* ns */
	uint64_t downtime;               /* ns from when the guest stopped until the destination had all to run it */
};

/* Runs to the end, whatever that is. SIGINT and SIGTERM end it. */
void mr_send_run(const struct mr_send_options *options, struct mr_send_result *result);

#endif
