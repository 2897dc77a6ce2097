/* settings.c: the parameters of the bootable test guest, each by name and as text, as users and presets give them. */
#include "sim/guest/settings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A number of a struct; its size in memory is also its range. */
struct number {
	const char *name;
	size_t offset, size;
	uint64_t maximum;
};

#define NUMBER(name, structure, field, maximum)                                                                        \
	{                                                                                                              \
		name, offsetof(struct structure, field), sizeof(((struct structure *)0)->field), maximum               \
	}

static const struct number parameters_of_guest[] = {
	NUMBER("seed", mr_guest_parameters, seed, UINT64_MAX),
	NUMBER("vcpus", mr_guest_parameters, vcpus, MR_GUEST_VCPUS_MAX),
	NUMBER("base", mr_guest_parameters, region_base, UINT32_MAX),
	NUMBER("pages", mr_guest_parameters, region_pages, UINT32_MAX),
	NUMBER("block", mr_guest_parameters, block, UINT32_MAX),
	NUMBER("filled", mr_guest_parameters, filled, 1000),
};

static const struct number keys_of_vcpu[] = {
	NUMBER("writes", mr_guest_vcpu, write_permille, UINT32_MAX),
	NUMBER("spins", mr_guest_vcpu, spins, UINT64_MAX),
	NUMBER("first", mr_guest_vcpu, first, UINT64_MAX),
	NUMBER("pages", mr_guest_vcpu, pages, UINT64_MAX),
	NUMBER("stride", mr_guest_vcpu, stride, UINT64_MAX),
	NUMBER("working-set", mr_guest_vcpu, working_set, UINT64_MAX),
	NUMBER("phase", mr_guest_vcpu, phase, UINT64_MAX),
	NUMBER("lag", mr_guest_vcpu, lag, UINT64_MAX),
	NUMBER("burst", mr_guest_vcpu, burst, UINT32_MAX),
	NUMBER("pause", mr_guest_vcpu, pause, UINT32_MAX),
};

enum {
	PARAMETERS = sizeof(parameters_of_guest) / sizeof(parameters_of_guest[0]),
	KEYS = sizeof(keys_of_vcpu) / sizeof(keys_of_vcpu[0]),
};

__attribute__((format(printf, 2, 3))) static bool fail(char error[MR_GUEST_LINE], const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(error, MR_GUEST_LINE, format, arguments);
	va_end(arguments);
	return false;
}

static bool parse_number(const char *text, const char *what, uint64_t maximum, uint64_t *number,
			 char error[MR_GUEST_LINE])
{
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 0);
	if (*text < '0' || *text > '9' || *end || errno || *number > maximum)
		return fail(error, "%s: expected a number up to %" PRIu64 ", found %.100s", what, maximum, text);
	return true;
}

/* Little-endian, as the guest is. */
static void store(void *structure, const struct number *where, uint64_t number)
{
	uint8_t *at = (uint8_t *)structure + where->offset;

	for (size_t i = 0; i < where->size; i++)
		at[i] = (uint8_t)(number >> 8 * i);
}

static const struct number *find(const struct number *numbers, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(numbers[i].name, name) == 0)
			return &numbers[i];
	return NULL;
}

/* ---- vCPUs ---- */

static bool set_key(struct mr_guest_vcpu *vcpu, const char *name, const char *value, char error[MR_GUEST_LINE])
{
	const struct number *key = find(keys_of_vcpu, KEYS, name);
	uint64_t number;

	if (!key)
		return fail(error, "vcpu: no key is called %.100s", name);
	if (!parse_number(value, name, key->maximum, &number, error))
		return false;
	store(vcpu, key, number);
	return true;
}

/* PATTERN,KEY=NUMBER...; the text is taken apart. */
static bool set_vcpu(struct mr_guest_vcpu *vcpu, char *text, char error[MR_GUEST_LINE])
{
	char *rest = text, *name = strsep(&rest, ",");

	vcpu->kind = mr_pattern_by_name(name);
	if (vcpu->kind >= MR_PATTERN_TRACE)
		return fail(error, "vcpu: no pattern of the guest is called %.100s", name);
	while ((name = strsep(&rest, ",")) != NULL) {
		char *value = strchr(name, '=');

		if (!value)
			return fail(error, "vcpu: expected KEY=NUMBER, found %.100s", name);
		*value++ = '\0';
		if (!set_key(vcpu, name, value, error))
			return false;
	}
	return true;
}

static bool set_vcpus(struct mr_guest_parameters *parameters, const char *text, char error[MR_GUEST_LINE])
{
	const char *what = strchr(text, ':');
	uint64_t first = 0, last = MR_GUEST_VCPUS_MAX - 1;
	char which[24], pattern[MR_GUEST_LINE];
	bool set = true;

	if (!what || (size_t)(what - text) >= sizeof(which) || strlen(what) > sizeof(pattern))
		return fail(error, "vcpu: expected WHICH:PATTERN, found %.100s", text);
	snprintf(which, sizeof(which), "%.*s", (int)(what - text), text);
	if (strcmp(which, "all") != 0) {
		if (!parse_number(which, "vcpu", last, &first, error))
			return false;
		last = first;
	}
	for (uint64_t i = first; i <= last && set; i++) {
		snprintf(pattern, sizeof(pattern), "%s", what + 1);
		set = set_vcpu(&parameters->vcpu[i], pattern, error);
	}
	return set;
}

/* ---- The others ---- */

static bool set_shares(struct mr_guest_parameters *parameters, const char *text, char error[MR_GUEST_LINE])
{
	for (unsigned class = 0; class < MR_CONTENT_CLASS_COUNT; class ++) {
		const size_t length = strcspn(text, ",");
		uint64_t number;
		char share[24];

		snprintf(share, sizeof(share), "%.*s", (int)(length < sizeof(share) ? length : sizeof(share) - 1),
			 text);
		if (!parse_number(share, "shares", 1000, &number, error))
			return false;
		parameters->shares[class] = (uint16_t)number;
		text += length;
		if (*text != ',' && class + 1 < MR_CONTENT_CLASS_COUNT)
			return fail(error, "shares: expected %d numbers, found %u", MR_CONTENT_CLASS_COUNT, class + 1);
		if (*text && class + 1 == MR_CONTENT_CLASS_COUNT)
			return fail(error, "shares: expected %d numbers, found more", MR_CONTENT_CLASS_COUNT);
		text += *text == ',';
	}
	return true;
}

bool mr_guest_set(struct mr_guest_parameters *parameters, const char *name, const char *text, char error[MR_GUEST_LINE])
{
	const struct number *parameter = find(parameters_of_guest, PARAMETERS, name);
	uint64_t number;

	if (strcmp(name, "vcpu") == 0)
		return set_vcpus(parameters, text, error);
	if (strcmp(name, "shares") == 0)
		return set_shares(parameters, text, error);
	if (!parameter)
		return fail(error, "no parameter of the guest is called %.100s", name);
	if (!parse_number(text, name, parameter->maximum, &number, error))
		return false;
	store(parameters, parameter, number);
	return true;
}
