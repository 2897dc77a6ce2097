/* container.c: what wraps a migration stream in a file: the header of libvirt's save images. */
#include "sim/record/container.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	MAGIC_LENGTH = 16,
	FIRST_NUMBER = 16, /* version, data length, running, format, cookie offset: four bytes each */
	VERSION_MAX = 0xff,
	FORMAT_COUNT = 7,
	PACKING_MAGIC_LENGTH = 8,
};

static const char magic[MAGIC_LENGTH + 1] = "LibvirtQemudSave";
static const char partial_magic[MAGIC_LENGTH + 1] = "LibvirtQemudPart";
static const char *const format_names[FORMAT_COUNT] = {"raw", "gzip", "bzip2", "xz", "lzop", "zstd", "sparse"};

__attribute__((format(printf, 4, 5))) static int fail(const struct mr_input *input, char *error, size_t error_size,
						      const char *format, ...)
{
	char text[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	snprintf(error, error_size, "%s: libvirt save image: %s", mr_input_name(input), text);
	return -1;
}

static uint32_t number_at(const struct mr_container *container, const uint8_t *header, unsigned index)
{
	const uint8_t *at = header + FIRST_NUMBER + index * 4;

	if (container->big_endian)
		return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
	return (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
}

/* The window with at least `wanted` bytes; NULL with a line if there are fewer. */
static const uint8_t *need(struct mr_input *input, size_t wanted, const char *what, char *error, size_t error_size)
{
	const uint8_t *window;
	size_t length;
	bool at_end;

	if (mr_input_fill(input, wanted) < 0) {
		snprintf(error, error_size, "%s", mr_input_error(input));
		return NULL;
	}
	window = mr_input_window(input, &length, &at_end);
	if (length >= wanted)
		return window;
	fail(input, error, error_size, "expected %zu bytes of %s, found the end of the file after %zu", wanted, what,
	     length);
	return NULL;
}

static int read_header(struct mr_container *container, struct mr_input *input, char *error, size_t error_size)
{
	const uint8_t *header = need(input, MR_SAVE_HEADER_LENGTH, "header", error, error_size);

	if (!header)
		return -1;
	container->partial = memcmp(header, partial_magic, MAGIC_LENGTH) == 0;
	container->big_endian = number_at(container, header, 0) > VERSION_MAX;
	container->version = number_at(container, header, 0);
	container->data_length = number_at(container, header, 1);
	container->was_running = number_at(container, header, 2);
	container->format = number_at(container, header, 3);
	container->cookie_offset = number_at(container, header, 4);
	if (container->version == 0 || container->version > VERSION_MAX)
		return fail(input, error, error_size, "expected version 1 or 2, found 0x%" PRIx32, container->version);
	if (container->data_length > MR_SAVE_DATA_MAX)
		return fail(input, error, error_size, "expected at most %d bytes of XML, found %" PRIu32,
			    MR_SAVE_DATA_MAX, container->data_length);
	mr_input_consume(input, MR_SAVE_HEADER_LENGTH);
	return 0;
}

static int read_data(struct mr_container *container, struct mr_input *input, char *error, size_t error_size)
{
	const uint8_t *window = need(input, container->data_length, "XML", error, error_size);

	if (!window)
		return -1;
	container->data = malloc((size_t)container->data_length + 1);
	if (!container->data)
		return fail(input, error, error_size, "out of memory");
	memcpy(container->data, window, container->data_length);
	container->data[container->data_length] = 0;
	mr_input_consume(input, container->data_length);
	return 0;
}

/* Writers that need the stream at a block's border leave bytes of 0 before it. */
static int skip_padding(struct mr_container *container, struct mr_input *input, char *error, size_t error_size)
{
	const uint8_t *window;
	size_t length;
	bool at_end;

	if (mr_input_fill(input, PACKING_MAGIC_LENGTH) < 0) {
		snprintf(error, error_size, "%s", mr_input_error(input));
		return -1;
	}
	window = mr_input_window(input, &length, &at_end);
	if (length == 0 || window[0] != 0)
		return 0;
	if (mr_input_fill(input, MR_SAVE_PADDING_MAX) < 0) {
		snprintf(error, error_size, "%s", mr_input_error(input));
		return -1;
	}
	window = mr_input_window(input, &length, &at_end);
	while (container->padding < length && container->padding < MR_SAVE_PADDING_MAX &&
	       window[container->padding] == 0)
		container->padding++;
	mr_input_consume(input, container->padding);
	return 0;
}

/* The payload says itself how it is packed; the header's number has to agree as far as it is settled what it means. */
static int check_format(struct mr_container *container, struct mr_input *input, char *error, size_t error_size)
{
	const char *said = container->format < FORMAT_COUNT ? format_names[container->format] : "an unknown format";
	struct mr_bytes first;
	bool at_end, agrees;

	if (mr_input_fill(input, PACKING_MAGIC_LENGTH) < 0) {
		snprintf(error, error_size, "%s", mr_input_error(input));
		return -1;
	}
	first.data = mr_input_window(input, &first.length, &at_end);
	container->packing = mr_packing_of(first);
	if (container->format == 0 || container->format == MR_SAVE_FORMAT_SPARSE)
		agrees = container->packing == MR_PACKING_NONE;
	else
		agrees = container->format <= MR_PACKING_ZSTD && container->packing == container->format;
	if (agrees)
		return 0;
	return fail(input, error, error_size, "expected a payload of format %" PRIu32 " (%s), found one packed by %s",
		    container->format, said, mr_packing_name(container->packing));
}

static int unwrap(struct mr_container *container, struct mr_input **input, char *error, size_t error_size)
{
	struct mr_input *source = *input;

	if (read_header(container, source, error, error_size) < 0 ||
	    read_data(container, source, error, error_size) < 0 ||
	    skip_padding(container, source, error, error_size) < 0 ||
	    check_format(container, source, error, error_size) < 0)
		return -1;
	container->length = MR_SAVE_HEADER_LENGTH + container->data_length + container->padding;
	if (container->packing == MR_PACKING_NONE)
		return 0;
	*input = NULL;
	return mr_unpack_open(input, source, container->packing, error, error_size);
}

int mr_container_open(struct mr_container **result, struct mr_input **input, char *error, size_t error_size)
{
	struct mr_container *container;
	const uint8_t *window;
	size_t length;
	bool at_end;

	*result = NULL;
	if (mr_input_fill(*input, MAGIC_LENGTH) < 0)
		return 0; /* whoever reads on meets the same failure */
	window = mr_input_window(*input, &length, &at_end);
	if (length < MAGIC_LENGTH ||
	    (memcmp(window, magic, MAGIC_LENGTH) != 0 && memcmp(window, partial_magic, MAGIC_LENGTH) != 0))
		return 0;
	container = calloc(1, sizeof(*container));
	if (!container)
		fail(*input, error, error_size, "out of memory");
	if (container && unwrap(container, input, error, error_size) == 0) {
		*result = container;
		return 0;
	}
	mr_container_close(container);
	mr_input_close(*input);
	*input = NULL;
	return -1;
}

void mr_container_close(struct mr_container *container)
{
	if (!container)
		return;
	free(container->data);
	free(container);
}

uint64_t mr_container_stream_offset(const struct mr_container *container)
{
	return container && container->packing == MR_PACKING_NONE ? container->length : 0;
}

/* ---- Printing ---- */

static struct mr_bytes xml_of(const struct mr_container *container)
{
	return (struct mr_bytes){container->data, strlen((const char *)container->data)};
}

static void print_json(const struct mr_printer *printer, const char *channel, const struct mr_container *container,
		       const char *format)
{
	FILE *out = printer->out;

	fprintf(out,
		"{\"channel\":\"%s\",\"offset\":0,\"length\":%" PRIu64
		",\"depth\":0,\"kind\":\"libvirt-save-image\",\"fields\":{\"complete\":%d,\"version\":%" PRIu32
		",\"data_length\":%" PRIu32 ",\"was_running\":%" PRIu32 ",\"format\":%" PRIu32
		",\"format_name\":\"%s\",\"cookie_offset\":%" PRIu32 ",\"padding\":%zu",
		channel, container->length, !container->partial, container->version, container->data_length,
		container->was_running, container->format, format, container->cookie_offset, container->padding);
	if (printer->all) {
		fputs(",\"xml\":", out);
		mr_print_json_string(out, xml_of(container));
	}
	fputs("}}\n", out);
}

void mr_container_print(const struct mr_printer *printer, const char *channel, const struct mr_container *container)
{
	const char *format = container->format < FORMAT_COUNT ? format_names[container->format] : "unknown";
	FILE *out = printer->out;

	if (printer->json) {
		print_json(printer, channel, container, format);
		return;
	}
	fprintf(out,
		"%08x +%-7" PRIu64 " libvirt-save-image complete=%d version=%" PRIu32 " data_length=%" PRIu32
		" was_running=%" PRIu32 " format=%" PRIu32 " format_name=\"%s\" cookie_offset=%" PRIu32 " padding=%zu",
		0, container->length, !container->partial, container->version, container->data_length,
		container->was_running, container->format, format, container->cookie_offset, container->padding);
	if (printer->all) {
		fputs(" xml=", out);
		mr_print_json_string(out, xml_of(container));
	}
	putc('\n', out);
}
