/*
 * interop.h: one migration between a real QEMU and an end of ours, as a user would run both: how it is set up, and
 * whether memory, requests and guest are what they must be.
 */
#ifndef MR_HOST_INTEROP_H
#define MR_HOST_INTEROP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Which end ours is. */
enum mr_interop_direction { MR_INTEROP_RECEIVE, MR_INTEROP_SEND, MR_INTEROP_DIRECTION_COUNT };

/* What a migration is asked to be. */
struct mr_interop_mode {
	const char *name;
	const char *meaning;      /* one line */
	const char *capabilities; /* of QEMU, separated by commas; "": none */
	const char *compression;  /* of multifd; NULL: no multifd */
	const char *cut;          /* where our end breaks the connections once: CHANNEL:DIRECTION:BYTE; NULL: nowhere */
	bool switches;            /* to postcopy */
	bool rewrites;            /* pages have to be sent again, so a guest that runs is needed */
};

enum mr_interop_verdict {
	MR_INTEROP_HOLDS,
	MR_INTEROP_LOST,    /* all but the writes that QEMU before 9.0 loses in precopy under TCG */
	MR_INTEROP_SKIPPED, /* this QEMU or this host does not have it */
	MR_INTEROP_DIFFERS,
	MR_INTEROP_UNABLE, /* no QEMU could be started */
	MR_INTEROP_VERDICT_COUNT
};

struct mr_interop_options {
	const struct mr_interop_mode *mode;
	enum mr_interop_direction direction;
	const char *qemu;      /* a path, or a name that is looked for in PATH */
	const char *accel;     /* "tcg", "kvm" */
	const char *machine;   /* NULL: pc */
	const char *program;   /* path of migref */
	const char *directory; /* for all files, there already; a short path */
	const char *devices;   /* SEND: recording of the same machine */
	const char *keep;      /* RECEIVE: where the recording goes; NULL: none is made */
	uint32_t memory_mib, vcpus;
	uint32_t time_limit; /* seconds */
};

struct mr_interop_result {
	enum mr_interop_verdict verdict;
	char line[400];    /* unless it holds: why, one line */
	char release[32];  /* of QEMU; empty: it did not come so far */
	uint64_t pages;    /* of guest memory that were compared */
	uint64_t lost;     /* LOST: pages that differ */
	uint64_t requests; /* of the destination for pages */
	uint64_t answered; /* of them, by a page that was sent for it */
	uint64_t encoded;  /* pages that were sent as changes, by XBZRLE */
	uint64_t recoveries;
	uint64_t touches; /* SEND: that the guest made behind the migration */
	double seconds;   /* of the migration */
};

/* The modes in their order; NULL behind the last. */
const struct mr_interop_mode *mr_interop_mode_at(size_t index);
/* "receive", "send" */
const char *mr_interop_direction_name(enum mr_interop_direction direction);
/* "holds", "holds, but for writes that QEMU lost", "not here", "differs", "no QEMU" */
const char *mr_interop_verdict_name(enum mr_interop_verdict verdict);

/* Runs one to its end; nothing that it started is left running, nor a file but the recording. */
void mr_interop_run(const struct mr_interop_options *options, struct mr_interop_result *result);

#endif
