/* interop_state.h: what one migration between a real QEMU and an end of ours has at hand. */
#ifndef MR_HOST_INTEROP_STATE_H
#define MR_HOST_INTEROP_STATE_H

#include "sim/host/interop.h"
#include "sim/host/program.h"
#include "sim/host/qemu.h"

enum {
	MR_INTEROP_PATH = 108,
	MR_INTEROP_LOOK = 20 * 1000 * 1000, /* ns between two looks */
	MR_INTEROP_MULTIFD_CHANNELS = 2,
	MR_INTEROP_POSTCOPY_BANDWIDTH = 4 << 20, /* bytes a second, so that there is time to ask for pages */
};

struct mr_interop {
	const struct mr_interop_options *options;
	struct mr_interop_result *result;
	char image[MR_INTEROP_PATH], socket[MR_INTEROP_PATH], memory[MR_INTEROP_PATH];
	struct mr_qemu *qemu;
	struct mr_program *program;
	json_t *answer; /* what the program told in the end */
	uint64_t deadline;
	bool guest_ran; /* at the source, while it was migrated */
};

/* Each of what follows is false once the migration cannot hold any more; the result says why then. */

bool mr_interop_fail(struct mr_interop *interop, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Whether there is time left. */
bool mr_interop_has_time(struct mr_interop *interop, const char *what);
/* Whether the QEMU is one that loses writes in precopy. */
bool mr_interop_loses_writes(const struct mr_interop *interop);

/* Bytes a second that the source may send. */
uint64_t mr_interop_bandwidth(const struct mr_interop_mode *mode);

/* ---- interop_qemu.c ---- */

/* Writes the guest's image, and starts the QEMU with capabilities and parameters set; SKIPPED if it has them not. */
bool mr_interop_start_qemu(struct mr_interop *interop);
/* Executes a command without an answer. */
bool mr_interop_ask(struct mr_interop *interop, const char *command, json_t *arguments);
/* What query-migrate says; "none" if nothing. `reason`, if wanted, is why it failed. */
bool mr_interop_status(struct mr_interop *interop, char status[40], char reason[200]);
/* Until the guest in QEMU's memory has touched more than `touches` pages; `*now`, if wanted: how many. */
bool mr_interop_wait_for_guest(struct mr_interop *interop, uint64_t touches, uint64_t *now);

/* ---- interop_judge.c ---- */

/* RECEIVE: the received memory against that of the source, which has stopped. */
bool mr_interop_judge_received(struct mr_interop *interop);
/* SEND: the guest runs on in QEMU, and its memory is what its touches make of it. */
bool mr_interop_judge_sent(struct mr_interop *interop);

#endif
