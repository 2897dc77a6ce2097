/*
 * live_board.h: what the processes of one migration know of each other beside their connections: as much as a
 * management tool would learn by asking both ends. Lies in memory that they share.
 */
#ifndef MR_HOST_LIVE_BOARD_H
#define MR_HOST_LIVE_BOARD_H

#include "sim/host/live_guest.h"

#include "ref/incoming.h"
#include "ref/outgoing.h"

#include <stdatomic.h>

/* How an end's process ended, as far as it could say so itself. */
enum mr_end {
	MR_END_NONE,     /* not at all: it was killed */
	MR_END_GOOD,     /* the guest moved */
	MR_END_RETURNED, /* the migration failed before the guest moved: it goes on at the source, nothing is lost */
	MR_END_STRANDED, /* it waits for the other, which has failed, or failed while the other waits: as releases do
			    when a connection breaks at that moment, and the guest is lost */
	MR_END_FAILED,
};

struct mr_live_board {
	uint64_t started;                                   /* mr_clock() */
	_Atomic uint32_t source_status;                     /* enum mr_source_status */
	_Atomic uint32_t destination_status;                /* enum mr_status */
	_Atomic uint32_t source_gone, destination_gone;     /* its process has ended by itself or was killed */
	_Atomic uint32_t destination_ready;                 /* it listens */
	_Atomic uint32_t destination_written;               /* its part of the recording is there */
	_Atomic uint32_t give_up;                           /* the time is up, or the other end failed */
	_Atomic uint64_t stopped_at, moved_at, finished_at; /* mr_clock() of the guest's stop and start, of the end */

	/* What each end tells when it ends; read when its process is gone. */
	enum mr_end source_end, destination_end;
	char source_reason[256], destination_reason[256];
	struct mr_outgoing_statistics statistics;
	struct mr_live_guest_figures figures;
	struct mr_blocktime blocktime;
	bool has_blocktime;
	uint64_t setup_time, passes, recoveries, requests, forward_bytes, return_bytes;
	uint64_t pages_placed, pages_discarded, pages_loaded;
	uint64_t source_touches[MR_SCENARIO_VCPUS_MAX], destination_touches[MR_SCENARIO_VCPUS_MAX];
	bool source_guest_runs; /* although the migration ended */
	uint64_t client_faults, client_touches, client_checked;
	char dirty_method[32];
};

#endif
