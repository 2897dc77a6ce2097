/* table.c: a hash table of 64-bit keys that grows up to a limit and gives up rather than search for long. */
#include "check.h"

#include <stdlib.h>

enum { TABLE_FIRST = 256 };

/* Spreads the key's bits over all places; without it neighbouring pages would stand in one heap. */
static uint64_t spread(uint64_t key)
{
	key ^= key >> 31;
	key *= UINT64_C(0x7fb5d329728ea185);
	key ^= key >> 27;
	key *= UINT64_C(0x81dadef4bc2dd44d);
	return key ^ key >> 33;
}

/* The slot of the key or the free slot where it belongs; `capacity` if neither is near. */
static size_t find_slot(const struct mr_table *table, uint64_t key)
{
	const size_t mask = table->capacity - 1;
	const size_t first = (size_t)spread(key) & mask;

	for (size_t i = 0; i < MR_CHECK_PROBES_MAX && i < table->capacity; i++) {
		const size_t slot = (first + i) & mask;

		if (table->keys[slot] == key || table->keys[slot] == 0)
			return slot;
	}
	return table->capacity;
}

static bool allocate(struct mr_table *table, size_t capacity)
{
	table->keys = calloc(capacity, sizeof(*table->keys));
	table->values = table->with_values ? calloc(capacity, sizeof(*table->values)) : NULL;
	table->capacity = capacity;
	table->count = 0;
	if (table->keys && (table->values || !table->with_values))
		return true;
	mr_table_free(table);
	return false;
}

/* Moves every key that `keep` wants (NULL: every key) into a table of `capacity` slots. */
static bool rebuild(struct mr_table *table, size_t capacity, bool (*keep)(const void *argument, uint64_t key),
		    const void *argument)
{
	struct mr_table larger = {.with_values = table->with_values};

	if (!allocate(&larger, capacity))
		return false;
	for (size_t i = 0; i < table->capacity; i++) {
		const uint64_t key = table->keys[i];
		size_t slot;

		if (key == 0 || (keep && !keep(argument, key)))
			continue;
		slot = find_slot(&larger, key);
		if (slot == larger.capacity) {
			mr_table_free(&larger);
			return false;
		}
		larger.keys[slot] = key;
		if (table->with_values)
			larger.values[slot] = table->values[i];
		larger.count++;
	}
	mr_table_free(table);
	*table = larger;
	return true;
}

static bool grow(struct mr_table *table)
{
	if (table->capacity == 0)
		return allocate(table, TABLE_FIRST);
	return table->capacity < MR_CHECK_TABLE_MAX && rebuild(table, 2 * table->capacity, NULL, NULL);
}

enum mr_table_result mr_table_put(struct mr_table *table, uint64_t key, uint32_t *value)
{
	size_t slot;

	if (key == 0 || (2 * table->count >= table->capacity && !grow(table)))
		return MR_TABLE_FULL;
	slot = find_slot(table, key);
	if (slot == table->capacity)
		return MR_TABLE_FULL;
	if (table->keys[slot] == key) {
		if (value && table->with_values)
			*value = table->values[slot];
		return MR_TABLE_FOUND;
	}
	table->keys[slot] = key;
	if (value && table->with_values)
		table->values[slot] = *value;
	table->count++;
	return MR_TABLE_NEW;
}

bool mr_table_find(const struct mr_table *table, uint64_t key, uint32_t *value)
{
	size_t slot;

	if (key == 0 || table->capacity == 0)
		return false;
	slot = find_slot(table, key);
	if (slot == table->capacity || table->keys[slot] != key)
		return false;
	if (value && table->with_values)
		*value = table->values[slot];
	return true;
}

void mr_table_prune(struct mr_table *table, bool (*keep)(const void *argument, uint64_t key), const void *argument)
{
	/* without memory for it the table stays as it is, only larger than it need be */
	if (table->capacity)
		(void)rebuild(table, table->capacity, keep, argument);
}

void mr_table_free(struct mr_table *table)
{
	free(table->keys);
	free(table->values);
	table->keys = NULL;
	table->values = NULL;
	table->capacity = 0;
	table->count = 0;
}

uint64_t mr_hash_name(uint64_t hash, struct mr_bytes name)
{
	for (size_t i = 0; i < name.length; i++)
		hash = (hash ^ name.data[i]) * UINT64_C(0x100000001b3);
	return hash;
}
