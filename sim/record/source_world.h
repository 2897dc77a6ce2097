/*
 * source_world.h: what surrounds a source under replay: the guest's memory as it was looked at, the bodies of its
 * devices, its connections, and the recorded bytes that the machine's are compared with.
 *
 * No recording holds memory at each moment. What a page held when it was sent stands in the stream, though: so the
 * memory of this world answers, for each page, with the contents that were sent of it, one after the other. In which
 * order pages are looked at is up to the machine.
 */
#ifndef MR_RECORD_SOURCE_WORLD_H
#define MR_RECORD_SOURCE_WORLD_H

#include "ref/outgoing.h"
#include "sim/record/memory.h"
#include "sim/record/migration.h"
#include "sim/record/source_log.h"

enum { MR_SOURCE_NONE = UINT32_MAX };

/* A record of a forward stream: what the derivation looks ahead at, and what differences are told by. */
struct mr_source_record {
	enum mr_kind kind;
	uint64_t offset, length; /* in the channel, bytes */
	uint32_t block;          /* page records and packets; MR_SOURCE_NONE without */
	uint64_t address;        /* page records: bytes; of a packet, its first page's */
	uint32_t number;         /* command, section id, flags of a packet */
	uint64_t value;          /* PING, packet number */
	uint32_t first_send, send_count;
	uint32_t section; /* of all ram sections on main channels, from 0; MR_SOURCE_NONE outside */
	bool named;       /* a page record that names its block */
	bool unfinished;  /* a page record of which the recording has only the beginning */
};

/* One page that went out once. */
struct mr_source_send {
	uint32_t block;
	uint64_t page;     /* target page */
	uint32_t next;     /* send of the same page; MR_SOURCE_NONE: the last */
	uint32_t section;  /* as of records; MR_SOURCE_NONE: on the preempt channel, or not known yet */
	uint32_t epoch;    /* main connections before */
	uint32_t interval; /* barriers before: SYNCs on its channel, FLUSH on the main one */
	uint32_t
		dirtied; /* fetch of the dirty log that brought it; MR_SOURCE_NONE: none, it was dirty from the start */
	uint32_t packet; /* first send of the packet that it came in; MR_SOURCE_NONE: it is a record */
	bool zero;
	bool taken;             /* the machine has had it */
	bool unchanged;         /* it never went out: it was looked at, and was as it had been sent before */
	const uint8_t *content; /* NULL: zero */
};

struct mr_source_channel {
	unsigned number; /* of the connection in the recording */
	enum mr_role role;
	uint32_t id;    /* of a multifd channel */
	uint32_t epoch; /* main connections before */
	struct mr_source_record *records;
	size_t count, capacity;
	uint64_t bytes;          /* of whole records */
	uint64_t recorded;       /* bytes in all */
	bool cut;                /* it may end anywhere: what the machine sends behind is not compared */
	bool taken;              /* the machine has opened it */
	bool broken;             /* writing fails from now on */
	uint32_t machine;        /* its number for the machine */
	uint64_t made;           /* bytes that the machine sent */
	uint64_t identical;      /* of them: compared, and equal */
	size_t at;               /* record in which the machine's next byte stands */
	struct mr_bytes arrived; /* return path: all of it */

	/* private */
	struct mr_input *input, *return_input;
	struct mr_packet_codec codec;
	uint64_t fed; /* bytes of the return path that the machine may see */
	bool fed_end;
};

struct mr_source_header {
	uint32_t id, instance, version;
	char idstr[MR_NAME_MAX + 1];
	bool iterates, is_device, early;
};

struct mr_source_body {
	uint32_t id;
	bool used;
	uint8_t *data;
	size_t length;
};

/* Where the machine first wrote something else. */
struct mr_source_difference {
	bool found;
	unsigned channel;
	uint64_t offset;
	char made[200], recorded[200];
};

struct mr_source_world {
	struct mr_outgoing *outgoing;
	struct mr_outgoing_config config;
	struct mr_session *session;
	const struct mr_recording *recording;
	struct mr_source_channel *channels; /* of the recording, by number */
	size_t channel_count;
	uint32_t main; /* the channel of the last main connection that the machine opened; MR_SOURCE_NONE: none yet */
	uint32_t epochs;
	uint32_t section_count;
	uint32_t ram_section; /* its id; MR_SOURCE_NONE: none */
	bool finished;        /* the migration ended well */
	bool numbered;        /* the machine's connections have the recording's numbers */

	struct mr_source_send *sends; /* those of the recording first */
	size_t send_count, send_capacity, recorded_sends;
	uint32_t *heads[MR_BLOCKS_MAX]; /* of each page: its next send */
	uint64_t raced;                 /* pages that were not zero when that was looked at, and were when sent */

	struct mr_source_difference difference;
	struct mr_choices choices;
	bool failed; /* an input, or memory, failed: `error` says it */
	char error[512];

	/* private */
	void *arena;
	struct mr_handlers handlers;
	struct mr_handler_entry *entries;
	struct mr_outgoing_block *blocks;
	struct mr_source_header *headers; /* in the order of the stream */
	size_t header_count, header_capacity;
	struct mr_source_body *bodies;
	size_t body_count, body_capacity;
	uint64_t pages[MR_BLOCKS_MAX];  /* of each block: target pages */
	uint32_t *tails[MR_BLOCKS_MAX]; /* of each page: the send that was read, or looked at, last */
	struct mr_bytes description;
	uint8_t **chunks; /* contents */
	size_t chunk_count, chunk_capacity, chunk_used;
	uint8_t *blank; /* a body of zeros */
	uint64_t blank_size;
	uint8_t *zero, *other;                               /* a zero page, one that is not */
	uint32_t epoch;                                      /* of the machine */
	uint32_t machine_channels[MR_OUTGOING_CHANNELS_MAX]; /* the recording's channel of each connection */
	struct {
		uint32_t block;
		bool unchanged;
		uint64_t start, length;
	} * dirty; /* for the next fetch */
	size_t dirty_count, dirty_capacity;
};

/* Reads the whole recording. There is no machine yet. -1 with one line in `error`. */
int mr_source_world_open(struct mr_source_world *world, const struct mr_migration *migration);
/*
 * Configures the machine as a log says; what it points to must stay. `numbered`: its connections have the recording's
 * numbers. -1 with one line in `error`: it is about another source.
 */
int mr_source_world_adopt(struct mr_source_world *world, const struct mr_outgoing_config *config, bool numbered);
/* Makes a fresh machine; whatever was done with one before is forgotten. */
int mr_source_world_start(struct mr_source_world *world);
void mr_source_world_close(struct mr_source_world *world);

/* One step; what it asks for is done and completed. Actions point to what lives until the next. */
enum mr_step mr_source_world_step(struct mr_source_world *world, unsigned actor, struct mr_source_action *action);
/* Pages that the next fetch of the dirty log hands over; `unchanged`: they are looked at once without any change. */
int mr_source_world_dirty(struct mr_source_world *world, uint32_t block, uint64_t start, uint64_t length,
			  bool unchanged);
/* The next look at each of these pages finds what was sent of it last. */
int mr_source_world_unchanged(struct mr_source_world *world, uint32_t block, uint64_t start, uint64_t length);
/* Behind all that was sent of them, these pages are looked at once more, and are not zero. */
int mr_source_world_unsent(struct mr_source_world *world, uint32_t block, uint64_t start, uint64_t length);
/* The return path of a channel has given so many bytes; `ended`: and nothing will follow. */
void mr_source_world_arrive(struct mr_source_world *world, uint32_t channel, uint64_t bytes, bool ended);
/* Writing to a channel fails from now on. */
void mr_source_world_break(struct mr_source_world *world, uint32_t channel, int error);
/* The operator's command; false if the machine refuses it. */
bool mr_source_world_command(struct mr_source_world *world, enum mr_source_command command);
/* The guest's operator stops it, or lets it go on; false if the machine refuses it. */
bool mr_source_world_guest(struct mr_source_world *world, bool runs);
/* The channel that the machine calls by this number; NULL if it has not opened it, or the recording has no such. */
struct mr_source_channel *mr_source_world_channel(struct mr_source_world *world, uint32_t machine_channel);
/* All recorded bytes were made. */
bool mr_source_world_is_complete(const struct mr_source_world *world);
/* The next send of a target page; NULL if there is none any more on this connection. */
const struct mr_source_send *mr_source_world_next_send(const struct mr_source_world *world, uint32_t block,
						       uint64_t page);

/* The block with this name among those of a source; MR_SOURCE_NONE if there is none. */
uint32_t mr_source_find_block(const struct mr_outgoing_config *config, struct mr_bytes name);

/* ---- For the parts of the world ---- */

/* Both return -1, for the caller to return: what memory is missing for, and why the input failed. */
int mr_source_no_memory(struct mr_source_world *world, const char *what);
int mr_source_input_failed(struct mr_source_world *world, const struct mr_input *input);
/* Makes room for one more element than `count`; NULL if memory is short, and the array is as it was. */
void *mr_source_grow(void *array, size_t count, size_t *capacity, size_t element);

#endif
