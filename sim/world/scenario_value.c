/* scenario_value.c: values of scenario files: sizes, times, bandwidths, words and lists as text and as fields. */
#include "sim/world/scenario_keys.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Whole thousands and more of a unit; the first is what a number without one means. */
struct unit {
	const char *name;
	uint64_t factor;
};

/* In the order in which they are tried for writing; the first of two with the same factor is written. */
static const struct unit sizes[] = {
	{"T", (uint64_t)1 << 40},   {"G", 1 << 30},   {"M", 1 << 20},   {"K", 1 << 10},   {"", 1},
	{"TiB", (uint64_t)1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {NULL, 0},
};
static const struct unit times[] = {{"s", 1000000000}, {"ms", 1000000}, {"us", 1000}, {"ns", 1}, {NULL, 0}};
static const struct unit bandwidths[] = {
	{"Gbit", 125000000}, {"GiB", 1 << 30}, {"Mbit", 125000}, {"MiB", 1 << 20},
	{"Kbit", 125},       {"KiB", 1 << 10}, {"", 1},          {NULL, 0},
};

static const struct unit *units_of(enum mr_key_kind kind)
{
	static const struct unit none[] = {{"", 1}, {NULL, 0}};

	switch (kind) {
	case MR_KEY_SIZE:
	case MR_KEY_PAGES:
		return sizes;
	case MR_KEY_TIME:
	case MR_KEY_MILLISECONDS:
	case MR_KEY_MOMENT:
	case MR_KEY_MOMENT_BYTE:
		return times;
	case MR_KEY_BANDWIDTH:
		return bandwidths;
	default:
		return none;
	}
}

static const uint64_t millisecond = 1000000;

/* ---- Fields ---- */

static const void *field_of(const struct mr_scenario_key *key, const void *element)
{
	return (const char *)element + key->offset;
}

static void *field_in(const struct mr_scenario_key *key, void *element)
{
	return (char *)element + key->offset;
}

static uint64_t load(const void *field, size_t size)
{
	switch (size) {
	case 1:
		return *(const uint8_t *)field;
	case 2:
		return *(const uint16_t *)field;
	case 4:
		return *(const uint32_t *)field;
	default:
		return *(const uint64_t *)field;
	}
}

static void store(void *field, size_t size, uint64_t value)
{
	switch (size) {
	case 1:
		*(uint8_t *)field = (uint8_t)value;
		break;
	case 2:
		*(uint16_t *)field = (uint16_t)value;
		break;
	case 4:
		*(uint32_t *)field = (uint32_t)value;
		break;
	default:
		*(uint64_t *)field = value;
		break;
	}
}

uint64_t mr_key_get(const struct mr_scenario_key *key, const void *element)
{
	return load(field_of(key, element), key->size);
}

void mr_key_set(const struct mr_scenario_key *key, void *element, uint64_t value)
{
	store(field_in(key, element), key->size, value);
}

static uint32_t other_of(const struct mr_scenario_key *key, const void *element)
{
	return *(const uint32_t *)((const char *)element + key->other);
}

static void set_other(const struct mr_scenario_key *key, void *element, uint32_t value)
{
	*(uint32_t *)((char *)element + key->other) = value;
}

static bool are_capabilities_equal(const struct mr_scenario_migration *a, const struct mr_scenario_migration *b)
{
	return a->capabilities == b->capabilities && a->pause_before_switchover == b->pause_before_switchover &&
	       a->release_ram == b->release_ram && a->auto_converge == b->auto_converge && a->blocktime == b->blocktime;
}

bool mr_key_is_equal(const struct mr_scenario_key *key, const void *a, const void *b)
{
	switch (key->kind) {
	case MR_KEY_NAME:
	case MR_KEY_FILE:
		return strcmp(field_of(key, a), field_of(key, b)) == 0;
	case MR_KEY_SHARES:
		return memcmp(field_of(key, a), field_of(key, b), key->size) == 0;
	case MR_KEY_CAPABILITIES:
		return are_capabilities_equal(a, b);
	case MR_KEY_VCPUS:
	case MR_KEY_MOMENT:
	case MR_KEY_MOMENT_BYTE:
		return mr_key_get(key, a) == mr_key_get(key, b) && other_of(key, a) == other_of(key, b);
	default:
		return mr_key_get(key, a) == mr_key_get(key, b);
	}
}

/* ---- Text ---- */

/* Text that grows in the caller's array, and is cut where that is full. */
struct text {
	char *out;
	size_t length, size;
};

static struct text text_in(char out[MR_KEY_TEXT_MAX])
{
	out[0] = '\0';
	return (struct text){out, 0, MR_KEY_TEXT_MAX};
}

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(text->out + text->length, text->size - text->length, format, arguments);
	va_end(arguments);
	text->length += length < 0 ? 0 : (size_t)length;
	if (text->length >= text->size)
		text->length = text->size - 1;
}

/* By the largest unit that divides it. */
static void add_number(struct text *text, enum mr_key_kind kind, uint64_t value)
{
	const struct unit *unit = units_of(kind);

	while (unit[1].name && unit->factor > 1 && (value == 0 || value % unit->factor))
		unit++;
	add(text, "%" PRIu64 "%s", value / unit->factor, unit->name);
}

static void add_kept(struct text *text, const struct mr_scenario_key *key, uint64_t value)
{
	add_number(text, key->kind, key->kind == MR_KEY_MILLISECONDS ? value * millisecond : value);
}

static const char *word_of(const struct mr_key_word *words, uint64_t value)
{
	for (; words && words->text; words++)
		if (words->value == value)
			return words->text;
	return NULL;
}

static void add_words(struct text *text, const struct mr_key_word *words)
{
	for (; words->text; words++)
		add(text, "%s%s", words->text, !words[1].text ? "" : words[2].text ? ", " : " or ");
}

static const char *noun_of(enum mr_key_kind kind)
{
	switch (kind) {
	case MR_KEY_SIZE:
	case MR_KEY_PAGES:
		return "a size";
	case MR_KEY_TIME:
	case MR_KEY_MILLISECONDS:
		return "a time";
	case MR_KEY_BANDWIDTH:
		return "a bandwidth";
	default:
		return "a number";
	}
}

static void describe_number(struct text *text, const struct mr_scenario_key *key)
{
	add(text, "%s from ", noun_of(key->kind));
	add_kept(text, key, key->minimum);
	add(text, " to ");
	add_kept(text, key, key->maximum);
	if (!key->words)
		return;
	add(text, ", or ");
	add_words(text, key->words);
}

void mr_key_describe(const struct mr_scenario_key *key, char out[MR_KEY_TEXT_MAX])
{
	struct text text = text_in(out);

	switch (key->kind) {
	case MR_KEY_WORD:
		add_words(&text, key->words);
		break;
	case MR_KEY_NAME:
		add(&text, "a name of at most %" PRIu64 " characters", key->maximum);
		break;
	case MR_KEY_FILE:
		add(&text, "the name of a file, at most %" PRIu64 " characters", key->maximum);
		break;
	case MR_KEY_BLOCK:
		add(&text, "the name of a block");
		break;
	case MR_KEY_VCPUS:
		add(&text, "vCPUs as 0 or 0-3, below %" PRIu64, key->maximum + 1);
		break;
	case MR_KEY_SHARES:
		add(&text, "shares as zero:300 random:700, %" PRIu64 " in all", key->maximum);
		break;
	case MR_KEY_CAPABILITIES:
		add(&text, "capabilities that can be simulated, each once, or none");
		break;
	case MR_KEY_MOMENT:
		add(&text, "a moment as 20ms or switch + 3ms");
		break;
	case MR_KEY_MOMENT_BYTE:
		add(&text, "a moment as 20ms, switch + 3ms or byte 70000");
		break;
	default:
		describe_number(&text, key);
		break;
	}
}

/* ---- Writing ---- */

/* Capabilities of QMP that are a switch here. */
static const struct {
	const char *name;
	size_t offset;
} capability_switches[] = {
	{"pause-before-switchover", offsetof(struct mr_scenario_migration, pause_before_switchover)},
	{"release-ram", offsetof(struct mr_scenario_migration, release_ram)},
	{"auto-converge", offsetof(struct mr_scenario_migration, auto_converge)},
	{"postcopy-blocktime", offsetof(struct mr_scenario_migration, blocktime)},
};

enum {
	CAPABILITY_SWITCHES = sizeof(capability_switches) / sizeof(capability_switches[0]),
	/* What the machines have, and what makes sense without disks and devices of one's own. */
	SIMULATED = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_RETURN_PATH | MR_CAPABILITY_IGNORE_SHARED |
		    MR_CAPABILITY_MULTIFD | MR_CAPABILITY_XBZRLE | MR_CAPABILITY_POSTCOPY_PREEMPT |
		    MR_CAPABILITY_SWITCHOVER_ACK | MR_CAPABILITY_VALIDATE_UUID,
};

static void add_capabilities(struct text *text, const struct mr_scenario_migration *migration)
{
	const char *separator = "", *name;
	uint32_t bit;

	for (size_t i = 0; (name = mr_capability_at(i, &bit)); i++)
		if (migration->capabilities & bit) {
			add(text, "%s%s", separator, name);
			separator = ", ";
		}
	for (unsigned i = 0; i < CAPABILITY_SWITCHES; i++)
		if (*((const bool *)((const char *)migration + capability_switches[i].offset))) {
			add(text, "%s%s", separator, capability_switches[i].name);
			separator = ", ";
		}
	if (text->length == 0)
		add(text, "none");
}

static void add_shares(struct text *text, const uint16_t *shares)
{
	for (unsigned i = 0; i < MR_CONTENT_CLASS_COUNT; i++)
		add(text, "%s%s:%u", i ? " " : "", mr_content_class_name((enum mr_content_class)i), shares[i]);
}

static void add_moment(struct text *text, enum mr_fault_trigger trigger, uint64_t at)
{
	switch (trigger) {
	case MR_TRIGGER_TIME:
		add_number(text, MR_KEY_TIME, at);
		break;
	case MR_TRIGGER_SWITCH:
		add(text, "switch + ");
		add_number(text, MR_KEY_TIME, at);
		break;
	case MR_TRIGGER_BYTES:
		add(text, "byte %" PRIu64, at);
		break;
	case MR_TRIGGER_COUNT:
		add(text, "a count");
		break;
	default:
		add(text, "trigger %u", (unsigned)trigger);
		break;
	}
}

static void add_block(struct text *text, const struct mr_scenario *scenario, uint64_t block)
{
	if (block < scenario->block_count)
		add(text, "%s", scenario->blocks[block].name);
	else
		add(text, "block %" PRIu64, block);
}

static void add_vcpus(struct text *text, uint32_t first, uint32_t count)
{
	add(text, count == 1 ? "%" PRIu32 : "%" PRIu32 "-%" PRIu32, first, first + count - 1);
}

void mr_key_format(const struct mr_scenario_key *key, const struct mr_scenario *scenario, const void *element,
		   char out[MR_KEY_TEXT_MAX])
{
	struct text text = text_in(out);
	const void *field = field_of(key, element);
	const char *word;

	switch (key->kind) {
	case MR_KEY_NAME:
	case MR_KEY_FILE:
		add(&text, "%s", (const char *)field);
		return;
	case MR_KEY_SHARES:
		add_shares(&text, field);
		return;
	case MR_KEY_CAPABILITIES:
		add_capabilities(&text, element);
		return;
	case MR_KEY_VCPUS:
		add_vcpus(&text, (uint32_t)mr_key_get(key, element), other_of(key, element));
		return;
	case MR_KEY_MOMENT:
	case MR_KEY_MOMENT_BYTE:
		add_moment(&text, (enum mr_fault_trigger)other_of(key, element), mr_key_get(key, element));
		return;
	case MR_KEY_BLOCK:
		add_block(&text, scenario, mr_key_get(key, element));
		return;
	default:
		break;
	}
	word = word_of(key->words, mr_key_get(key, element));
	if (word)
		add(&text, "%s", word);
	else if (key->kind == MR_KEY_PAGES)
		add_kept(&text, key, mr_key_get(key, element) * scenario->guest.target_page_size);
	else
		add_kept(&text, key, mr_key_get(key, element));
}

/* ---- Reading ---- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == ',';
}

static const char *skip_blanks(const char *at)
{
	while (is_blank(*at))
		at++;
	return at;
}

/* Takes decimal digits. */
static bool take_digits(const char **text, uint64_t *number)
{
	const char *at = *text;

	*number = 0;
	for (; *at >= '0' && *at <= '9'; at++) {
		const uint64_t digit = (uint64_t)(*at - '0');

		if (*number > (UINT64_MAX - digit) / 10)
			return false;
		*number = *number * 10 + digit;
	}
	if (at == *text)
		return false;
	*text = at;
	return true;
}

/* The whole text is a number with a unit. */
static bool read_number(enum mr_key_kind kind, const char *text, uint64_t *value)
{
	const struct unit *unit = units_of(kind);

	if (!take_digits(&text, value))
		return false;
	while (*text == ' ')
		text++;
	/* 0 is 0 in any unit. */
	if (*text == '\0' && *value == 0)
		return true;
	while (unit->name && strcmp(unit->name, text) != 0)
		unit++;
	if (!unit->name || *value > UINT64_MAX / unit->factor)
		return false;
	*value *= unit->factor;
	return true;
}

static bool is_within(const struct mr_scenario_key *key, uint64_t value)
{
	return value >= key->minimum && value <= key->maximum;
}

static bool read_plain(const struct mr_scenario_key *key, void *element, const char *text)
{
	const struct mr_key_word *word = key->words;
	uint64_t value;

	while (word && word->text && strcmp(word->text, text) != 0)
		word++;
	if (word && word->text) {
		mr_key_set(key, element, word->value);
		return true;
	}
	if (key->kind == MR_KEY_WORD || !read_number(key->kind, text, &value))
		return false;
	if (key->kind == MR_KEY_MILLISECONDS && value % millisecond)
		return false;
	value /= key->kind == MR_KEY_MILLISECONDS ? millisecond : 1;
	if (!is_within(key, value))
		return false;
	mr_key_set(key, element, value);
	return true;
}

bool mr_scenario_is_name(const char *name, size_t longest)
{
	size_t length = 0;

	for (; name[length]; length++)
		if (name[length] <= ' ' || name[length] > '~' || name[length] == ']' || name[length] == ';' ||
		    length == longest)
			return false;
	return length > 0;
}

/* A name that INI leaves as it is; any bytes of UTF-8 will do. */
static bool is_file_name(const char *name, size_t longest)
{
	const size_t length = strlen(name);

	for (size_t i = 0; i < length; i++)
		if ((unsigned char)name[i] < ' ' || name[i] == 0x7f || name[i] == ';')
			return false;
	return length <= longest && (length == 0 || (name[0] != ' ' && name[length - 1] != ' '));
}

static bool is_text(const struct mr_scenario_key *key, const char *text)
{
	if (*text == '\0')
		return key->minimum == 0;
	return key->kind == MR_KEY_FILE ? is_file_name(text, key->maximum) : mr_scenario_is_name(text, key->maximum);
}

static bool read_text(const struct mr_scenario_key *key, void *element, const char *text)
{
	if (!is_text(key, text))
		return false;
	memset(field_in(key, element), 0, key->size);
	memcpy(field_in(key, element), text, strlen(text));
	return true;
}

static bool read_vcpus(const struct mr_scenario_key *key, void *element, const char *text)
{
	uint64_t first, last;

	if (!take_digits(&text, &first))
		return false;
	last = first;
	if (*text == '-') {
		text++;
		if (!take_digits(&text, &last))
			return false;
	}
	if (*text || first > last || last > key->maximum)
		return false;
	mr_key_set(key, element, first);
	set_other(key, element, (uint32_t)(last - first + 1));
	return true;
}

/* Takes the next word off a list: up to a blank, or `end`. False if it is longer than names are. */
static bool take_word(const char **text, char end, char word[64])
{
	size_t length = 0;

	while (**text && !is_blank(**text) && **text != end) {
		if (length == 63)
			return false;
		word[length++] = *(*text)++;
	}
	word[length] = '\0';
	return true;
}

static unsigned class_by_name(const char *name)
{
	unsigned class = 0;

	while (class < MR_CONTENT_CLASS_COUNT &&
	       strcmp(mr_content_class_name((enum mr_content_class) class), name) != 0)
		class ++;
	return class;
}

static bool read_shares(const struct mr_scenario_key *key, void *element, const char *text)
{
	uint16_t shares[MR_CONTENT_CLASS_COUNT] = {0};
	uint32_t seen = 0;
	uint64_t total = 0, share;
	char word[64];

	for (text = skip_blanks(text); *text; text = skip_blanks(text)) {
		unsigned class;

		if (!take_word(&text, ':', word) || *text++ != ':' || !take_digits(&text, &share) ||
		    (*text && !is_blank(*text)))
			return false;
		class = class_by_name(word);
		if (class == MR_CONTENT_CLASS_COUNT || seen & 1u << class || share > key->maximum)
			return false;
		seen |= 1u << class;
		shares[class] = (uint16_t)share;
		total += share;
	}
	if (total != key->maximum)
		return false;
	memcpy(field_in(key, element), shares, sizeof(shares));
	return true;
}

static bool take_capability(struct mr_scenario_migration *migration, const char *name)
{
	const uint32_t bit = mr_capability_by_name(name);

	for (unsigned i = 0; i < CAPABILITY_SWITCHES; i++)
		if (strcmp(capability_switches[i].name, name) == 0) {
			bool *on = (bool *)((char *)migration + capability_switches[i].offset);

			if (*on)
				return false;
			return *on = true;
		}
	if (!(bit & SIMULATED) || migration->capabilities & bit)
		return false;
	migration->capabilities |= bit;
	return true;
}

void mr_key_find_culprit(const struct mr_scenario_key *key, const char *text, char out[MR_KEY_TEXT_MAX])
{
	struct mr_scenario_migration taken = {0};
	struct text found = text_in(out);
	char word[64];

	add(&found, "%s", text);
	if (key->kind != MR_KEY_CAPABILITIES)
		return;
	for (text = skip_blanks(text); *text; text = skip_blanks(text)) {
		if (!take_word(&text, ',', word))
			return;
		if (take_capability(&taken, word))
			continue;
		found = text_in(out);
		add(&found, "%s", word);
		return;
	}
}

static bool read_capabilities(void *element, const char *text)
{
	struct mr_scenario_migration taken = {0}, *migration = element;
	char word[64];

	if (strcmp(text, "none") != 0)
		for (text = skip_blanks(text); *text; text = skip_blanks(text))
			if (!take_word(&text, ',', word) || !take_capability(&taken, word))
				return false;
	migration->capabilities = taken.capabilities;
	migration->pause_before_switchover = taken.pause_before_switchover;
	migration->release_ram = taken.release_ram;
	migration->auto_converge = taken.auto_converge;
	migration->blocktime = taken.blocktime;
	return true;
}

/* "switch" alone is the switch itself. */
static bool read_after_switch(const char *text, uint64_t *at)
{
	*at = 0;
	text = skip_blanks(text);
	if (*text == '\0')
		return true;
	return *text == '+' && read_number(MR_KEY_TIME, skip_blanks(text + 1), at);
}

static bool read_moment(const struct mr_scenario_key *key, void *element, const char *text)
{
	enum mr_fault_trigger trigger = MR_TRIGGER_TIME;
	bool is_read;
	uint64_t at;

	if (strncmp(text, "switch", 6) == 0) {
		trigger = MR_TRIGGER_SWITCH;
		is_read = read_after_switch(text + 6, &at);
	} else if (key->kind == MR_KEY_MOMENT_BYTE && strncmp(text, "byte ", 5) == 0) {
		trigger = MR_TRIGGER_BYTES;
		is_read = read_number(MR_KEY_SIZE, skip_blanks(text + 5), &at);
	} else {
		is_read = read_number(MR_KEY_TIME, text, &at);
	}
	if (!is_read || !is_within(key, at))
		return false;
	mr_key_set(key, element, at);
	set_other(key, element, trigger);
	return true;
}

bool mr_key_read(const struct mr_scenario_key *key, void *element, const char *text)
{
	switch (key->kind) {
	case MR_KEY_NAME:
	case MR_KEY_FILE:
		return read_text(key, element, text);
	case MR_KEY_VCPUS:
		return read_vcpus(key, element, text);
	case MR_KEY_SHARES:
		return read_shares(key, element, text);
	case MR_KEY_CAPABILITIES:
		return read_capabilities(element, text);
	case MR_KEY_MOMENT:
	case MR_KEY_MOMENT_BYTE:
		return read_moment(key, element, text);
	default:
		return read_plain(key, element, text);
	}
}

/* ---- What was made ---- */

static bool is_whole(const uint16_t *shares)
{
	unsigned total = 0;

	for (unsigned i = 0; i < MR_CONTENT_CLASS_COUNT; i++)
		total += shares[i];
	return total == 1000;
}

static bool is_possible_text(const struct mr_scenario_key *key, const void *element)
{
	return memchr(field_of(key, element), '\0', key->size) && is_text(key, field_of(key, element));
}

bool mr_key_is_possible(const struct mr_scenario_key *key, const void *element)
{
	switch (key->kind) {
	case MR_KEY_NAME:
	case MR_KEY_FILE:
		return is_possible_text(key, element);
	case MR_KEY_SHARES:
		return is_whole(field_of(key, element));
	case MR_KEY_CAPABILITIES:
		return (mr_key_get(key, element) & ~(uint64_t)SIMULATED) == 0;
	case MR_KEY_VCPUS:
		return other_of(key, element) >= 1 &&
		       mr_key_get(key, element) + other_of(key, element) - 1 <= key->maximum;
	case MR_KEY_WORD:
		return word_of(key->words, mr_key_get(key, element));
	case MR_KEY_PAGES:
		return mr_key_get(key, element) <= key->maximum / MR_PAGE_SIZE_MIN;
	case MR_KEY_MOMENT:
		return is_within(key, mr_key_get(key, element)) && other_of(key, element) <= MR_TRIGGER_SWITCH;
	case MR_KEY_MOMENT_BYTE:
		return is_within(key, mr_key_get(key, element)) && other_of(key, element) <= MR_TRIGGER_COUNT;
	default:
		return is_within(key, mr_key_get(key, element)) || word_of(key->words, mr_key_get(key, element));
	}
}
