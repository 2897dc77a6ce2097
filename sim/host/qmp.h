/*
 * qmp.h: a client of QEMU's monitor protocol: one command after another, each with a time limit, events kept meanwhile.
 *
 * For one thread at a time. Nothing here waits longer than its limit, whatever the other end does.
 */
#ifndef MR_HOST_QMP_H
#define MR_HOST_QMP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum {
	MR_QMP_LINE_MAX = 4 << 20, /* bytes of a line; more is no monitor */
	MR_QMP_EVENTS_MAX = 4096,  /* that are kept; of more the oldest are dropped */
	MR_QMP_SECONDS = 30,       /* in which a command is to be answered, unless told otherwise */
	MR_QMP_NAME_MAX = 32,      /* bytes of a name, with its NUL */
};

struct mr_qmp;

/* How a command went. */
enum mr_qmp_status {
	MR_QMP_DONE,
	MR_QMP_REFUSED, /* QEMU answered with an error; it goes on */
	MR_QMP_LOST,    /* no answer came in time, the connection ended, or no monitor is there: it cannot be used */
};

/*
 * Connects to the Unix socket at `path`, which may not be there yet, and is greeted, all within `seconds`. `name` says
 * who it is in error lines ("source"). Returns 0, or -1 with one line in `error`.
 */
int mr_qmp_open(struct mr_qmp **result, const char *name, const char *path, double seconds, char *error,
		size_t error_size);
/* The same on a connected socket, which belongs to the client from now on, also if this fails. */
int mr_qmp_adopt(struct mr_qmp **result, const char *name, int socket, double seconds, char *error, size_t error_size);
/* NULL is allowed. */
void mr_qmp_close(struct mr_qmp *qmp);

/* Seconds for each command from now on; at first MR_QMP_SECONDS. */
void mr_qmp_limit(struct mr_qmp *qmp, double seconds);

/*
 * Executes `command`; takes over `arguments`, an object or NULL. MR_QMP_DONE: `*answer`, if wanted, is what it
 * returned, which the caller releases. Else one line in `error`, which begins with the name and the command, and
 * `*answer` is NULL.
 */
enum mr_qmp_status mr_qmp_execute(struct mr_qmp *qmp, const char *command, json_t *arguments, json_t **answer,
				  char *error, size_t error_size);

/*
 * The oldest event of this name (any, if NULL) that has come and was not taken yet, as it came: "event", "data",
 * "timestamp"; the caller releases it. NULL if there is none, also once the connection has ended. Waits up to `seconds`
 * for it; 0: only what is there already.
 */
json_t *mr_qmp_event(struct mr_qmp *qmp, const char *name, double seconds);

/* What the greeting says of the release: "7.2.22". */
const char *mr_qmp_release(const struct mr_qmp *qmp);
/* Whether commands can be executed still. */
bool mr_qmp_is_open(const struct mr_qmp *qmp);

#endif
