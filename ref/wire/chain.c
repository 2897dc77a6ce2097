/*
 * chain.c: finding the ends of device sections, which carry no length.
 *
 * Three ways, from the surest to the least sure: the sizes of a description, the one chain of headers and footers that
 * fits a stretch of known end, the next footer that is followed by something plausible.
 */
#include "chain.h"
#include "wire.h"

#include <stdlib.h>

enum { FOOTER_SIZE = 5, COMMAND_SIZE = 5 };
enum { PROBES_MAX = 128 }; /* slots that a search for an id may look at */

/* Length of a FULL header at `at`, 0 if none can be there. Names that no device has would only add false chains. */
static size_t full_header(struct mr_bytes stretch, size_t at, uint32_t *id)
{
	const uint8_t *p = stretch.data + at;
	const size_t left = stretch.length - at;
	size_t length;

	if (left < 6 || p[0] != TYPE_FULL || p[5] == 0)
		return 0;
	length = 6u + p[5] + 8u;
	if (left < length)
		return 0;
	for (size_t i = 0; i < p[5]; i++)
		if (p[6 + i] < 0x20 || p[6 + i] > 0x7e)
			return 0;
	*id = mr_get_be32(p + 1);
	return length;
}

/* Length of a command of fixed length at `at`, 0 if none can be there. */
static size_t plain_command(struct mr_bytes stretch, size_t at, bool *is_run)
{
	const uint8_t *p = stretch.data + at;
	const size_t left = stretch.length - at;
	unsigned number, length;

	if (left < COMMAND_SIZE || p[0] != TYPE_COMMAND)
		return 0;
	number = mr_get_be16(p + 1);
	length = mr_get_be16(p + 3);
	*is_run = number == MR_COMMAND_POSTCOPY_RUN;
	switch (number) {
	case MR_COMMAND_PING:
		return length == 4 && left >= COMMAND_SIZE + 4 ? COMMAND_SIZE + 4 : 0;
	case MR_COMMAND_OPEN_RETURN_PATH:
	case MR_COMMAND_POSTCOPY_LISTEN:
	case MR_COMMAND_POSTCOPY_RUN:
	case MR_COMMAND_SWITCHOVER_START:
		return length == 0 ? COMMAND_SIZE : 0;
	default:
		return 0;
	}
}

/* ---- Chains ---- */

/*
 * Works from the last byte to the first. ways[p] says in how many ways (0, 1, many) the stretch can be filled from p
 * on. A FULL header at p can end with each later footer of its id from which the rest can be filled; those footers form
 * a list for each id, nearest first, and each node sums up what the list from itself on offers.
 */
enum { NOT_HERE = UINT32_MAX, MANY = 2 };

struct node {
	uint32_t footer; /* offset */
	uint32_t next;   /* node of the next footer with this id, NOT_HERE at the end */
	uint32_t total;  /* ways from this footer and all later ones of the id */
};

struct id_slot {
	uint32_t id, first; /* first: node; NOT_HERE: the slot is free */
};

struct search {
	struct mr_bytes stretch;
	uint8_t *ways;
	struct node *nodes;
	struct id_slot *slots;
	uint32_t node_count, node_capacity, slot_mask;
};

/* NULL if the ids crowd here: they come from the stream, and may be chosen to make every search a long one. */
static struct id_slot *slot_of(const struct search *search, uint32_t id)
{
	uint32_t at = id * 2654435761u & search->slot_mask;

	for (unsigned i = 0; i < PROBES_MAX; i++) {
		if (search->slots[at].first == NOT_HERE || search->slots[at].id == id)
			return &search->slots[at];
		at = (at + 1) & search->slot_mask;
	}
	return NULL;
}

static uint32_t sum_ways(uint32_t a, uint32_t b)
{
	return a + b < MANY ? a + b : MANY;
}

/* The nearest footer of `id` at or behind `from`: NULL if there is none. */
static const struct node *first_node(const struct search *search, uint32_t id, size_t from)
{
	const struct id_slot *slot = slot_of(search, id);
	uint32_t at = slot ? slot->first : NOT_HERE;

	/* A footer within the header itself: a header is short, so this loop is. */
	while (at < search->node_count && search->nodes[at].footer < from)
		at = search->nodes[at].next;
	return at < search->node_count ? &search->nodes[at] : NULL;
}

static bool add_footer(struct search *search, uint32_t offset)
{
	const uint32_t id = mr_get_be32(search->stretch.data + offset + 1);
	const uint32_t ways = search->ways[offset + FOOTER_SIZE];
	struct id_slot *slot = slot_of(search, id);
	struct node *node;

	if (!slot)
		return false;
	if (search->node_count == search->node_capacity) {
		const uint32_t capacity = search->node_capacity ? 2 * search->node_capacity : 1024;
		struct node *larger = realloc(search->nodes, capacity * sizeof(*larger));

		if (!larger)
			return false;
		search->nodes = larger;
		search->node_capacity = capacity;
	}
	node = &search->nodes[search->node_count];
	node->footer = offset;
	node->next = slot->first;
	node->total = slot->first < search->node_count ? sum_ways(ways, search->nodes[slot->first].total) : ways;
	slot->id = id;
	slot->first = search->node_count++;
	/* Half of the slots stay free because a footer takes five bytes and there is a slot for every two. */
	return true;
}

static uint8_t ways_from(const struct search *search, size_t at)
{
	const struct mr_bytes stretch = search->stretch;
	const struct node *node;
	size_t length;
	uint32_t id;
	bool is_run;

	if (stretch.data[at] == TYPE_EOF)
		return at + 1 == stretch.length;
	length = full_header(stretch, at, &id);
	if (length) {
		node = first_node(search, id, at + length);
		return node ? (uint8_t)node->total : 0;
	}
	length = plain_command(stretch, at, &is_run);
	if (length && at + length == stretch.length)
		return is_run;
	return length ? search->ways[at + length] : 0;
}

static bool fill_ways(struct search *search)
{
	const struct mr_bytes stretch = search->stretch;

	for (size_t at = stretch.length; at-- > 0;) {
		const bool footer = stretch.data[at] == TYPE_FOOTER && stretch.length - at > FOOTER_SIZE;

		if (footer && search->ways[at + FOOTER_SIZE] && !add_footer(search, (uint32_t)at))
			return false;
		search->ways[at] = ways_from(search, at);
	}
	return true;
}

/* With one way only, each list that is followed holds exactly one footer from which the rest can be filled. */
static enum mr_chain_result collect(const struct search *search, struct mr_chain *chain)
{
	const struct mr_bytes stretch = search->stretch;
	size_t at = 0;

	chain->count = 0;
	while (at < stretch.length && stretch.data[at] != TYPE_EOF) {
		uint32_t id;
		const size_t length = full_header(stretch, at, &id);
		const struct node *node = length ? first_node(search, id, at + length) : NULL;
		bool is_run;

		if (!node) {
			at += plain_command(stretch, at, &is_run);
			continue;
		}
		if (chain->count == chain->capacity)
			return MR_CHAIN_LIMIT;
		chain->devices[chain->count++] =
			(struct mr_device_end){at + length, node->footer, MR_DELIMITED_BY_CHAIN};
		at = (size_t)node->footer + FOOTER_SIZE;
	}
	chain->end = stretch.length;
	return MR_CHAIN_FOUND;
}

enum mr_chain_result mr_chain_resolve(struct mr_bytes stretch, bool footers, struct mr_chain *chain)
{
	struct search search = {.stretch = stretch};
	enum mr_chain_result result = MR_CHAIN_LIMIT;
	size_t slots = 16;

	if (!footers || stretch.length == 0)
		return MR_CHAIN_NONE;
	while (slots < stretch.length / 2)
		slots *= 2;
	search.slot_mask = (uint32_t)slots - 1;
	search.ways = calloc(stretch.length, 1);
	search.slots = malloc(slots * sizeof(*search.slots));
	if (search.ways && search.slots) {
		memset(search.slots, 0xff, slots * sizeof(*search.slots));
		if (fill_ways(&search)) {
			if (search.ways[0] == 1)
				result = collect(&search, chain);
			else
				result = search.ways[0] ? MR_CHAIN_AMBIGUOUS : MR_CHAIN_NONE;
		}
	}
	free(search.ways);
	free(search.slots);
	free(search.nodes);
	return result;
}

/* ---- Sizes of a description ---- */

static const struct mr_device_size *find_size(const struct mr_device_size *sizes, size_t count, size_t guess,
					      struct mr_bytes idstr, uint32_t instance)
{
	/* The description lists the sections in the order of the stream, so the guess is nearly always right. */
	for (size_t i = 0; i < count; i++) {
		const struct mr_device_size *size = &sizes[(guess + i) % count];

		if (size->instance == instance && mr_bytes_equal_string(idstr, size->idstr))
			return size;
	}
	return NULL;
}

bool mr_chain_follow(struct mr_bytes stretch, bool footers, const struct mr_device_size *sizes, size_t size_count,
		     struct mr_chain *chain)
{
	size_t at = 0;

	chain->count = 0;
	while (at < stretch.length && stretch.data[at] == TYPE_FULL) {
		uint32_t id;
		const size_t header = full_header(stretch, at, &id);
		const struct mr_device_size *size;
		struct mr_bytes idstr;
		size_t end;

		if (!header || chain->count == chain->capacity)
			return false;
		idstr = (struct mr_bytes){stretch.data + at + 6, stretch.data[at + 5]};
		size = find_size(sizes, size_count, chain->count, idstr, mr_get_be32(stretch.data + at + header - 8));
		if (!size || size->size > stretch.length - at - header)
			return false;
		end = at + header + (size_t)size->size;
		chain->devices[chain->count++] = (struct mr_device_end){at + header, end, MR_DELIMITED_BY_DESCRIPTION};
		if (footers) {
			if (stretch.length - end < FOOTER_SIZE || stretch.data[end] != TYPE_FOOTER ||
			    mr_get_be32(stretch.data + end + 1) != id)
				return false;
			end += FOOTER_SIZE;
		}
		at = end;
	}
	chain->end = at;
	return true;
}

/* ---- The next footer ---- */

/* Bytes from `at` on that tell whether something that may follow a footer stands there. */
static size_t item_size(struct mr_bytes stretch, size_t at)
{
	const size_t left = stretch.length - at;

	if (left == 0)
		return 1;
	switch (stretch.data[at]) {
	case TYPE_EOF:
		return 2;
	case TYPE_PART:
	case TYPE_END:
	case TYPE_COMMAND:
		return COMMAND_SIZE;
	case TYPE_START:
	case TYPE_FULL:
		return left < 6 ? 6 : 6u + stretch.data[at + 5] + 8u;
	default:
		return 1;
	}
}

/* Whether something that may follow a footer stands at `at`; item_size() bytes are here, or the stream ends before. */
static bool plausible_item(struct mr_bytes stretch, size_t at)
{
	const size_t left = stretch.length - at;
	uint32_t id;

	if (left == 0)
		return true;
	switch (stretch.data[at]) {
	case TYPE_EOF:
		return left == 1 || stretch.data[at + 1] == TYPE_DESCRIPTION;
	case TYPE_PART:
	case TYPE_END:
		return left >= 5;
	case TYPE_START:
		return left > 6 && stretch.data[at + 5] && left >= 6u + stretch.data[at + 5] + 8u;
	case TYPE_FULL:
		return full_header(stretch, at, &id) != 0;
	case TYPE_COMMAND:
		return left >= COMMAND_SIZE && stretch.data[at + 1] == 0 && stretch.data[at + 2] < MR_COMMAND_COUNT;
	default:
		return false;
	}
}

size_t mr_chain_footer(struct mr_bytes stretch, uint32_t id, bool at_end)
{
	const uint8_t *at = stretch.data;
	const uint8_t *end = stretch.data + stretch.length;

	while ((at = memchr(at, TYPE_FOOTER, (size_t)(end - at))) != NULL) {
		const size_t offset = (size_t)(at - stretch.data);

		if (end - at < FOOTER_SIZE)
			break;
		if (mr_get_be32(at + 1) == id) {
			/* More bytes may make this footer the first plausible one, so that no later one is. */
			if (!at_end && stretch.length - offset - FOOTER_SIZE < item_size(stretch, offset + FOOTER_SIZE))
				break;
			if (plausible_item(stretch, offset + FOOTER_SIZE))
				return offset;
		}
		at++;
	}
	return SIZE_MAX;
}

/* ---- The description ---- */

size_t mr_chain_find_description(struct mr_bytes stretch, struct mr_bytes *json)
{
	/* JSON holds no NUL: the last one belongs to the description's own length or is the end mark before it. */
	enum { PREFIX = 6 };
	const size_t limit = stretch.length > MR_DESCRIPTION_MAX ? stretch.length - MR_DESCRIPTION_MAX : 0;
	size_t last = stretch.length;

	while (last > limit && stretch.data[last - 1] != 0)
		last--;
	for (size_t back = 0; back < PREFIX && last > back; back++) {
		const size_t mark = last - 1 - back;
		const uint8_t *at = stretch.data + mark;

		if (stretch.length - mark <= PREFIX || at[0] != TYPE_EOF || at[1] != TYPE_DESCRIPTION || at[6] != '{')
			continue;
		if (mr_get_be32(at + 2) == stretch.length - mark - PREFIX) {
			*json = (struct mr_bytes){at + PREFIX, stretch.length - mark - PREFIX};
			return mark;
		}
	}
	return SIZE_MAX;
}

size_t mr_chain_next_description(struct mr_bytes stretch, size_t from, struct mr_bytes *json)
{
	enum { PREFIX = 6 };

	for (size_t mark = from; mark + PREFIX < stretch.length; mark++) {
		const uint8_t *at = stretch.data + mark;
		const size_t left = stretch.length - mark - PREFIX;
		uint32_t length;

		if (at[0] != TYPE_EOF || at[1] != TYPE_DESCRIPTION || at[PREFIX] != '{')
			continue;
		length = mr_get_be32(at + 2);
		if (length == 0 || length > left || length > MR_DESCRIPTION_MAX || at[PREFIX + length - 1] != '}')
			continue;
		*json = (struct mr_bytes){at + PREFIX, length};
		return mark;
	}
	return SIZE_MAX;
}
