/*
 * tap.h: a proxy between the two ends of a migration that others run: every byte goes on unchanged, and is recorded.
 *
 * One thread, one loop, nothing in it waits but for the disk. Each direction of each connection has a buffer of its
 * own, of MR_TAP_BUFFER bytes: while it is full its sender is not read, all other directions go on. So the ends can
 * wait for each other through the tap where they could without it, and nowhere else. What is recorded is what was
 * passed on.
 */
#ifndef MR_HOST_TAP_H
#define MR_HOST_TAP_H

#include "sim/host/address.h"
#include "sim/record/tapped.h"

enum {
	MR_TAP_BUFFER = 256 << 10,   /* bytes of a direction that are read and not passed on yet */
	MR_TAP_CONNECT_SECONDS = 10, /* in which the destination has to take a connection */
};

struct mr_tap_control;

struct mr_tap_options {
	struct mr_address listen, connect;
	double time_limit; /* seconds in all */
	double idle;       /* seconds without a connection behind the last one, in which a recovery may come */
	bool cuts;         /* every connection is cut, once, before `cut_byte` of this direction */
	uint32_t cut_channel;
	bool cut_backward;
	uint64_t cut_byte;
	struct mr_tapped *recording;
	/* What another thread tells it; NULL: nobody does, and SIGINT and SIGTERM end it, which it leaves alone else.
	 */
	struct mr_tap_control *control;
	/* Called as soon as connections are taken at `address`, and for each line that is to be told. */
	void (*listening)(void *argument, const char *address);
	void (*complain)(void *argument, const char *line);
	void *argument;
};

enum mr_tap_end {
	MR_TAP_IDLE,       /* the connections ended, and no further one came */
	MR_TAP_SIGNAL,     /* SIGINT or SIGTERM; connections that were open are cut */
	MR_TAP_TIME_LIMIT, /* the same */
	MR_TAP_TOLD,       /* mr_tap_end(); the same */
	MR_TAP_FAILED,     /* it could not begin, or not go on */
};

struct mr_tap_result {
	enum mr_tap_end end;
	uint32_t connections; /* that reached the destination */
	uint32_t refused;     /* that did not; each was told */
	uint32_t open;        /* connections that the end of the tap cut */
	bool cut;             /* as the options asked for */
};

/* Runs to its end; every direction of the recording has ended then, and all that was opened is closed. */
void mr_tap_run(const struct mr_tap_options *options, struct mr_tap_result *result);

/* ---- What another thread tells a tap ---- */

/* NULL if the host gives none. One control is for one run. */
struct mr_tap_control *mr_tap_control_new(void);
/* Its tap does not run. NULL is allowed. */
void mr_tap_control_free(struct mr_tap_control *control);
/*
 * Cut every connection once `bytes` more, at least 1, have gone this way, counted from when the tap hears of it; or
 * from the begin of a connection that comes later. Instead of any cut that has not happened.
 */
void mr_tap_cut_later(struct mr_tap_control *control, uint32_t channel, bool backward, uint64_t bytes);
/* Connections that come from now on go to this address, whose text is the caller's and lives as long as the tap. */
void mr_tap_redirect(struct mr_tap_control *control, const struct mr_address *address);
/* It ends as soon as no connection is open, at the latest in `seconds`. */
void mr_tap_end(struct mr_tap_control *control, double seconds);
/* Whether it has cut the connections. */
bool mr_tap_has_cut(struct mr_tap_control *control);

#endif
