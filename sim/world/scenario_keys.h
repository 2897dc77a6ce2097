/*
 * scenario_keys.h: sections and keys of scenario files as one table, by which they are read, written, checked and
 * documented, so that these cannot differ.
 */
#ifndef MR_WORLD_SCENARIO_KEYS_H
#define MR_WORLD_SCENARIO_KEYS_H

#include "sim/world/scenario.h"

/* How a value is written. */
enum mr_key_kind {
	MR_KEY_NUMBER,       /* 12 */
	MR_KEY_SIZE,         /* 16M: bytes */
	MR_KEY_PAGES,        /* 16M: bytes, kept as target pages */
	MR_KEY_TIME,         /* 50us: ns */
	MR_KEY_MILLISECONDS, /* 300ms, kept as ms */
	MR_KEY_BANDWIDTH,    /* 10Gbit, 32MiB: bytes a second */
	MR_KEY_WORD,         /* one of `words` */
	MR_KEY_NAME,         /* printable characters without blanks */
	MR_KEY_FILE,         /* name of a file */
	MR_KEY_BLOCK,        /* name of a block, kept as its number */
	MR_KEY_VCPUS,        /* 0-3: the first, and at `other` how many */
	MR_KEY_SHARES,       /* zero:300 text:700 */
	MR_KEY_CAPABILITIES, /* postcopy-ram, return-path: struct mr_scenario_migration's, and its switches */
	MR_KEY_MOMENT,       /* 5ms, switch + 5ms; at `other` the trigger */
	MR_KEY_MOMENT_BYTE,  /* the same, or byte 4096 */
};

struct mr_key_word {
	const char *text;
	uint64_t value;
};

struct mr_scenario_key {
	const char *name;
	enum mr_key_kind kind;
	uint16_t offset, size;           /* of the field in its section's struct; `size` bytes */
	uint16_t other;                  /* offset of the second field, where the kind has one */
	uint64_t minimum, maximum;       /* as kept, but PAGES: bytes; NAME, FILE: characters */
	const struct mr_key_word *words; /* WORD: every value; else what may stand instead of a number. An entry without
					    text ends them. NULL: none */
	const char *otherwise;           /* the default; NULL: the key must be given */
};

enum mr_scenario_section_number {
	MR_SECTION_SCENARIO,
	MR_SECTION_GUEST,
	MR_SECTION_BLOCK,
	MR_SECTION_WORKLOAD,
	MR_SECTION_LINK,
	MR_SECTION_COSTS,
	MR_SECTION_MIGRATION,
	MR_SECTION_CHOICES,
	MR_SECTION_FAULT,
	MR_SECTION_OPERATOR,
	MR_SECTION_COUNT
};

struct mr_scenario_section {
	const char *name;
	bool named;    /* [block NAME]: an array of structs that begin with their name; else one struct */
	size_t offset; /* in struct mr_scenario */
	size_t size;   /* of one struct, bytes */
	size_t count;  /* named: offset of the uint32_t that says how many there are */
	uint32_t most; /* named: at most so many; else 1 */
	const struct mr_scenario_key *keys;
	unsigned key_count;
};

enum {
	MR_SCENARIO_KEYS_MAX = 32,     /* of a section */
	MR_SCENARIO_ELEMENTS_MAX = 32, /* sections of one kind */
	MR_KEY_TEXT_MAX = 256,
};

extern const struct mr_scenario_section mr_scenario_sections[MR_SECTION_COUNT];

/* The key of this name in a section; NULL if there is none. */
const struct mr_scenario_key *mr_scenario_key_find(enum mr_scenario_section_number section, const char *name);
/* How many there are of a section; the struct of the one with this number. */
uint32_t mr_scenario_section_count(const struct mr_scenario *scenario, enum mr_scenario_section_number section);
void *mr_scenario_element(struct mr_scenario *scenario, enum mr_scenario_section_number section, uint32_t index);
const void *mr_scenario_element_of(const struct mr_scenario *scenario, enum mr_scenario_section_number section,
				   uint32_t index);
/* Sets every key that has a default to it. */
void mr_scenario_set_defaults(enum mr_scenario_section_number section, void *element);
/* Fills in what defaults leave to other keys: a page size, the rest of a block, that a fault counts. */
void mr_scenario_imply(const struct mr_scenario *scenario, enum mr_scenario_section_number section, void *element);

/* A field as a number; text kinds have none. */
uint64_t mr_key_get(const struct mr_scenario_key *key, const void *element);
void mr_key_set(const struct mr_scenario_key *key, void *element, uint64_t value);
/* Whether two structs of one section agree in the key. */
bool mr_key_is_equal(const struct mr_scenario_key *key, const void *a, const void *b);
/* What a value has to be: "a time from 0ns to 10s, or never". */
void mr_key_describe(const struct mr_scenario_key *key, char out[MR_KEY_TEXT_MAX]);
/* The value as it is written; of PAGES and BLOCK by what the scenario says of pages and blocks. */
void mr_key_format(const struct mr_scenario_key *key, const struct mr_scenario *scenario, const void *element,
		   char out[MR_KEY_TEXT_MAX]);
/* Takes a value as it is written. PAGES are kept in bytes for now, and BLOCK is the caller's. False with nothing
 * changed if it is none. */
bool mr_key_read(const struct mr_scenario_key *key, void *element, const char *text);
/* What of a text that was refused is at fault: the one capability, else all of it. */
void mr_key_find_culprit(const struct mr_scenario_key *key, const char *text, char out[MR_KEY_TEXT_MAX]);
/* Whether a field that was made has a value that can be written and read. */
bool mr_key_is_possible(const struct mr_scenario_key *key, const void *element);

/* Whether a name can stand in a file: 1 to so many printable characters, none of them a blank, ] or ;. */
bool mr_scenario_is_name(const char *name, size_t longest);
/* Whether a fault of this kind comes with the `count`-th of something, instead of at a moment. */
bool mr_fault_counts(enum mr_fault_kind kind);

#endif
