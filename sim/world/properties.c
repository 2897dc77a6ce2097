/* properties.c: names and sentences of the properties. */
#include "sim/world/properties.h"

#include <stddef.h>

struct line {
	const char *name, *text;
};

static const struct line properties[MR_PROPERTY_COUNT] = {
#define MR_ALWAYS(symbol, name, text)     [MR_PROPERTY_##symbol] = {name, text},
#define MR_EVENTUALLY(symbol, name, text) [MR_PROPERTY_##symbol] = {name, text},
#include "sim/world/properties.def"
};

static const struct line events[MR_SOMETIMES_COUNT] = {
#define MR_SOMETIMES(symbol, name, text) [MR_SOMETIMES_##symbol] = {name, text},
#include "sim/world/properties.def"
};

const char *mr_property_name(enum mr_property property)
{
	return (unsigned)property < MR_PROPERTY_COUNT ? properties[property].name : NULL;
}

const char *mr_property_text(enum mr_property property)
{
	return (unsigned)property < MR_PROPERTY_COUNT ? properties[property].text : NULL;
}

const char *mr_sometimes_name(enum mr_sometimes event)
{
	return (unsigned)event < MR_SOMETIMES_COUNT ? events[event].name : NULL;
}

const char *mr_sometimes_text(enum mr_sometimes event)
{
	return (unsigned)event < MR_SOMETIMES_COUNT ? events[event].text : NULL;
}
