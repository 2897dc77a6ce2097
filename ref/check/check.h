/*
 * check.h: what the parts of the checker share: its state, its tables, and how it reports.
 *
 * Some rules are judged at the record that breaks them. Others compare channels with each other; since channels may be
 * given in any order, their facts are collected and judged when all channels have ended.
 */
#ifndef MR_CHECK_H
#define MR_CHECK_H

#include "wire/wire.h"

enum {
	MR_CHECK_CHANNELS_MAX = 2048,            /* directions of connections */
	MR_CHECK_HANDLERS_MAX = 32768,           /* handlers that sent START or FULL */
	MR_CHECK_VALUES_MAX = 256,               /* different values of PING and PONG */
	MR_CHECK_NAMES_MAX = 16 * MR_BLOCKS_MAX, /* RECV_BITMAP commands or answers of one connection */
	MR_CHECK_TABLE_MAX = 1 << 26,            /* slots of one table */
	MR_CHECK_PROBES_MAX = 128,               /* slots that a search may look at */
};

/* Bytes of all bitmaps of pages together. */
#define MR_CHECK_BITMAPS_MAX ((uint64_t)1 << 30)
/* Words of these bitmaps that all discards together may set: each of the largest ones three times. */
#define MR_CHECK_DISCARDS_MAX ((uint64_t)1 << 27)

/* ---- Tables ---- */

/* Open addressing; 0 is no key. A table of keys alone has no values. */
struct mr_table {
	uint64_t *keys;
	uint32_t *values; /* NULL if nobody asked for them */
	bool with_values;
	size_t capacity, count; /* slots, a power of two; slots in use */
};

enum mr_table_result {
	MR_TABLE_NEW, /* the key was not there and is now */
	MR_TABLE_FOUND,
	MR_TABLE_FULL, /* no memory, a limit, or too many keys for one place: nothing can be said */
};

/* Looks for a key other than 0 and puts it in if need be; `*value` is taken or, if the key was found, given. May be
 * NULL. */
enum mr_table_result mr_table_put(struct mr_table *table, uint64_t key, uint32_t *value);
/* False if the key is not there. */
bool mr_table_find(const struct mr_table *table, uint64_t key, uint32_t *value);
/* Removes every key of which `keep` says no. */
void mr_table_prune(struct mr_table *table, bool (*keep)(const void *argument, uint64_t key), const void *argument);
void mr_table_free(struct mr_table *table);
/* FNV-1a over a name, going on from `hash`; begin with MR_HASH_START. */
uint64_t mr_hash_name(uint64_t hash, struct mr_bytes name);

#define MR_HASH_START UINT64_C(0xcbf29ce484222325)

/* ---- State ---- */

/* Where a finding belongs. */
struct mr_place {
	uint32_t channel;
	bool backward;
	uint64_t offset;
};

/* A host page of which some target pages were sent on a channel. */
struct mr_check_host_page {
	uint64_t count; /* target pages so far; 0: none is open */
	uint32_t block;
	uint64_t number; /* in units of the block's page size */
	uint64_t offset; /* of its first record */
};

/* Names of blocks in the order in which RECV_BITMAP carried them. */
struct mr_check_names {
	struct mr_check_name {
		uint64_t hash, offset;
	} * names;
	uint32_t count, capacity;
	bool incomplete; /* a limit was reached or memory was short */
};

/* What a multifd channel sent. */
struct mr_check_sender {
	const struct mr_multifd_method *method; /* of `state` */
	void *state;
	bool broken; /* the payload stream cannot be followed any more */
	bool numbered;
	uint64_t number; /* packet_num of the last packet */
	uint32_t syncs;
};

/* What a return path said. */
struct mr_check_answers {
	bool shut, shut_good;
	bool requested, requested_early; /* a page; a page before RESUME_ACK */
	uint64_t request, early;         /* offsets of the first such requests */
	uint32_t acknowledged;           /* RESUME_ACK messages */
	uint64_t acknowledgement;        /* offset of the last one */
};

/* One direction of one connection. */
struct mr_check_channel {
	uint32_t channel;
	enum mr_role role;
	bool surplus; /* a main channel that must not be: not judged further */
	bool ended, cut;
	bool complete;               /* main: the end mark was seen */
	uint32_t generation;         /* main, preempt: how many of its kind were before */
	uint32_t resumes;            /* main: RESUME commands */
	struct mr_check_names names; /* of RECV_BITMAP, commands or answers */
	struct mr_check_host_page host_page;
	struct mr_check_sender sender;
	struct mr_check_answers answers;
};

/* A handler that sent START or FULL. */
struct mr_check_handler {
	uint32_t id, instance;
	bool started, ended;
	bool ended_before; /* on a connection that was lost: it may have come or not */
	uint8_t length;
	uint8_t idstr[MR_NAME_MAX];
};

/* What was sent of a declared block, a bit for each target page. */
struct mr_check_pages {
	uint64_t pages;
	uint64_t *sent;      /* in precopy, on any channel; the three maps are one allocation */
	uint64_t *discarded; /* and not sent on the main channel since then */
	uint64_t *postcopy;  /* sent since LISTEN or since the last recovery began */
};

struct mr_check_package {
	bool open, begun, run_last, said;
	uint64_t offset; /* of the PACKAGED command */
};

/* How far the main channel has come, over all its connections. */
struct mr_check_main {
	bool given;
	bool return_path, advised, listening, running;
	bool section, part, end, device, device_behind;
	bool described, ended, colo;
	bool discards, packaged;
	bool named_page_due; /* the next page has to name its block */
	bool in_ram_start, block_list;
	bool postcopy_ram;       /* ADVISE was for RAM */
	bool summary_due;        /* ADVISE gave a summary and no block list came yet */
	struct mr_place summary; /* of the summary in ADVISE */
	bool discard_open;
	uint32_t discard_block;
	uint64_t discard_end;
	bool discard_done[MR_BLOCKS_MAX];
	struct mr_check_package package;
	uint32_t barrier_flushes, barrier_ends, barrier_postcopy_ends; /* FLUSH, EOS before LISTEN, EOS behind it */
};

struct mr_check_value {
	uint32_t value;
	uint64_t pings, pongs;
	struct mr_place ping, pong; /* the last ones */
};

/* What the stream says of its own device sections. */
struct mr_check_devices {
	const struct mr_description *description; /* NULL: none yet */
	struct mr_description *own;   /* the same, if the stream brought it; else it is the sender's, known before */
	const struct mr_layout *open; /* whose body comes next; NULL if it is not listed */
	size_t next;                  /* device that the next header is most likely about */
	uint8_t *sent;                /* for each device whether its header came */
};

struct mr_checker {
	struct mr_session *session;
	struct mr_check_channel *channels;
	uint32_t channel_count, channel_capacity, channel_last;
	struct mr_check_main main;

	struct mr_check_handler *handlers;
	uint32_t handler_count, handler_capacity;
	struct mr_table handler_ids, handler_names;

	struct mr_check_devices devices;

	struct mr_check_pages blocks[MR_BLOCKS_MAX];
	uint32_t block_limit; /* no block from here on has maps */
	uint64_t bitmap_bytes, discarded_words;
	uint8_t *scratch; /* MR_PACKET_DATA_SIZE bytes for inflated pages */

	uint32_t multifd_count;
	bool uuid_known;
	uint8_t uuid[16];
	bool ids_used[256];
	bool method_known;
	uint32_t method;
	struct mr_table packet_numbers, interval_pages;

	struct mr_check_value values[MR_CHECK_VALUES_MAX];
	uint32_t value_count;

	/* rules that are judged no more */
	bool no_channels, no_handlers, no_pages, no_discards, no_scratch, no_packet_numbers, no_intervals, no_values;
};

/* ---- Reports ---- */

static inline struct mr_place mr_place_at(const struct mr_check_channel *channel, uint64_t offset)
{
	return (struct mr_place){channel->channel, channel->role == MR_ROLE_RETURN, offset};
}

void mr_report(const struct mr_checker *checker, struct mr_place place, enum mr_rule rule, struct mr_text expected,
	       struct mr_text found);
/* The same with a verdict other than the rule's own. */
void mr_report_as(const struct mr_checker *checker, struct mr_place place, enum mr_verdict verdict, enum mr_rule rule,
		  struct mr_text expected, struct mr_text found);
/* Says once, by the flag, that something is judged no more because a limit was reached or memory is short. */
void mr_report_limit(const struct mr_checker *checker, struct mr_place place, bool *said, const char *what);

/* ---- Parts ---- */

/* A page's worth of memory and more; NULL, after a report, if there is none. */
uint8_t *mr_check_scratch(struct mr_checker *checker, struct mr_place place);
void mr_check_name(struct mr_check_channel *channel, struct mr_bytes name, uint64_t offset);
/* The channel's forward direction if it is a main channel; NULL if it was not given. */
const struct mr_check_channel *mr_check_forward(const struct mr_checker *checker, uint32_t channel);

void mr_check_section(struct mr_checker *checker, struct mr_check_channel *channel, const struct mr_record *record);
/* A recovery begins: nobody knows whether the last END of a handler arrived. */
void mr_check_forget_ends(struct mr_checker *checker);
void mr_check_eof(struct mr_checker *checker, struct mr_check_channel *channel, const struct mr_record *record);
/* Any record of a main channel. */
void mr_check_device(struct mr_checker *checker, const struct mr_check_channel *channel,
		     const struct mr_decoder *decoder, const struct mr_record *record);
void mr_check_devices_free(struct mr_checker *checker);
void mr_check_command(struct mr_checker *checker, struct mr_check_channel *channel, const struct mr_record *record);
/* Follows the package along; to be called for each record of a main channel, before anything else. */
void mr_check_package(struct mr_checker *checker, struct mr_check_channel *channel, const struct mr_record *record);
void mr_check_package_end(struct mr_checker *checker, struct mr_check_channel *channel);

/* Any record of a `ram` section or of the preempt channel. */
void mr_check_ram(struct mr_checker *checker, struct mr_check_channel *channel, const struct mr_record *record);
void mr_check_discard(struct mr_checker *checker, struct mr_place place, uint32_t block, uint64_t start,
		      uint64_t length);
void mr_check_multifd_page(struct mr_checker *checker, uint32_t block, uint64_t offset, struct mr_place place);
void mr_check_host_page_end(struct mr_checker *checker, struct mr_check_channel *channel);
/* A recovery begins: pages may be sent again. */
void mr_check_pages_again(struct mr_checker *checker);
void mr_check_pages_finish(struct mr_checker *checker);

/* Any record of a multifd channel. */
void mr_check_multifd(struct mr_checker *checker, struct mr_check_channel *channel, const struct mr_record *record);
void mr_check_uuid(struct mr_checker *checker, struct mr_place place, struct mr_bytes uuid);
void mr_check_barriers(struct mr_checker *checker);

void mr_check_message(struct mr_checker *checker, struct mr_check_channel *channel, const struct mr_record *record);
void mr_check_colo(struct mr_checker *checker, struct mr_check_channel *channel, const struct mr_record *record);
/* Counts a PING (or a PONG). */
void mr_check_ping(struct mr_checker *checker, struct mr_place place, uint32_t value, bool pong);
void mr_check_answers_finish(struct mr_checker *checker);

#endif
