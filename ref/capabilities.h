/*
 * capabilities.h: which capabilities and parameters each release has, and which settings it refuses.
 *
 * A set of capabilities is a word with a bit for each, numbered as in ref/capability.def. A setting that a release
 * refuses is a finding with its rule (CAP-001 to CAP-008 of SPEC.md). Of a release that is not known nothing is
 * refused but what no release has.
 *
 * Contents: capabilities - parameters.
 */
#ifndef MR_CAPABILITIES_H
#define MR_CAPABILITIES_H

#include "migref.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Capabilities ------------------------------------------------------------------------------------------------ */

/* How many there are; they are numbered from 0. */
unsigned mr_capability_count(void);
/* By its name in QMP ("postcopy-ram"); NULL behind the last. */
const char *mr_capability_name(unsigned number);
/* The bit of a capability in a set; 0 if there is none of this name. */
uint64_t mr_capability_bit(const char *name);

/* What is switched on, with the parameters that capabilities depend on. */
struct mr_capability_settings {
	uint64_t on;
	const char *multifd_compression; /* by name; NULL: none */
	bool tls;
};

/*
 * Whether the release lets these be on together (CAP-001 to CAP-004). False: the first breach in the order of the
 * tables stands in `error`, whose place is zeroed; it may be NULL.
 */
bool mr_capabilities_check(const struct mr_profile *profile, const struct mr_capability_settings *settings,
			   struct mr_finding *error);

/* When an operator sets capabilities. */
enum mr_capability_moment {
	MR_CAPABILITY_AT_REST,   /* no migration, or one that has ended */
	MR_CAPABILITY_LISTENING, /* a destination that listens */
	MR_CAPABILITY_MIGRATING, /* a migration under way */
};

/* What he sets: the capabilities of `named` become as in `state`. */
struct mr_capability_change {
	enum mr_capability_moment moment;
	uint64_t named, state;
};

/*
 * Carries out a change, or refuses all of it (CAP-005, then as mr_capabilities_check()): false, with the breach in
 * `error`, and settings as before.
 */
bool mr_capabilities_change(const struct mr_profile *profile, struct mr_capability_settings *settings,
			    const struct mr_capability_change *change, struct mr_finding *error);

/* ---- Parameters -------------------------------------------------------------------------------------------------- */

enum mr_parameter_kind {
	MR_PARAMETER_NUMBER,
	MR_PARAMETER_SIZE, /* a power of two that holds a target page */
	MR_PARAMETER_SWITCH,
	MR_PARAMETER_TEXT,
	MR_PARAMETER_CHOICE, /* one of a few words */
};

/* A parameter as the table has it for one release. */
struct mr_parameter_row {
	const char *name;
	enum mr_parameter_kind kind;
	uint64_t least, most;
	const char *value; /* the default, as text */
	const char *unit;
};

/* The row of a parameter in a release, or in the newest that has it if the release is not known; NULL: there is none.
 */
const struct mr_parameter_row *mr_parameter_find(const struct mr_profile *profile, const char *name);

/* What somebody set. */
struct mr_parameter {
	const char *name;
	enum mr_parameter_kind kind; /* NUMBER, SWITCH or TEXT, as it was written */
	bool negative;               /* NUMBER: a minus sign stood before it; it then counts as 2^64 less */
	uint64_t number;             /* NUMBER; SWITCH: 0 or 1 */
	const char *text;            /* TEXT */
};

/*
 * Whether the release takes each of these (CAP-006), and all of them together, with its defaults for what is not said
 * (CAP-007). Pages have `page_size` bytes, 0: 4096.
 */
bool mr_parameters_check(const struct mr_profile *profile, const struct mr_parameter *parameters, size_t count,
			 uint32_t page_size, struct mr_finding *error);

#ifdef __cplusplus
}
#endif

#endif
