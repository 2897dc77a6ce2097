/*
 * record_plan.h: what a recording of real QEMU is to be: both programs, their machine, guest, capabilities and
 * parameters, and what the operator does when. A preset fills a plan for one mode; everything in it may be set anew.
 */
#ifndef MR_HOST_RECORD_PLAN_H
#define MR_HOST_RECORD_PLAN_H

#include <jansson.h>

#include "sim/guest/settings.h"
#include "sim/host/qemu.h"

enum {
	MR_RECORDER_LINE = 600,       /* bytes of a line about what went wrong */
	MR_RECORDER_NEVER = -1,       /* of the operator's times */
	MR_RECORDER_MS_MAX = 3600000, /* of these */
};

/* Whether the source's guest is stopped before the migration begins. */
enum mr_recorder_stop {
	MR_RECORDER_STOP_IF_LOSSY, /* if this release loses writes of a running guest in precopy: under TCG before 9.0
				    */
	MR_RECORDER_STOP_ALWAYS,
	MR_RECORDER_STOP_NEVER,
};

struct mr_recorder_plan {
	const char *preset;                             /* its name */
	const char *since;                              /* first release that can do it; "": the settings tell */
	const char *source_binary, *destination_binary; /* as struct mr_qemu_options has them */
	const char *machine, *accel;                    /* the same */
	const char *const *source_arguments;            /* the same */
	const char *const *destination_arguments;       /* the same */
	uint64_t memory_mib;
	enum mr_qemu_backend backend;
	uint32_t vcpus;
	struct mr_guest_parameters guest;
	json_t *capabilities; /* object: name to true or false, at both ends */
	json_t *parameters;   /* object: name to value, at both ends */

	/* ms from the begin of the migration, or MR_RECORDER_NEVER */
	int64_t switch_ms; /* to postcopy */
	int64_t stop_ms;   /* of the source's guest, so that precopy comes to an end */
	/* ms */
	int64_t warm_up_ms; /* that the guest runs before the migration */
	int64_t recover_ms; /* from when both ends are paused */
	int64_t run_on_ms;  /* that the guest runs behind the migration */
	double time_limit;  /* s in all */

	enum mr_recorder_stop stop;
	bool destination_paused; /* its guest does not run until the migration has ended */
	bool to_file;            /* without a destination */
	bool by_tcp;             /* the source connects by TCP */

	bool cuts; /* all connections are cut, once */
	bool cut_since_switch;
	bool cut_backward;
	uint32_t cut_channel;
	uint64_t cut_byte; /* of this direction, from its begin, or since the destination has taken over in postcopy */
};

/* The plan of a preset, with every other thing as it is by default. False if none is so called. */
bool mr_recorder_plan_init(struct mr_recorder_plan *plan, const char *preset, char error[MR_RECORDER_LINE]);
void mr_recorder_plan_clear(struct mr_recorder_plan *plan);

/* "NAME", "NAME=on" or "NAME=off". False with one line: no release has this capability. */
bool mr_recorder_plan_capability(struct mr_recorder_plan *plan, const char *text, char error[MR_RECORDER_LINE]);
/* "NAME=VALUE". False with one line: not of this form, no release has the parameter, or not of its kind. */
bool mr_recorder_plan_parameter(struct mr_recorder_plan *plan, const char *text, char error[MR_RECORDER_LINE]);
/* "CHANNEL:DIRECTION:BYTE", with a + before the BYTE if it counts from when the destination has taken over in postcopy.
 */
bool mr_recorder_plan_cut(struct mr_recorder_plan *plan, const char *text, char error[MR_RECORDER_LINE]);

/* The releases that can do this, by what is known of capabilities and parameters. */
struct mr_recorder_releases {
	bool any;
	const char *since, *until; /* the first and the last; "" where that is an end of what is known */
};

struct mr_recorder_releases mr_recorder_plan_releases(const struct mr_recorder_plan *plan);

/* The presets in their order; false behind the last. Both strings live for ever. */
bool mr_recorder_preset(size_t index, const char **name, const char **text);

#endif
