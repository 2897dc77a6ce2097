/* devices.c: the device sections of a main stream against the description that it ends with. */
#include "check.h"

#include <inttypes.h>
#include <stdlib.h>

static bool is_sent(const struct mr_check_devices *devices, const struct mr_layout *device, size_t guess)
{
	const struct mr_bytes name = {(const uint8_t *)device->name, strlen(device->name)};
	size_t index;

	if (!devices->description)
		return false;
	index = mr_description_find(devices->description, name, device->instance, guess);
	return index != SIZE_MAX && devices->sent[index];
}

/* Goes by another description from now on; what was sent so far counts for it as well. */
static void follow(struct mr_check_devices *devices, const struct mr_description *description)
{
	const size_t count = mr_description_count(description);
	uint8_t *sent = calloc(count + 1, 1);

	if (!sent)
		return;
	for (size_t i = 0; i < count; i++)
		sent[i] = is_sent(devices, mr_description_device(description, i), i);
	free(devices->sent);
	devices->sent = sent;
	devices->description = description;
}

static void take_description(struct mr_check_devices *devices, struct mr_bytes json)
{
	char error[96];

	/* The decoder has told what is wrong with a text that cannot be read. */
	if (!devices->own && json.length)
		devices->own = mr_description_new(json, error);
	/* Without memory it is tried again with the next record. */
	if (devices->own && devices->description != devices->own)
		follow(devices, devices->own);
}

static void check_header(struct mr_checker *checker, struct mr_place place, const struct mr_section *section)
{
	struct mr_check_devices *devices = &checker->devices;
	const size_t index =
		mr_description_find(devices->description, section->idstr, section->instance, devices->next);
	const struct mr_layout *device;

	devices->open = NULL;
	if (index == SIZE_MAX)
		return;
	device = mr_description_device(devices->description, index);
	devices->open = device;
	devices->next = index + 1;
	devices->sent[index] = 1;
	if (device->has_version && device->version != section->version)
		mr_report(checker, place, MR_DEV_002, mr_text("version %" PRIu32 " of the header", section->version),
			  mr_text("version %" PRIu32 " in the description", device->version));
}

struct body {
	const struct mr_checker *checker;
	struct mr_place place;
};

static void report_in_body(void *argument, const struct mr_finding *finding)
{
	const struct body *body = argument;
	struct mr_place place = body->place;
	struct mr_text expected, found;

	place.offset += finding->offset;
	memcpy(expected.text, finding->expected, sizeof(expected.text));
	memcpy(found.text, finding->found, sizeof(found.text));
	mr_report_as(body->checker, place, finding->verdict, finding->rule, expected, found);
}

static void check_body(struct mr_checker *checker, struct mr_place place, const struct mr_section_data *data)
{
	struct body body = {checker, place};

	/* Of another body the decoder has said that the description does not lead to its end. */
	if (checker->devices.open && data->delimiter == MR_DELIMITED_BY_DESCRIPTION)
		mr_device_visit(checker->devices.open, data->bytes, NULL, report_in_body, &body);
	checker->devices.open = NULL;
}

static void check_list(struct mr_checker *checker, struct mr_place place)
{
	const struct mr_check_devices *devices = &checker->devices;
	const size_t count = mr_description_count(devices->description);

	for (size_t i = 0; i < count; i++) {
		const struct mr_layout *device = mr_description_device(devices->description, i);

		if (device->repeat)
			mr_report(checker, place, MR_DEV_001,
				  mr_text("%.60s/%" PRIu32 " once", device->name, device->instance),
				  mr_text("it once more"));
		else if (!devices->sent[i])
			mr_report(checker, place, MR_DEV_001, mr_text("devices that were sent"),
				  mr_text("%.60s/%" PRIu32, device->name, device->instance));
	}
}

void mr_check_device(struct mr_checker *checker, const struct mr_check_channel *channel,
		     const struct mr_decoder *decoder, const struct mr_record *record)
{
	const struct mr_place place = mr_place_at(channel, record->offset);
	const struct mr_context *context = &checker->session->context;
	struct mr_check_devices *devices = &checker->devices;

	if (record->depth)
		return;
	take_description(devices, record->kind == MR_VMDESCRIPTION ? record->description.json : decoder->description);
	/* Sections that are still being sent are read by what is known of the sender (STR-023). */
	if (!devices->description && record->kind == MR_SECTION_FULL && context->description &&
	    !context->description_foreign)
		follow(devices, context->description);
	if (!devices->description)
		return;
	if (record->kind == MR_SECTION_FULL)
		check_header(checker, place, &record->section);
	else if (record->kind == MR_SECTION_DATA)
		check_body(checker, place, &record->data);
	else if (record->kind == MR_VMDESCRIPTION)
		check_list(checker, place);
}

void mr_check_devices_free(struct mr_checker *checker)
{
	mr_description_free(checker->devices.own);
	free(checker->devices.sent);
}
