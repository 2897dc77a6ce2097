/* properties.h: the properties of properties.def by number and name, and how a run breaks one. */
#ifndef MR_WORLD_PROPERTIES_H
#define MR_WORLD_PROPERTIES_H

#include <stdint.h>

/* What holds always, then what holds in the end, in the table's order. */
enum mr_property {
	MR_PROPERTY_NONE,
#define MR_ALWAYS(symbol, name, text)     MR_PROPERTY_##symbol,
#define MR_EVENTUALLY(symbol, name, text) MR_PROPERTY_##symbol,
#include "sim/world/properties.def"
	MR_PROPERTY_COUNT
};

enum mr_sometimes {
#define MR_SOMETIMES(symbol, name, text) MR_SOMETIMES_##symbol,
#include "sim/world/properties.def"
	MR_SOMETIMES_COUNT
};

/* "placed-once"; NULL if there is no such property, as with MR_PROPERTY_NONE. */
const char *mr_property_name(enum mr_property property);
/* The sentence that states it; NULL like the name. */
const char *mr_property_text(enum mr_property property);
/* The same of events; NULL if there is no such event. */
const char *mr_sometimes_name(enum mr_sometimes event);
const char *mr_sometimes_text(enum mr_sometimes event);

/* How it was broken first. */
struct mr_violation {
	enum mr_property property; /* MR_PROPERTY_NONE: not at all */
	uint64_t time;             /* virtual, ns */
	char text[256];            /* one line: where, expected, found */
};

#endif
