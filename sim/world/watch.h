/*
 * watch.h: what a run tells those who look on: everything that the two machines were given, everything that they did,
 * and every byte that was sent. Enough to write a recording that replays.
 */
#ifndef MR_WORLD_WATCH_H
#define MR_WORLD_WATCH_H

#include "ref/incoming.h"
#include "ref/outgoing.h"

/* ---- What a destination takes from outside: a record of its nondeterminism log ---- */

enum mr_log_kind {
	MR_LOG_OPEN,  /* connection `channel` was accepted, as `role` */
	MR_LOG_STEP,  /* `actor` makes `count` actions, each carried out at once */
	MR_LOG_WAIT,  /* `actor` goes on, without an action, to where it waits or has ended: others may go by that */
	MR_LOG_FAULT, /* the fault handler is told of `block`, `offset`, `thread` */
	MR_LOG_END,   /* connection `channel` gives no more than `bytes` bytes, then `error` (0: ended in order) */
	MR_LOG_ERROR, /* the next asked action of `actor` fails with `error` */
	MR_LOG_RETURN_END, /* the return path of `channel` takes no more than `bytes` bytes */
	MR_LOG_VCPU,       /* vCPU number `count` is `thread` */
	MR_LOG_TIME,       /* it is `count` ns by the world's clock */
	/* `actor` goes on, without an action, as far as the first `bytes` bytes of `channel` lead. Who looks on is told
	 * so by WAIT: `channel` is MR_INCOMING_CHANNELS_MAX there if it waits for anything but bytes. */
	MR_LOG_SHORT,
	MR_LOG_CLIENT,       /* a process that shares guest memory begins to catch faults, as number `count` */
	MR_LOG_CLIENT_FAULT, /* the fault handler is told that a thread of client `count` misses `block`, `offset` */
};

struct mr_log_record {
	enum mr_log_kind kind;
	unsigned actor;
	uint32_t channel, block;
	enum mr_role role;
	int error;
	uint64_t count, offset, thread, bytes;
};

/* ---- What a source takes from outside ---- */

enum mr_source_log_kind {
	MR_SOURCE_LOG_STEP,   /* `actor` makes `count` actions, each carried out at once */
	MR_SOURCE_LOG_WAIT,   /* `actor` is let go on `count` times, and makes no action: yet others may go by that */
	MR_SOURCE_LOG_CHOOSE, /* the next `count` times that `choice` is asked, it is `answer` */
	MR_SOURCE_LOG_DIRTY,  /* `block`, `start`, `length`: pages that the next fetch of the dirty log hands over;
				 `unchanged`: when they are looked at, they are as they were when they were sent */
	MR_SOURCE_LOG_ARRIVE, /* the return path of `channel` has given `bytes` bytes in all, or has `ended` behind them
			       */
	MR_SOURCE_LOG_BROKEN, /* writing to `channel` fails with `error` */
	MR_SOURCE_LOG_COMMAND, /* the operator's `command` */
	MR_SOURCE_LOG_TIME,    /* it is `count` ns by the world's clock */
	MR_SOURCE_LOG_GUEST,   /* the guest's operator stops it, or lets it go on: `runs` */
	/* not told to who looks on, who sees it by himself: `block`, `start`, `length` */
	MR_SOURCE_LOG_UNCHANGED, /* the next look at these pages, in a step that is next, finds what was sent last */
	MR_SOURCE_LOG_UNSENT,    /* pages that are not zero when they are looked at last, and never go out */
	MR_SOURCE_LOG_KIND_COUNT
};

enum mr_source_command {
	MR_SOURCE_COMMAND_START_POSTCOPY,
	MR_SOURCE_COMMAND_CONTINUE,
	MR_SOURCE_COMMAND_CANCEL,
	MR_SOURCE_COMMAND_PAUSE,
	MR_SOURCE_COMMAND_RECOVER,
	MR_SOURCE_COMMAND_COUNT
};

struct mr_source_log_record {
	enum mr_source_log_kind kind;
	unsigned actor;
	enum mr_choice choice;
	enum mr_source_command command;
	uint32_t channel, block;
	int error;
	bool ended, unchanged, runs;
	uint64_t count, answer, start, length, bytes;
};

/* ---- Who looks on ---- */

enum mr_line_event {
	MR_LINE_OPEN,  /* a connection was made */
	MR_LINE_BYTES, /* bytes were sent; at `time` they have all arrived, unless the connection breaks before */
	MR_LINE_EOF,   /* the direction ends in order */
	MR_LINE_CUT,   /* the connection broke: of the direction, `length` bytes arrived in all */
};

struct mr_line {
	enum mr_line_event event;
	uint64_t time; /* virtual, ns */
	uint32_t channel;
	bool backward;
	uint64_t offset, length;    /* BYTES: of the first byte in its direction, bytes; CUT: see there */
	struct mr_bytes head, body; /* BYTES: one behind the other */
};

/* Any function may be NULL. Each is called at once, in the one order in which things happen. */
struct mr_watch {
	void *argument;
	/* A step of the destination: the record, and the action if there was one, already carried out. */
	void (*destination)(void *argument, const struct mr_log_record *record, const struct mr_incoming *incoming,
			    const struct mr_action *action);
	void (*source)(void *argument, const struct mr_source_log_record *record,
		       const struct mr_source_action *action);
	void (*line)(void *argument, const struct mr_line *line);
	/* The source looks at a page, within the step that is told next. */
	void (*look)(void *argument, uint32_t block, uint64_t offset);
};

#endif
