/*
 * machine_support.h: a small world around the destination's machine: connections whose bytes a test builds, a host that
 * carries out actions in a few pages of memory, and every action as a line of text.
 */
#ifndef MACHINE_SUPPORT_H
#define MACHINE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "guard.h"
#include "hostile.h"
#include "incoming.h"
#include "random.h"

enum {
	PAGE = 4096,
	HUGE_PAGE = 4 * PAGE,
	WORLD_CONNECTIONS = 8,
	WORLD_BLOCKS = 4,
	WORLD_PAGES = 16, /* of a block, target pages of 4 KiB */
	WORLD_FAILURES = 4,
	WORLD_ACTORS = MR_ACTOR_MULTIFD + 4, /* those that may be alive */
	RAM_SECTION = 2,
	/* Errors of the host, by their numbers. */
	HOST_EIO = 5,
	HOST_ENOMEM = 12,
	HOST_EEXIST = 17,
	HOST_EINVAL = 22,
};

/* What a test says of its world; what is left out is 0. */
struct setup {
	const char *release; /* of both sides; NULL: 7.2 */
	bool strict, start_paused, memory_locked, shared_clients, unpluggable;
	bool without_memory; /* blocks are larger than the world's */
	uint32_t capabilities;
	uint32_t multifd_channels;
	const struct mr_incoming_block *blocks; /* NULL: one block `mem` of 16 pages */
	uint32_t block_count;
	uint32_t host_page_size;
	size_t package_max;
	bool blocktime;
	uint32_t vcpu_count, open_faults_max;
	bool flush_each_section; /* the machine property, where the release has it */
};

struct connection {
	struct build bytes; /* what the source sends: the test's */
	struct build sent;  /* what the machine sent back */
	uint8_t *window;    /* what was fed last, without a byte to spare */
	size_t shown;       /* bytes fed so far */
	bool open, ended;   /* by the source */
	bool closed;        /* by the machine */
};

/* The `left`-th action of this kind from now on fails. */
struct failure {
	enum mr_action_kind kind;
	unsigned left; /* 0: no failure is planned */
	int error;
};

struct world {
	struct mr_incoming *machine;
	struct guard arena; /* the machine's memory, and no byte more */
	struct mr_incoming_config config;
	struct connection connections[WORLD_CONNECTIONS];
	struct failure failures[WORLD_FAILURES];
	struct build text; /* every action, a line each */
	unsigned count[MR_ACTION_KIND_COUNT];
	struct mr_action last;
	bool asked[WORLD_ACTORS]; /* carried out, not completed */
	int errors[WORLD_ACTORS];
	unsigned faults; /* told at random */
	bool finished, failed;
	uint8_t memory[WORLD_BLOCKS][WORLD_PAGES * PAGE];
	bool present[WORLD_BLOCKS][WORLD_PAGES];
	bool marked[WORLD_BLOCKS][WORLD_PAGES]; /* as the actions say, since the last discard */
	uint8_t temporary[2][HUGE_PAGE];
};

/* A machine with its first main channel open as connection 0. */
struct world *world_new(const struct setup *setup);
/* The same without any connection. */
struct world *world_new_unconnected(const struct setup *setup);
void world_free(struct world *world);
void world_configure(struct world *world, const struct setup *setup);

/* ---- Inputs ---- */

void world_open(struct world *world, uint32_t channel, enum mr_role role);
/* Feeds `count` more bytes of what the test has built for this connection, or all there are. */
void world_show(struct world *world, uint32_t channel, size_t count);
/* Feeds everything, and says that nothing follows: 0, or the errno of a broken connection. */
void world_end(struct world *world, uint32_t channel, int error);
void world_fail(struct world *world, enum mr_action_kind kind, unsigned nth, int error);
/* Tells a fault of thread 1. */
bool world_fault(struct world *world, uint32_t block, uint64_t offset);

/* ---- Steps ---- */

/* One step; what was asked is carried out at once. */
enum mr_step world_step(struct world *world, unsigned actor);
/* One step; what was asked is carried out, but completed only by world_complete(). */
enum mr_step world_step_only(struct world *world, unsigned actor);
void world_complete(struct world *world, unsigned actor);
/* Steps one actor until it can go on no longer. */
enum mr_step world_run_actor(struct world *world, unsigned actor);
/* Steps all actors in turn until none can go on. */
void world_run(struct world *world);
/* Steps all actors in turn until this line was said; fails the test if it never is. */
void world_run_until(struct world *world, const char *line);
/* The same for one actor alone. */
void world_run_actor_until(struct world *world, unsigned actor, const char *line);

/*
 * Steps anybody, completes whenever, tells faults anywhere, shows the first connections' bytes piece by piece: `limit`
 * steps, or with SIZE_MAX until nothing happens for long; `checked`: requests have to fit the marks of their moment.
 */
void world_run_at_random(struct world *world, struct random *random, size_t limit, bool checked);

/* ---- What was said ---- */

/* Lines that begin with `line`, up to a space or the line's end. */
unsigned world_said(const struct world *world, const char *line);
/* Forgets the lines so far. */
void world_hush(struct world *world);
/* Demands these lines in this order, whatever stands between; the last argument is NULL. */
void expect_order(const struct world *world, ...);
void expect_said(const struct world *world, const char *line);
void expect_silent(const struct world *world, const char *line);
/* The load failed, for breaking this rule. */
void expect_failed(const struct world *world, enum mr_rule rule);
/* It failed so, or paused; the rule is the last that the machine named. */
void expect_error(const struct world *world, enum mr_rule rule);
void expect_finished(const struct world *world);

enum { MESSAGES_MAX = 64 };

struct messages {
	unsigned count;
	struct mr_return_message at[MESSAGES_MAX];
};

/* The messages on a return path, read by the decoder; what they point to is static. */
void world_messages(const struct world *world, uint32_t channel, struct messages *messages);

/* ---- Streams ---- */

/* Header and configuration. */
void put_begin(struct build *build);
void put_open_return_path(struct build *build);
/* ADVISE as the machine wants it. */
void put_advise(const struct world *world, struct build *build);
/* The START of `ram` with all blocks. */
void put_block_list(const struct world *world, struct build *build);
void put_section(struct build *build);
void put_section_end(struct build *build);
/* The END of `ram`, empty, and the end mark. */
void put_end(struct build *build);
void put_listen(struct build *build);
void put_run(struct build *build);
/* LISTEN, PING 3 and RUN in a package. */
void put_package(struct build *build);
/* All up to and with the block list: header, OPEN_RETURN_PATH, PING 1, ADVISE, list. */
void put_advised(const struct world *world, struct build *build);
/* The same, and discards of every block. */
void put_discarded(const struct world *world, struct build *build);
/* The same, and the package: the machine is RUNNING. */
void put_running(const struct world *world, struct build *build);
/* One section that holds one page of `block`, filled with `byte`; 0: as a ZERO record. */
void put_page_section(struct build *build, const char *block, uint64_t offset, uint8_t byte);

/* The initial packet of a multifd channel. */
void put_multifd_init(struct build *build, uint8_t id);
/* A packet of `count` pages of `mem` from page `first` on, each filled with its number + 1. */
void put_multifd_packet(struct build *build, uint32_t flags, uint64_t first, uint32_t count);

/* A postcopy machine that has run a stream up to RUN. */
struct world *world_running(const struct setup *setup);

#endif
