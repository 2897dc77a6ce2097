/*
 * lone_source.h: a source without a destination: a small guest, handlers that say what a test tells them, a return path
 * that the test writes, and everything that the source does as words in a row.
 *
 *     struct lone *lone = lone_new("7.2");
 *     lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
 *     lone_start(lone);
 *     lone_until(lone, "[active]");
 *     expect_words(lone, "[setup] connect:main header config:pc open ping:1 ...");
 *
 * The words, by example. Records of the main channel: header, config:pc, sub:uuid/1=.., open, ping:1, advise:1000/1000,
 * advise, listen, run, colo, resume/9, switchover, bitmap/10:mem, discard:mem:0+4,8+1, package( ... ), start:ram#1,
 * part#1, end#1, full:timer#0, {timer} (a body), . (a footer), eof, describe:5. RAM: size:6000, block:mem/4000, and
 * what else the entry holds in hexadecimal digits behind a +; page:mem:3 with the block's name, page:3 without,
 * zero:mem:3, xbzrle:mem:3=12, hook, flush, eos. Other channels have their name before: p:page:mem:3, m0:init,
 * m0:mem:1,2/5+sync (pages 1 and 2, zero page 5, and SYNC). Pages and runs of pages are counted in target pages.
 */
#ifndef LONE_SOURCE_H
#define LONE_SOURCE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "build.h"
#include "outgoing.h"
#include "status.h"

enum {
	LONE_PAGE = 4096,
	LONE_BLOCKS = 4,
	LONE_HANDLERS = 8,
	LONE_CONNECTIONS = 24,
	LONE_ANSWERS = 16,
	LONE_CHOICES = 64,
	LONE_FAILURES = 4,
	LONE_CANONICAL = 0x7777, /* an answer: whatever is canonical */
};

struct lone_connection {
	bool open, at_end;
	enum mr_role role;
	uint32_t multifd;
	struct build forward, backward;
	/* where the words have got to */
	uint32_t section;
	bool in_ram, in_device;
	uint64_t blocks_left;
};

struct lone_answer {
	const char *handler; /* NULL: any */
	enum mr_hook hook;
	int result;
	struct mr_pending pending;
};

struct lone {
	/* to be changed before lone_start() */
	struct mr_outgoing_config config;
	struct mr_outgoing_block blocks[LONE_BLOCKS];
	const char *release;
	uint32_t shown; /* which actions become words, a bit for each kind */

	/* to be changed at any time */
	struct lone_answer answers[LONE_ANSWERS];
	unsigned answer_count;
	uint64_t choices[MR_CHOICE_COUNT][LONE_CHOICES]; /* answers, LONE_CANONICAL for none; in the order of asking */
	unsigned choice_count[MR_CHOICE_COUNT], choice_next[MR_CHOICE_COUNT];
	bool choose_always; /* the last answer of each choice holds for all that follow */
	struct {
		enum mr_role role;
		int error;
	} failures[LONE_FAILURES]; /* connections that cannot be made, in this order */
	unsigned failure_count;
	const char *description; /* text of the VMDESCRIPTION; NULL: none */
	bool no_bodies;          /* devices write nothing */
	uint64_t write_on_look;  /* a guest that writes to each page between two looks at it */

	/* to be looked at */
	struct mr_outgoing *source;
	struct mr_profile profile;
	struct mr_handlers handlers;
	struct mr_handler_entry entries[LONE_HANDLERS];
	struct lone_connection connections[LONE_CONNECTIONS];
	unsigned connection_count;
	uint8_t *memory[LONE_BLOCKS];
	bool *dirty[LONE_BLOCKS];
	struct mr_finding error;
	unsigned said[MR_SOURCE_ACTION_KIND_COUNT];
	struct mr_source_action last;
	uint64_t now; /* ns */
	struct build words, word;
	struct mr_choices chooser;
	void *arena;
	char status[32];
};

#define LONE_SHOW(kind) (UINT32_C(1) << MR_SOURCE_ACTION_##kind)

/* Blocks mem (4 pages) and vga (2), handlers timer and ram, no limit of bandwidth, no capability. */
struct lone *lone_new(const char *release);
/* The same with the properties of a machine type. */
struct lone *lone_new_machine(const char *release, const char *machine);
void lone_free(struct lone *lone);
void lone_block(struct lone *lone, unsigned index, const char *name, uint64_t pages, uint64_t page_size);
void lone_handler(struct lone *lone, const struct mr_handler *handler);
/* Another list of handlers: what is registered from now on. */
void lone_forget_handlers(struct lone *lone);
void lone_ram(struct lone *lone);
void lone_start(struct lone *lone);

/* One step; what is asked is carried out. */
enum mr_step lone_step(struct lone *lone, unsigned actor);
/* Until nobody goes on: the migration thread as far as it can, the reader of the return path, the senders. */
void lone_run(struct lone *lone);
/* The same until a word is said that begins so. */
void lone_until(struct lone *lone, const char *word);
/* Starts, asks for postcopy once it is active, and goes on until `word`. */
void lone_start_postcopy(struct lone *lone, const char *word);
/* Time goes on, and everybody with it. */
void lone_later(struct lone *lone, uint64_t milliseconds);

/* What was said since the last time. */
void expect_words(struct lone *lone, const char *expected);
void forget_words(struct lone *lone);
bool lone_has_said(const struct lone *lone, const char *word);

/* The guest, and its handlers. */
void lone_write(struct lone *lone, unsigned block, uint64_t page, uint8_t byte);
void lone_answer(struct lone *lone, const char *handler, enum mr_hook hook, int result);
void lone_pending(struct lone *lone, const char *handler, enum mr_hook hook, struct mr_pending pending);
void lone_choose(struct lone *lone, enum mr_choice choice, uint64_t answer);

/* The return path of the main channel at hand. */
void lone_shut(struct lone *lone);
void lone_pong(struct lone *lone, uint32_t value);
void lone_ack(struct lone *lone);
void lone_resume_ack(struct lone *lone);
void lone_request(struct lone *lone, const char *block, uint64_t page, uint64_t count);
/* A bitmap with these pages: a digit 1 for each that arrived. */
void lone_bitmap(struct lone *lone, const char *block, const char *pages);

/* What the releases from `since` to `until` say; "": no end. The last row has no words. */
struct lone_row {
	const char *since, *until, *words;
};

enum { LONE_RELEASES = 17 };
extern const char *const lone_releases[LONE_RELEASES];
/* The words of the row that a release stands in. */
const char *lone_row(const char *release, const struct lone_row *rows);

/* All bytes of a connection. */
void expect_bytes(const struct lone *lone, unsigned connection, const struct build *expected);
struct mr_outgoing_statistics lone_statistics(const struct lone *lone);

#endif
