/*
 * qemu.h: one QEMU process of ours: started with our guest, asked over its monitor, and ended in any case.
 *
 * It dies with the thread that started it, at the latest. Its memory, its monitor and what it writes to its standard
 * error have no name in any directory, so that nothing of it can be left behind; sockets to migrate by are the
 * caller's.
 */
#ifndef MR_HOST_QEMU_H
#define MR_HOST_QEMU_H

#include <stdint.h>
#include <sys/types.h>

#include "sim/host/qmp.h"

enum mr_qemu_backend {
	MR_QEMU_FILE,    /* shared memory that others can read: block "mem" */
	MR_QEMU_ANON,    /* the machine's own, private: block "pc.ram" or the like */
	MR_QEMU_HUGETLB, /* as MR_QEMU_FILE, of huge pages of 2 MiB */
	MR_QEMU_BACKEND_COUNT
};

struct mr_qemu_options {
	const char *name;    /* in error lines: "source"; below MR_QMP_NAME_MAX bytes */
	const char *binary;  /* a path, or a name that is looked for in PATH */
	const char *machine; /* type, with properties behind commas if need be; NULL: pc */
	const char *accel;   /* NULL: tcg */
	uint64_t memory_mib;
	enum mr_qemu_backend backend;
	uint32_t vcpus;
	const char *image;            /* guest, as `migref guest` writes it; NULL: the machine's own firmware */
	bool disk;                    /* the image is a raw disk, not firmware */
	bool incoming;                /* a destination: waits for `migrate-incoming` */
	bool stopped;                 /* its guest does not run until told to */
	const char *const *arguments; /* more of them, NULL behind the last; NULL: none */
	const char *trace;            /* file for the events of migration; NULL: none. It stays */
	double seconds;               /* in which its monitor has to greet; 0: MR_QMP_SECONDS */
};

struct mr_qemu;

/*
 * Starts a QEMU, and has its monitor. Returns 0, or -1 with one line in `error`, and nothing is left running: no such
 * program, it cannot be executed, too few huge pages, or it ended at once, with its own last words.
 */
int mr_qemu_start(struct mr_qemu **result, const struct mr_qemu_options *options, char *error, size_t error_size);
/*
 * Ends it, by `quit` first, by force at last: within about 10 s, at once if it is dead already. Its memory is gone
 * then. NULL is allowed.
 */
void mr_qemu_stop(struct mr_qemu *qemu);

/* As mr_qmp_execute(); if QEMU has died meanwhile the line says of what. */
enum mr_qmp_status mr_qemu_execute(struct mr_qemu *qemu, const char *command, json_t *arguments, json_t **answer,
				   char *error, size_t error_size);
/* Its monitor, which it keeps. */
struct mr_qmp *mr_qemu_qmp(struct mr_qemu *qemu);
/* "7.2.22". */
const char *mr_qemu_release(const struct mr_qemu *qemu);
pid_t mr_qemu_pid(const struct mr_qemu *qemu);
/* A file with guest memory, for this process to open while the QEMU has not been stopped, also if it has died; NULL if
 * the back end has none. */
const char *mr_qemu_memory_path(const struct mr_qemu *qemu);
/* A file with what it wrote to its standard error so far; the same holds. */
const char *mr_qemu_errors_path(const struct mr_qemu *qemu);

/* Whether it still runs; false from when its end was seen. */
bool mr_qemu_is_running(struct mr_qemu *qemu);
/* Why it ended, as one line without its name: signal or exit status, and what it said last. NULL while it runs. */
const char *mr_qemu_death(struct mr_qemu *qemu);

/* Whether this release ("7.2.22") loses writes of a running guest in precopy under this accelerator: TCG before 9.0. */
bool mr_qemu_loses_writes(const char *release, const char *accel);

/* "file", "anon", "hugetlb". */
const char *mr_qemu_backend_name(enum mr_qemu_backend backend);
/* Whether there is one of this name. */
bool mr_qemu_backend_by_name(const char *name, enum mr_qemu_backend *backend);
/* Bytes of a page of the host in that memory. */
uint64_t mr_qemu_backend_page_size(enum mr_qemu_backend backend);

#endif
