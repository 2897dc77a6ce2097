/*
 * migref.h: the protocol of QEMU's live migration of RAM, as records.
 *
 * A migration is a set of byte streams: the two directions of each connection between source and destination. This
 * library turns such streams into records and records into streams. It does no I/O, asks no clock, starts no
 * thread and keeps no global state: bytes come in through a window that the caller moves, records come out one at a
 * time.
 *
 *     struct mr_session session;            what the channels of one migration share
 *     struct mr_decoder decoder;            one direction of one connection
 *
 *     mr_session_init(&session, NULL, NULL, NULL);
 *     mr_decoder_init(&decoder, &session, MR_ROLE_MAIN, 0);
 *     while ((result = mr_decode(&decoder, window, length, at_end, &record)) == MR_RECORD)
 *         window += record.length, length -= record.length;
 *
 * Contents: bytes - rules and findings - profiles - context and session - records - decoding - fields and encoding -
 *           RAM content - multifd methods - channels.
 *
 * Rule ids in the comments (STR-001) are those of SPEC.md.
 */
#ifndef MIGREF_H
#define MIGREF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MR_VERSION "0.1.0"

/* ---- Bytes ------------------------------------------------------------------------------------------------------- */

/* A run of bytes that belongs to somebody else; valid as long as the window it points into. */
struct mr_bytes {
	const uint8_t *data;
	size_t length;
};

/* Limits. Every length from a stream meets one of these before anything is done with it (STR-027). */
enum {
	MR_NAME_MAX = 255,            /* bytes of a section, block, capability or subsection name: a u8 on the wire */
	MR_BLOCKS_MAX = 1024,         /* RAM blocks of one guest */
	MR_SECTIONS_MAX = 256,        /* handlers that send START sections */
	MR_MACHINE_NAME_MAX = 255,    /* bytes of the machine type name */
	MR_CAPABILITIES_MAX = 64,     /* names in the capabilities subsection */
	MR_PAGE_SIZE_MIN = 1024,      /* target page, bytes */
	MR_PAGE_SIZE_MAX = 65536,     /* target page, bytes */
	MR_PACKET_PAGES_MAX = 512,    /* entries of a multifd packet: 512 KiB of the smallest pages */
	MR_PACKET_DATA_SIZE = 524288, /* page bytes of a full multifd packet */
	MR_PACKET_PAYLOAD_MAX = 2 * MR_PACKET_DATA_SIZE, /* compressed payload of a multifd packet (MFD-016) */
	MR_DEVICE_STATE_MAX = 16 << 20,                  /* payload of a multifd device-state packet */
	MR_DESCRIPTION_MAX = 64 << 20,                   /* VMDESCRIPTION */
	MR_MAPPED_PIECE = 1 << 20,                       /* bitmap or pages of a mapped-ram file in one record */
	MR_RETURN_PAYLOAD_MAX = 512,                     /* counted payload of a return path message (RP-003) */
	MR_RESOLVE_MAX = 64 << 20,   /* bytes in which undelimited device sections are searched (STR-023) */
	MR_ZSTD_WINDOW_LOG_MAX = 27, /* a zstd payload may ask for no larger window (MFD-027) */
};

/* ---- Rules and findings ------------------------------------------------------------------------------------------ */

/*
 * What a breach of a rule makes of a stream, mildest first. An acceptable stream breaks a rule, yet a conforming
 * receiver may take it. The three others are invalid: a legal record at the wrong moment, a record that is consistent
 * but cannot be carried out, and bytes that cannot be read.
 */
enum mr_verdict {
	MR_VALID,
	MR_ACCEPTABLE,
	MR_STATE,
	MR_RUNTIME,
	MR_MALFORMED,
};

enum mr_rule {
	MR_NO_RULE,
#define MR_RULE(symbol, id, verdict, title) MR_##symbol,
#include "rules.def"
#undef MR_RULE
	MR_RULE_COUNT
};

/* "STR-001"; NULL if there is no such rule. */
const char *mr_rule_id(enum mr_rule rule);
/* One line that states the rule. */
const char *mr_rule_title(enum mr_rule rule);
/* What a breach makes of a stream, unless the finding says otherwise. */
enum mr_verdict mr_rule_verdict(enum mr_rule rule);
/* MR_NO_RULE if no rule has this id. */
enum mr_rule mr_rule_by_id(const char *id);
/* "valid", "acceptable", "state", "runtime", "malformed". */
const char *mr_verdict_name(enum mr_verdict verdict);

/* One breach of one rule at one place. */
struct mr_finding {
	enum mr_rule rule;
	enum mr_verdict verdict;
	uint32_t channel;  /* as given to mr_decoder_init() */
	bool backward;     /* seen on the return path */
	uint64_t offset;   /* of the byte or record in the channel's direction */
	char expected[96]; /* what the rule asks for, as text without a full stop */
	char found[96];    /* what stood there */
};

/* Called for each finding, in the order of the stream. */
typedef void mr_report_function(void *argument, const struct mr_finding *finding);

/* ---- Profiles ---------------------------------------------------------------------------------------------------- */

/* What distinguishes the releases of QEMU, a switch each; SPEC.md has the table. */
enum mr_switch {
#define MR_SWITCH(symbol, name, since, until, property, text) MR_SWITCH_##symbol,
#include "profile.def"
#undef MR_SWITCH
	MR_SWITCH_COUNT
};

/* A release family with its machine type's properties on top. */
struct mr_profile {
	bool known; /* false: nothing is known of the release, every switch may be on or off */
	bool on[MR_SWITCH_COUNT];
	char release[16]; /* "7.2" */
};

/*
 * Fills `profile` with what `release` ("7.2", "7.2.22", "11.0.92") does by itself. Returns 0, or -1 if the text is not
 * a release from 2.5 to 11.1; the profile is then unknown.
 */
int mr_profile_init(struct mr_profile *profile, const char *release);
/*
 * Applies the compatibility properties of a machine type ("pc-i440fx-7.2"); a name without a version changes nothing.
 */
void mr_profile_apply_machine(struct mr_profile *profile, const char *machine);
/* Sets a switch by its property name ("multifd-flush-after-each-section"). Returns 0, or -1 if there is none. */
int mr_profile_set_property(struct mr_profile *profile, const char *property, bool on);
/* True if the release is one of the families from `since` to `until` ("": no end), or if nothing is known of it. */
bool mr_profile_within(const struct mr_profile *profile, const char *since, const char *until);
/* True if the release does this, or if nothing is known of the release. */
bool mr_profile_may(const struct mr_profile *profile, enum mr_switch which);
/* True only if the release is known to do this. */
bool mr_profile_does(const struct mr_profile *profile, enum mr_switch which);
/* The table itself, for printing: name, first and last release ("" for the ends), property or "", one line of text. */
struct mr_switch_row {
	const char *name, *since, *until, *property, *text;
};
const struct mr_switch_row *mr_profile_row(enum mr_switch which);

/* ---- Context and session ----------------------------------------------------------------------------------------- */

/* Capabilities that change what stands in a stream. */
enum mr_capability {
	MR_CAPABILITY_POSTCOPY_RAM = 1 << 0,
	MR_CAPABILITY_RETURN_PATH = 1 << 1,
	MR_CAPABILITY_IGNORE_SHARED = 1 << 2,
	MR_CAPABILITY_MAPPED_RAM = 1 << 3,
	MR_CAPABILITY_MULTIFD = 1 << 4,
	MR_CAPABILITY_XBZRLE = 1 << 5,
	MR_CAPABILITY_COMPRESS = 1 << 6,
	MR_CAPABILITY_POSTCOPY_PREEMPT = 1 << 7,
	MR_CAPABILITY_COLO = 1 << 8,
	MR_CAPABILITY_DIRTY_BITMAPS = 1 << 9,
	MR_CAPABILITY_SWITCHOVER_ACK = 1 << 10,
	MR_CAPABILITY_BACKGROUND_SNAPSHOT = 1 << 11,
	MR_CAPABILITY_VALIDATE_UUID = 1 << 12,
	MR_CAPABILITY_RDMA = 1 << 13, /* not a capability of QEMU's: pages go beside the stream */
};

/* Their names, by index from 0, each with its bit; NULL behind the last. */
const char *mr_capability_at(size_t index, uint32_t *bit);
/* The bit of a capability named as in QMP ("postcopy-ram"); 0 if it is none of these. */
uint32_t mr_capability_by_name(const char *name);
/* True if QMP knows a capability of this name, whether or not it changes the stream. */
bool mr_capability_is_known(const char *name);

struct mr_description;

/* What a stream does not say about itself. Zero it for "nothing is known". */
struct mr_context {
	struct mr_profile profile; /* of the source; .known = false if not known */
	bool capabilities_known;   /* false: `capabilities` is what the stream shows, not all there is */
	uint32_t capabilities;     /* enum mr_capability, on both sides */
	uint32_t target_page_size; /* bytes; 0: as the stream says, else 4096 */
	uint32_t multifd_channels; /* 0: not known */
	uint32_t multifd_method;   /* flag of the method (MFD-021), MR_METHOD_UNKNOWN if not known */
	bool no_configuration;     /* send-configuration is off */
	bool no_footer;            /* send-section-footer is off */
	bool uuid_known;
	uint8_t uuid[16];
	char machine[MR_MACHINE_NAME_MAX + 1]; /* "": not known */
	/*
	 * Of the very machine that sends: its device sections end where this says, as soon as that much has come. Or,
	 * `description_foreign`, of another stream of such a machine, for sections that the stream does not describe by
	 * itself. The caller's; NULL if there is none.
	 */
	const struct mr_description *description;
	bool description_foreign;
};

#define MR_METHOD_UNKNOWN UINT32_MAX

/* A RAM block as the stream lists it. */
struct mr_block {
	uint32_t index; /* order of appearance, from 0 */
	bool declared;  /* by the block list; false: only named by a page, request or discard */
	uint8_t name_length;
	char name[MR_NAME_MAX + 1]; /* with a final NUL */
	uint16_t slot;              /* private: where block_slots has it */
	uint64_t used_length;       /* bytes; 0 if not declared */
	uint64_t page_size;         /* host page, bytes; 0: not sent, hence the ordinary one */
	uint64_t address;           /* guest-physical, with ignore-shared */
};

/* A handler that sent START: its PART and END sections carry the id alone, on a recovery connection too. */
struct mr_section_entry {
	uint32_t id, instance, version;
	bool is_ram;
	uint8_t idstr_length;
	char idstr[MR_NAME_MAX];
};

/*
 * What the channels of one migration share. The fields are for reading; the functions below change them.
 * About 400 KiB: place it in static memory or on the heap.
 */
struct mr_session {
	struct mr_context context;
	uint32_t target_page_size;  /* in force, bytes */
	bool return_path;           /* OPEN_RETURN_PATH was seen */
	bool advised;               /* POSTCOPY_ADVISE was seen */
	bool listening;             /* POSTCOPY_LISTEN was seen: RAM sections are postcopy ones */
	bool colo;                  /* COLO messages follow the precopy stream */
	uint64_t page_size_summary; /* from ADVISE; 0 if none */
	uint32_t section_count;
	struct mr_section_entry sections[MR_SECTIONS_MAX]; /* handlers that sent START */
	uint32_t block_count;
	struct mr_block blocks[MR_BLOCKS_MAX];
	/* Hash of names: index + 1. What stands in a slot counts only if its block has that slot. */
	uint16_t block_slots[2 * MR_BLOCKS_MAX];
	mr_report_function *report;
	void *report_argument;
};

/* `context` may be NULL (nothing known); `report` may be NULL (findings are dropped, errors remain). */
void mr_session_init(struct mr_session *session, const struct mr_context *context, mr_report_function *report,
		     void *report_argument);
/* NULL if no record has named such a block yet. */
const struct mr_block *mr_session_find_block(const struct mr_session *session, struct mr_bytes name);
/* Entries of a multifd packet: 524288 / target page size (MFD-012). */
uint32_t mr_session_packet_pages(const struct mr_session *session);
/*
 * The target page size, bytes, that the description at the end of a whole main stream states; 0 if there is none.
 * Targets whose smallest page is not 4 KiB tell it nowhere else (STR-007): give it to the session before decoding.
 */
uint32_t mr_described_page_size(struct mr_bytes stream);

/* ---- Records ----------------------------------------------------------------------------------------------------- */

/* What a connection is for. The two directions of one connection are decoded by two decoders. */
enum mr_role {
	MR_ROLE_MAIN,     /* forward: header, sections, commands */
	MR_ROLE_RECOVERY, /* forward: a main channel that goes on after a cut, without header */
	MR_ROLE_PREEMPT,  /* forward: bare RAM page records */
	MR_ROLE_MULTIFD,  /* forward: initial packet, packets */
	MR_ROLE_RETURN,   /* backward: return path messages */
	MR_ROLE_COUNT
};

const char *mr_role_name(enum mr_role role);

enum mr_kind {
	/* main channel */
	MR_FILE_HEADER,
	MR_CONFIGURATION,
	MR_CONFIGURATION_SUBSECTION,
	MR_SECTION_START,
	MR_SECTION_PART,
	MR_SECTION_END,
	MR_SECTION_FULL,
	MR_SECTION_DATA, /* a body whose content is not read here */
	MR_SECTION_FOOTER,
	MR_COMMAND,
	MR_EOF,
	MR_VMDESCRIPTION,
	MR_COLO_MESSAGE,
	/* body of a `ram` section, preempt channel */
	MR_RAM_SIZE,
	MR_RAM_BLOCK,
	MR_RAM_BITMAP, /* of a mapped-ram file, as MR_RAM_PAGES */
	MR_RAM_PAGES,
	MR_RAM_ZERO,
	MR_RAM_PAGE,
	MR_RAM_XBZRLE,
	MR_RAM_COMPRESSED,
	MR_RAM_HOOK,
	MR_RAM_FLUSH,
	MR_RAM_EOS,
	/* return path */
	MR_RETURN_MESSAGE,
	/* multifd channel */
	MR_MULTIFD_INIT,
	MR_MULTIFD_PACKET,
	MR_MULTIFD_DEVICE_STATE,
	/* anywhere */
	MR_OPAQUE, /* the rest of a stream that cannot be delimited */
	MR_KIND_COUNT
};

/* "ram-page" */
const char *mr_kind_name(enum mr_kind kind);

enum mr_command_number {
	MR_COMMAND_OPEN_RETURN_PATH = 1,
	MR_COMMAND_PING = 2,
	MR_COMMAND_POSTCOPY_ADVISE = 3,
	MR_COMMAND_POSTCOPY_LISTEN = 4,
	MR_COMMAND_POSTCOPY_RUN = 5,
	MR_COMMAND_POSTCOPY_RAM_DISCARD = 6,
	MR_COMMAND_PACKAGED = 7,
	MR_COMMAND_ENABLE_COLO = 8,
	MR_COMMAND_POSTCOPY_RESUME = 9,
	MR_COMMAND_RECV_BITMAP = 10,
	MR_COMMAND_SWITCHOVER_START = 11,
	MR_COMMAND_COUNT
};

/* "POSTCOPY_RAM_DISCARD"; NULL if there is no such command. */
const char *mr_command_name(unsigned number);

enum mr_return_type {
	MR_RETURN_SHUT = 1,
	MR_RETURN_PONG = 2,
	MR_RETURN_REQ_PAGES_ID = 3,
	MR_RETURN_REQ_PAGES = 4,
	MR_RETURN_RECV_BITMAP = 5,
	MR_RETURN_RESUME_ACK = 6,
	MR_RETURN_SWITCHOVER_ACK = 7,
	MR_RETURN_COUNT
};

/* "REQ_PAGES_ID"; NULL if there is no such message. */
const char *mr_return_name(unsigned type);

/* Low bits of a RAM record's first word (RAM-001). */
enum mr_ram_flag {
	MR_RAM_FLAG_ZERO = 0x002,
	MR_RAM_FLAG_SIZE = 0x004,
	MR_RAM_FLAG_PAGE = 0x008,
	MR_RAM_FLAG_EOS = 0x010,
	MR_RAM_FLAG_CONTINUE = 0x020,
	MR_RAM_FLAG_XBZRLE = 0x040,
	MR_RAM_FLAG_HOOK = 0x080,
	MR_RAM_FLAG_COMPRESSED = 0x100,
	MR_RAM_FLAG_FLUSH = 0x200,
};

/* Bits of a multifd packet's flags (MFD-011). */
enum mr_multifd_flag {
	MR_MULTIFD_FLAG_SYNC = 0x01,
	MR_MULTIFD_METHOD_MASK = 0x3e,
	MR_MULTIFD_FLAG_ZLIB = 0x02,
	MR_MULTIFD_FLAG_ZSTD = 0x04,
	MR_MULTIFD_FLAG_QPL = 0x08,
	MR_MULTIFD_FLAG_UADK = 0x10,
	MR_MULTIFD_FLAG_QATZIP = 0x20,
	MR_MULTIFD_FLAG_DEVICE_STATE = 0x40,
};

/* How the end of a section body was found (STR-023). */
enum mr_delimiter {
	MR_DELIMITED_BY_DESCRIPTION, /* the VMDESCRIPTION states the size */
	MR_DELIMITED_BY_CHAIN,       /* the only chain of headers and footers that fits */
	MR_DELIMITED_BY_FOOTER,      /* the first footer that is followed by something legal: a guess, and named so */
};

enum mr_subsection {
	MR_SUBSECTION_TARGET_PAGE_BITS,
	MR_SUBSECTION_CAPABILITIES,
	MR_SUBSECTION_UUID,
};

struct mr_file_header {
	uint32_t version;
};

struct mr_configuration {
	struct mr_bytes machine;
};

struct mr_configuration_subsection {
	enum mr_subsection which;
	uint32_t version;
	uint32_t target_page_bits;    /* of target-page-bits */
	uint32_t capability_count;    /* of capabilities */
	struct mr_bytes capabilities; /* counted strings, as on the wire; see mr_counted_string() */
	struct mr_bytes uuid;         /* of uuid: 16 bytes */
};

struct mr_section {
	uint32_t id;
	struct mr_bytes idstr; /* of PART and END: what START said */
	uint32_t instance;     /* START, FULL */
	uint32_t version;      /* START, FULL */
};

struct mr_section_data {
	uint32_t id;
	struct mr_bytes bytes;
	enum mr_delimiter delimiter;
};

struct mr_footer {
	uint32_t id;
};

struct mr_command {
	uint16_t number;            /* enum mr_command_number */
	uint16_t sent;              /* as on the wire: 3.0 numbers RESUME and RECV_BITMAP one lower */
	uint16_t length;            /* of the counted payload */
	uint32_t value;             /* PING */
	uint64_t page_size_summary; /* ADVISE of length 16 */
	uint64_t target_page_size;  /* ADVISE of length 16 */
	struct mr_bytes block;      /* RAM_DISCARD, RECV_BITMAP: name */
	uint32_t range_count;       /* RAM_DISCARD */
	struct mr_bytes ranges;     /* RAM_DISCARD: pairs of be64, see mr_discard_range() */
	uint32_t package_length;    /* PACKAGED: the blob's records follow with depth 1 */
};

struct mr_vmdescription {
	struct mr_bytes json;
};

struct mr_colo_message {
	uint32_t message; /* 0 to 6 */
	uint64_t size;    /* of message 4 (vmstate-size) */
};

struct mr_ram_size {
	uint64_t total;       /* bytes of all listed blocks */
	uint32_t other_flags; /* bits beside 0x004, normally 0 */
};

struct mr_ram_block {
	uint32_t block; /* index in the session */
	struct mr_bytes name;
	uint64_t used_length;
	bool has_page_size, has_address, has_ignored;
	uint64_t page_size;  /* of the block's host pages */
	uint64_t address;    /* guest-physical */
	uint8_t ignored;     /* 4.0 with ignore-shared only */
	bool has_mapped;     /* a mapped-ram header, of which the fields below are */
	bool mapped_ignored; /* neither bitmap nor pages: both places are 0 */
	uint32_t mapped_version;
	uint64_t mapped_page_size;
	uint64_t bitmap_offset; /* in the file, as the next */
	uint64_t pages_offset;
};

/*
 * A piece of a block's bitmap in a mapped-ram file, and the padding behind it. Page p is bit p % 8 of byte p / 8, as
 * every little-endian host writes it; a set bit says that the page's content stands in the file, a clear one that the
 * page is zero.
 */
struct mr_ram_bitmap {
	uint32_t block;          /* index in the session */
	struct mr_bytes name;    /* of the block, not on the wire here */
	uint64_t first_page;     /* of the first bit; a multiple of 64 */
	struct mr_bytes bits;    /* at most MR_MAPPED_PIECE bytes; may be empty */
	struct mr_bytes padding; /* at most MR_MAPPED_PIECE bytes, without meaning */
};

/*
 * A piece of a block's pages in a mapped-ram file; what stands in the place of a page without a set bit has no meaning.
 */
struct mr_ram_pages {
	uint32_t block;       /* index in the session */
	struct mr_bytes name; /* of the block, not on the wire here */
	uint64_t address;     /* byte offset in the block */
	struct mr_bytes data; /* at most MR_MAPPED_PIECE bytes */
};

/* ZERO, PAGE, XBZRLE, COMPRESSED; HOOK, FLUSH and EOS use `address` and `flags` alone. */
struct mr_ram_page {
	uint32_t block;       /* index in the session */
	uint32_t flags;       /* all low bits as sent */
	uint64_t address;     /* byte offset in the block, a multiple of the target page size */
	struct mr_bytes name; /* empty (data NULL) with CONTINUE */
	uint8_t fill;         /* ZERO */
	uint8_t encoding;     /* XBZRLE: 1 */
	struct mr_bytes data; /* PAGE: one target page; XBZRLE and COMPRESSED: the encoding */
};

struct mr_return_message {
	uint16_t type;          /* enum mr_return_type */
	uint16_t length;        /* of the counted payload */
	uint32_t value;         /* SHUT, PONG, RESUME_ACK */
	uint64_t start;         /* REQ_PAGES, REQ_PAGES_ID: bytes */
	uint32_t page_length;   /* REQ_PAGES, REQ_PAGES_ID: bytes */
	struct mr_bytes block;  /* REQ_PAGES_ID, RECV_BITMAP: name; REQ_PAGES: the remembered one */
	uint64_t bitmap_size;   /* RECV_BITMAP: bytes */
	struct mr_bytes bitmap; /* RECV_BITMAP: page p is bit p % 8 of byte p / 8 */
	uint64_t end_mark;      /* RECV_BITMAP */
};

struct mr_multifd_init {
	uint32_t version;
	struct mr_bytes uuid; /* 16 bytes */
	uint8_t id;
	struct mr_bytes reserved; /* 39 bytes */
};

struct mr_multifd_packet {
	uint32_t version;
	uint32_t flags; /* enum mr_multifd_flag */
	uint32_t pages_alloc;
	uint32_t normal_pages;
	uint32_t next_packet_size;
	uint64_t packet_num;
	uint32_t zero_pages;
	struct mr_bytes reserved; /* 28 bytes */
	struct mr_bytes ramblock; /* 256 bytes */
	uint32_t block;           /* index in the session; UINT32_MAX in a packet without pages */
	uint32_t offset_count;    /* entries on the wire: all of them, used or not */
	struct mr_bytes offsets;  /* be64 each, see mr_multifd_offset() */
	struct mr_bytes payload;  /* empty without normal pages */
};

struct mr_multifd_device_state {
	uint32_t version;
	uint32_t flags;
	struct mr_bytes idstr; /* 256 bytes */
	uint32_t instance;
	uint32_t next_packet_size;
	struct mr_bytes payload;
};

struct mr_opaque {
	struct mr_bytes bytes;
	enum mr_rule rule; /* why it cannot be read further */
};

/* Records tile a stream: each byte belongs to exactly one. Pointers point into the window or the session. */
struct mr_record {
	enum mr_kind kind;
	uint32_t depth;  /* 1 inside a package, else 0 */
	uint64_t offset; /* of the first byte in the channel's direction */
	uint64_t length; /* bytes on the wire */
	union {
		struct mr_file_header file_header;
		struct mr_configuration configuration;
		struct mr_configuration_subsection subsection;
		struct mr_section section;
		struct mr_section_data data;
		struct mr_footer footer;
		struct mr_command command;
		struct mr_vmdescription description;
		struct mr_colo_message colo;
		struct mr_ram_size ram_size;
		struct mr_ram_block ram_block;
		struct mr_ram_bitmap bitmap;
		struct mr_ram_pages pages;
		struct mr_ram_page page;
		struct mr_return_message message;
		struct mr_multifd_init init;
		struct mr_multifd_packet packet;
		struct mr_multifd_device_state device_state;
		struct mr_opaque opaque;
	};
};

/* Takes the next counted string (u8 length, bytes) off `*list`. Returns false at the end or if it is cut. */
bool mr_counted_string(struct mr_bytes *list, struct mr_bytes *string);
/* Range `index` of a RAM_DISCARD, bytes; index < range_count. */
void mr_discard_range(const struct mr_command *command, uint32_t index, uint64_t *start, uint64_t *length);
/* Entry `index` of a packet's offset array; index < offset_count. */
uint64_t mr_multifd_offset(const struct mr_multifd_packet *packet, uint32_t index);
/* True if the names are equal, byte for byte. */
bool mr_bytes_equal(struct mr_bytes a, struct mr_bytes b);
bool mr_bytes_equal_string(struct mr_bytes a, const char *b);

/* ---- Decoding ---------------------------------------------------------------------------------------------------- */

enum mr_result {
	MR_RECORD, /* a record; its bytes are consumed */
	MR_MORE,   /* nothing consumed: the window must hold at least `wanted` bytes, or reach the end */
	MR_DONE,   /* the stream has ended where it may */
	MR_FAILED, /* see `error`; further calls say the same */
};

/* The end of one undelimited device section, found before the section is reached. */
struct mr_device_end {
	uint64_t body, end; /* offsets in the channel: first byte, first byte behind */
	enum mr_delimiter delimiter;
};

enum { MR_DEVICES_MAX = 16384 }; /* device sections of one stretch that is resolved at once */

enum { MR_PENDING_FINDINGS = 8 };

/* One direction of one connection. About 400 KiB, nearly all of it a table that only a main channel touches. */
struct mr_decoder {
	struct mr_session *session;
	enum mr_role role;
	uint32_t channel;
	uint64_t offset;         /* of the next record */
	size_t wanted;           /* after MR_MORE: bytes the window must hold */
	struct mr_finding error; /* after MR_FAILED */
	/* The JSON text of the description that the stream ends with, as soon as it is needed: with the first FULL
	 * section, else empty. Valid as long as the window of that record. */
	struct mr_bytes description;

	/* private to the decoders from here on */
	unsigned state;
	unsigned resume_state; /* of the outer stream while a package is read */
	bool failed, in_package, ended, first_section_seen, init_seen;
	bool requested; /* return path: a block was named */
	bool device_resolved;
	uint64_t package_end;
	uint64_t resume_device_limit; /* of the outer stream while a package is read */
	enum mr_rule rest_rule;       /* why the rest is opaque; MR_NO_RULE: nobody was told yet */
	uint32_t section_id;          /* of the section that is open */
	uint64_t ram_left;            /* bytes of blocks that the block list still owes */
	uint32_t ram_block_list;      /* entries of the block list read so far */
	uint32_t hole_block;          /* mapped-ram: block whose bitmap and pages are at hand */
	uint64_t hole_bitmap, hole_bitmap_end, hole_pages, hole_end; /* their places, offsets in the channel */
	uint32_t last_block;                                         /* for CONTINUE; UINT32_MAX: none */
	uint32_t requested_block;
	uint64_t device_limit; /* end of the stretch that was resolved */
	uint32_t device_count, device_next;
	uint32_t resolve_count; /* stretches that were resolved */
	uint32_t pending_count;
	struct mr_finding pending[MR_PENDING_FINDINGS];
	struct mr_device_end devices[MR_DEVICES_MAX];
};

void mr_decoder_init(struct mr_decoder *decoder, struct mr_session *session, enum mr_role role, uint32_t channel);
/*
 * Decodes the record at `decoder->offset`, whose bytes begin at `window`. `at_end`: nothing follows the window's last
 * byte. The same bytes give the same records however they are cut into windows.
 */
enum mr_result mr_decode(struct mr_decoder *decoder, const uint8_t *window, size_t length, bool at_end,
			 struct mr_record *record);

/* ---- Fields and encoding ----------------------------------------------------------------------------------------- */

enum mr_field_type {
	MR_FIELD_NUMBER, /* big-endian, `length` bytes; shown in decimal */
	MR_FIELD_HEX,    /* the same, shown in hexadecimal */
	MR_FIELD_TEXT,   /* bytes that are usually text */
	MR_FIELD_BYTES,  /* any bytes */
};

/*
 * One field of a record, in the order of the wire. Derived fields (magics, counts, lengths of what follows) are on the
 * wire too; notes are not, they repeat what the reader has to remember. `length` is 0 for a note.
 */
struct mr_field {
	const char *name;
	enum mr_field_type type;
	bool derived, note;
	uint32_t index;  /* in a repeated field, else UINT32_MAX */
	uint64_t offset; /* from the record's first byte */
	uint64_t length; /* bytes on the wire */
	uint64_t number;
	struct mr_bytes bytes;
};

typedef void mr_field_visitor(void *argument, const struct mr_field *field);

/* Visits the fields of a record: what dump prints, what explain annotates and what the encoder writes. */
void mr_visit_fields(const struct mr_record *record, mr_field_visitor *visit, void *argument);
/* Bytes that mr_encode() will write: the twin of record->length, computed from the fields. */
uint64_t mr_encoded_length(const struct mr_record *record);
/* Writes the record from its fields. Returns the bytes written, or 0 if they do not fit into `capacity`. */
size_t mr_encode(const struct mr_record *record, uint8_t *out, size_t capacity);

/* ---- Device sections --------------------------------------------------------------------------------------------- */

enum {
	MR_LAYOUT_MAX = 1 << 20,  /* entries of a description */
	MR_LAYOUT_DEPTH_MAX = 64, /* structs and subsections within each other */
};

/* How the bytes of a field are read. */
enum mr_value {
	MR_VALUE_BYTES, /* as they are: a buffer, or a type that only its device knows */
	MR_VALUE_UNSIGNED,
	MR_VALUE_SIGNED,
	MR_VALUE_BOOL,
	MR_VALUE_TIMER, /* ns at which it expires; all ones: not armed */
	MR_VALUE_MARK,  /* '0' stands for a NULL pointer, '1' says that the object follows */
};

enum mr_layout_kind {
	MR_LAYOUT_DEVICE,
	MR_LAYOUT_FIELD,
	MR_LAYOUT_STRUCT, /* a field whose inside is described too */
	MR_LAYOUT_SUBSECTION,
};

/*
 * One entry of a description. All entries stand in one array in the order of the text, hence of the stream: the first
 * member of an entry is the one behind it, the entry's next sibling the one behind all that is inside of it. Names are
 * never NULL but where it is said.
 */
struct mr_layout {
	enum mr_layout_kind kind;
	uint32_t depth;    /* 0: a device; its members have 1 */
	uint32_t inside;   /* entries of its members and their members, all behind this one */
	uint32_t instance; /* of a device */
	uint32_t version;  /* of all but fields, if has_version */
	uint32_t index;    /* of an element that is described on its own; UINT32_MAX: none is stated */
	uint32_t repeat;   /* runs of this name (entries of this device) that stand before */
	uint64_t size;     /* bytes of one element; of a device or subsection: all, header of the subsection included */
	uint64_t count;    /* elements that follow each other, all as described */
	uint64_t type_size; /* what the type has, if `size` is something else; else 0 */
	enum mr_value value;
	bool has_version;
	bool listed;                  /* array_len or index is given */
	bool in_array;                /* element or elements of an array, alone or with neighbours of the same name */
	bool array_first, array_last; /* of these neighbours */
	bool opened;                  /* a struct: its members take exactly its size */
	const char *name;             /* of a device: idstr; of a subsection: as on the wire */
	const char *type;
	const char *vmsd_name; /* NULL for a field */
};

/* What a VMDESCRIPTION says of one device section. */
struct mr_device_size {
	char idstr[MR_NAME_MAX + 1];
	uint32_t instance;
	uint64_t size; /* bytes of the body */
};

/*
 * Reads the JSON text of a VMDESCRIPTION; it is not needed afterwards. NULL with one line in `error` if the text is not
 * such a description or exceeds a limit (STR-022). jansson must have been given a seed if results are to be the same
 * in each run of a program.
 */
struct mr_description *mr_description_new(struct mr_bytes json, char error[96]);
void mr_description_free(struct mr_description *description);
/* Devices, in the order of the text. */
size_t mr_description_count(const struct mr_description *description);
/* The entry of device `index` < mr_description_count(); its members follow it in memory. */
const struct mr_layout *mr_description_device(const struct mr_description *description, size_t index);
/* All entries. */
const struct mr_layout *mr_description_layouts(const struct mr_description *description, size_t *count);
/* Target page size, bytes; 0 if the text does not say. */
uint64_t mr_description_page_size(const struct mr_description *description);
/* Index of the device with this name and instance, searched from `guess` on and around; SIZE_MAX if there is none. */
size_t mr_description_find(const struct mr_description *description, struct mr_bytes idstr, uint32_t instance,
			   size_t guess);
/* Sizes of the devices; returns how many there are, at most `capacity` are written. */
size_t mr_description_list(const struct mr_description *description, struct mr_device_size *sizes, size_t capacity);
/*
 * Sizes of the device sections that a VMDESCRIPTION lists, in its order. Returns how many there are (at most `capacity`
 * are written), or -1 with one line in `error` if the text is not such a description (STR-022).
 */
long mr_description_sizes(struct mr_bytes json, struct mr_device_size *sizes, size_t capacity, char error[96]);

enum mr_device_event {
	MR_DEVICE_FIELD,
	MR_DEVICE_ARRAY, /* the next fields or structs are its elements */
	MR_DEVICE_ARRAY_END,
	MR_DEVICE_STRUCT,
	MR_DEVICE_STRUCT_END,
	MR_DEVICE_SUBSECTION, /* `bytes` are its header */
	MR_DEVICE_SUBSECTION_END,
	MR_DEVICE_REST, /* bytes that the description does not describe */
};

/* One thing in the body of a device section. */
struct mr_device_item {
	enum mr_device_event event;
	const struct mr_layout *layout; /* NULL: REST */
	uint32_t depth;                 /* arrays, structs and subsections that are open around it */
	uint64_t element;               /* of the array around it, else UINT64_MAX */
	uint64_t offset;                /* from the body's first byte */
	struct mr_bytes bytes;          /* FIELD, SUBSECTION, REST */
	enum mr_value value;            /* FIELD */
	uint64_t number;                /* FIELD, if it has a number; a signed one as two's complement of 64 bits */
};

typedef void mr_device_visitor(void *argument, const struct mr_device_item *item);

/*
 * Walks the body of a device section by its description. The bytes of all FIELD, SUBSECTION and REST items together are
 * the body, and what was begun is ended. Where the description does not describe the bytes, the rest is one item.
 * `report`, which may be NULL, gets what is wrong (DEV-003 to DEV-006, STR-022), with offsets from the body's first
 * byte. Returns true if every byte is described.
 */
bool mr_device_visit(const struct mr_layout *device, struct mr_bytes body, mr_device_visitor *visit,
		     mr_report_function *report, void *argument);

/* ---- RAM content ------------------------------------------------------------------------------------------------- */

/* Result of mr_xbzrle_encode(). */
enum { MR_XBZRLE_SAME = 0, MR_XBZRLE_OVERFLOW = -1 };

/*
 * Encodes `page` against `old`, both `page_size` bytes (at most 65536). Returns the length, MR_XBZRLE_SAME if nothing
 * changed, MR_XBZRLE_OVERFLOW if it does not fit into `capacity` bytes or a run is longer than 16383 (XBZ-001 to
 * XBZ-006).
 */
long mr_xbzrle_encode(const uint8_t *old, const uint8_t *page, size_t page_size, uint8_t *out, size_t capacity);
/*
 * Patches `page` by an encoding. Returns MR_NO_RULE, else the rule broken, with the offset in the encoding in `*at`;
 * the page may then be half patched. `at` may be NULL.
 */
enum mr_rule mr_xbzrle_decode(uint8_t *page, size_t page_size, struct mr_bytes encoding, size_t *at);
/* Checks an encoding without a page: MR_NO_RULE if it decodes. */
enum mr_rule mr_xbzrle_check(size_t page_size, struct mr_bytes encoding, size_t *at);

/* The source's cache of page contents: direct mapped, an entry per slot, memory from the caller. */
struct mr_page_cache {
	uint64_t slots; /* a power of two */
	size_t page_size;
	uint64_t *addresses; /* of each slot; UINT64_MAX if empty */
	uint64_t *ages;
	uint8_t *pages; /* slots * page_size bytes */
};

/* Bytes of memory for `size` bytes of cached pages; 0 if size / page_size is no power of two. */
size_t mr_page_cache_memory(uint64_t size, size_t page_size);
/* Lays an empty cache out in `memory`, which must be aligned for uint64_t and live as long as the cache. */
void mr_page_cache_init(struct mr_page_cache *cache, uint64_t size, size_t page_size, void *memory);
/* The cached content of the page at `address`, or NULL; a hit makes it `generation` old. */
uint8_t *mr_page_cache_find(struct mr_page_cache *cache, uint64_t address, uint64_t generation);
/* Stores a page. False if the slot holds another page that is too young (age + 2 > generation) (XBZ-007). */
bool mr_page_cache_insert(struct mr_page_cache *cache, uint64_t address, const uint8_t *page, uint64_t generation);

/* Bitmaps with a bit for each target page: page p is bit p % 64 of word p / 64. */
size_t mr_bitmap_words(uint64_t bits);
void mr_bitmap_set(uint64_t *map, uint64_t first, uint64_t count);
void mr_bitmap_clear(uint64_t *map, uint64_t first, uint64_t count);
bool mr_bitmap_test(const uint64_t *map, uint64_t bit);
/* First set (clear) bit from `from` on, or `bits` if there is none. */
uint64_t mr_bitmap_next_set(const uint64_t *map, uint64_t bits, uint64_t from);
uint64_t mr_bitmap_next_clear(const uint64_t *map, uint64_t bits, uint64_t from);
uint64_t mr_bitmap_count(const uint64_t *map, uint64_t bits);

/* Bytes of the received bitmap of a block in a RECV_BITMAP answer: ceil(pages / 8) rounded up to 8 (RP-010). */
uint64_t mr_received_bitmap_size(uint64_t pages);
/* Words to wire and back: little-endian inside a big-endian stream; padding bits are written as 0. */
void mr_received_bitmap_encode(const uint64_t *map, uint64_t pages, uint8_t *out);
/* Returns false if `bytes` is not of the size that `pages` needs; padding bits are dropped. */
bool mr_received_bitmap_decode(uint64_t *map, uint64_t pages, struct mr_bytes bytes);

/* Bytes of a block's bitmap in a mapped-ram file: a bit for each page, in whole words of 64 bits. */
uint64_t mr_mapped_bitmap_size(uint64_t pages);

/* True if all bytes are zero. */
bool mr_is_zero(const uint8_t *data, size_t length);

/* Largest per-page compressed payload: what zlib's compressBound() says for one target page (RAM-015). */
size_t mr_page_compress_bound(size_t page_size);
/* Inflates one COMPRESSED record. MR_NO_RULE, or the rule broken; `*produced` is how many bytes of the page were
 * written. */
enum mr_rule mr_page_inflate(struct mr_bytes data, uint8_t *page, size_t page_size, size_t *produced);
/* Deflates one page as QEMU's compress threads do: one complete zlib stream. Returns the length, 0 on failure. */
size_t mr_page_deflate(const uint8_t *page, size_t page_size, int level, uint8_t *out, size_t capacity);

/* ---- multifd methods --------------------------------------------------------------------------------------------- */

/*
 * A method of sending page contents: how the payload of a packet is made from pages and back. The state of a direction
 * lives as long as its channel: the compressing methods never restart their streams.
 */
struct mr_multifd_method {
	const char *name; /* as in QMP: "zlib" */
	uint32_t flag;    /* in the packet's flags */
	bool decodable;   /* false: framed and named, its payload is passed through */
	int level_default, level_min, level_max;

	/* NULL on failure. */
	void *(*send_setup)(size_t page_size, int level);
	void (*send_cleanup)(void *state);
	/* Makes a payload from `count` pages. Returns its length, or -1. */
	long (*send_prepare)(void *state, const uint8_t *const *pages, uint32_t count, uint8_t *out, size_t capacity);

	void *(*recv_setup)(size_t page_size);
	void (*recv_cleanup)(void *state);
	/* Fills `count` pages from a payload. MR_NO_RULE, else the rule broken, with a few words in `found`. */
	enum mr_rule (*recv)(void *state, struct mr_bytes payload, uint8_t *const *pages, uint32_t count,
			     char found[96]);
};

/* Bytes that are enough for any payload of send_prepare(). */
size_t mr_multifd_payload_bound(void);
/* The method with this flag or name; NULL if there is none. */
const struct mr_multifd_method *mr_multifd_method_by_flag(uint32_t flag);
const struct mr_multifd_method *mr_multifd_method_by_name(const char *name);
/* All methods, by index from 0; NULL behind the last. */
const struct mr_multifd_method *mr_multifd_method_at(size_t index);

/* ---- Channels ---------------------------------------------------------------------------------------------------- */

/* What is known of the connections accepted so far, for telling the next one's role (CHN-001). */
struct mr_channel_census {
	uint32_t capabilities; /* enum mr_capability */
	bool capabilities_known;
	uint32_t main, multifd, preempt; /* connections of each role so far */
	bool cut;                        /* every earlier main channel has been cut */
};

/*
 * Role of a new connection by its first bytes (four are enough, fewer will do with less certainty) and its place in the
 * order. Counts it in the census. Returns false if bytes and order contradict each other; `*role` is then what the
 * bytes say.
 */
bool mr_channel_identify(struct mr_channel_census *census, struct mr_bytes first, enum mr_role *role);

/* ---- Checking ---------------------------------------------------------------------------------------------------- */

struct mr_checker;

/*
 * Judges a migration by every rule that needs more than one record: order, state, repetition, what the channels owe
 * each other. It looks at records after they were decoded and reports through the session. Memory grows with the
 * guest's blocks (three bits for each target page) up to a stated limit. NULL if memory is short.
 */
struct mr_checker *mr_checker_new(struct mr_session *session);
void mr_checker_free(struct mr_checker *checker);
/* The next record of a channel. Channels may be given one after the other or interleaved. */
void mr_checker_record(struct mr_checker *checker, const struct mr_decoder *decoder, const struct mr_record *record);
/* The channel has ended (cut: by a broken connection). */
void mr_checker_channel_end(struct mr_checker *checker, const struct mr_decoder *decoder, bool cut);
/* All channels have ended: what they owe each other. */
void mr_checker_finish(struct mr_checker *checker);

#ifdef __cplusplus
}
#endif

#endif
