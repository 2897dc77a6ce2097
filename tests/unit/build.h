/* build.h: builds streams for tests byte by byte, in the words of the protocol. */
#ifndef TEST_BUILD_H
#define TEST_BUILD_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A growing run of bytes. Zero it before use; build_free() gives the memory back. */
struct build {
	uint8_t *bytes;
	size_t length, capacity;
};

static inline void build_free(struct build *build)
{
	free(build->bytes);
	*build = (struct build){0};
}

/* Room for `count` more bytes, which the caller fills; ends the test program if memory is short. */
static inline uint8_t *build_room(struct build *build, size_t count)
{
	if (build->capacity - build->length < count) {
		build->capacity = 2 * build->capacity + count + 256;
		build->bytes = realloc(build->bytes, build->capacity);
		if (!build->bytes)
			abort();
	}
	build->length += count;
	return build->bytes + build->length - count;
}

/* ---- Primitives ---- */

static inline void build_bytes(struct build *build, const void *bytes, size_t count)
{
	if (count)
		memcpy(build_room(build, count), bytes, count);
}

static inline void build_fill(struct build *build, uint8_t byte, size_t count)
{
	if (count)
		memset(build_room(build, count), byte, count);
}

/* A big-endian number over `width` bytes at `offset`. */
static inline void build_patch(struct build *build, size_t offset, unsigned width, uint64_t number)
{
	for (unsigned i = 0; i < width; i++)
		build->bytes[offset + i] = (uint8_t)(number >> 8 * (width - 1 - i));
}

static inline void build_number(struct build *build, unsigned width, uint64_t number)
{
	build_room(build, width);
	build_patch(build, build->length - width, width, number);
}

static inline void build_u8(struct build *build, uint8_t number)
{
	build_number(build, 1, number);
}

static inline void build_be16(struct build *build, uint16_t number)
{
	build_number(build, 2, number);
}

static inline void build_be32(struct build *build, uint32_t number)
{
	build_number(build, 4, number);
}

static inline void build_be64(struct build *build, uint64_t number)
{
	build_number(build, 8, number);
}

static inline void build_text(struct build *build, const char *text)
{
	build_bytes(build, text, strlen(text));
}

/* u8 length, then the text; at most 255 bytes. */
static inline void build_counted(struct build *build, const char *text)
{
	build_u8(build, (uint8_t)strlen(text));
	build_text(build, text);
}

/* ---- Header and configuration ---- */

static inline void build_header(struct build *build)
{
	build_be32(build, 0x5145564d);
	build_be32(build, 3);
}

static inline void build_configuration(struct build *build, const char *machine)
{
	build_u8(build, 0x07);
	build_be32(build, (uint32_t)strlen(machine));
	build_text(build, machine);
}

/* What a subsection of the configuration begins with; `name` without "configuration/". */
static inline void build_subsection(struct build *build, const char *name, uint32_t version)
{
	build_u8(build, 0x05);
	build_u8(build, (uint8_t)(strlen("configuration/") + strlen(name)));
	build_text(build, "configuration/");
	build_text(build, name);
	build_be32(build, version);
}

/* ---- Sections ---- */

static inline void build_long_header(struct build *build, uint8_t type, uint32_t id, const char *name,
				     uint32_t instance, uint32_t version)
{
	build_u8(build, type);
	build_be32(build, id);
	build_counted(build, name);
	build_be32(build, instance);
	build_be32(build, version);
}

static inline void build_start(struct build *build, uint32_t id, const char *name, uint32_t version)
{
	build_long_header(build, 0x01, id, name, 0, version);
}

static inline void build_part(struct build *build, uint32_t id)
{
	build_u8(build, 0x02);
	build_be32(build, id);
}

static inline void build_end(struct build *build, uint32_t id)
{
	build_u8(build, 0x03);
	build_be32(build, id);
}

static inline void build_footer(struct build *build, uint32_t id)
{
	build_u8(build, 0x7e);
	build_be32(build, id);
}

/* A whole device section whose body is `count` times `byte`. */
static inline void build_device(struct build *build, uint32_t id, const char *name, uint8_t byte, size_t count)
{
	build_long_header(build, 0x04, id, name, 0, 1);
	build_fill(build, byte, count);
	build_footer(build, id);
}

static inline void build_description(struct build *build, const char *json)
{
	build_u8(build, 0x06);
	build_be32(build, (uint32_t)strlen(json));
	build_text(build, json);
}

/* ---- Commands ---- */

/* What a command begins with; `length` bytes of payload have to follow. */
static inline void build_command(struct build *build, uint16_t number, uint16_t length)
{
	build_u8(build, 0x08);
	build_be16(build, number);
	build_be16(build, length);
}

static inline void build_ping(struct build *build, uint32_t value)
{
	build_command(build, 2, 4);
	build_be32(build, value);
}

static inline void build_advise(struct build *build, uint64_t summary, uint64_t target_page_size)
{
	build_command(build, 3, 16);
	build_be64(build, summary);
	build_be64(build, target_page_size);
}

/* RAM_DISCARD with one range. */
static inline void build_discard(struct build *build, const char *block, uint64_t start, uint64_t length)
{
	build_command(build, 6, (uint16_t)(3 + strlen(block) + 16));
	build_u8(build, 0);
	build_counted(build, block);
	build_u8(build, 0);
	build_be64(build, start);
	build_be64(build, length);
}

static inline void build_recv_bitmap(struct build *build, const char *block)
{
	build_command(build, 10, (uint16_t)(1 + strlen(block)));
	build_counted(build, block);
}

/* PACKAGED; returns the place of the package's first byte, for build_package_end(). */
static inline size_t build_package(struct build *build)
{
	build_command(build, 7, 4);
	build_be32(build, 0);
	return build->length;
}

static inline void build_package_end(struct build *build, size_t start)
{
	build_patch(build, start - 4, 4, build->length - start);
}

/* ---- RAM ---- */

static inline void build_size(struct build *build, uint64_t total)
{
	build_be64(build, total | 0x004);
}

static inline void build_block(struct build *build, const char *name, uint64_t used_length)
{
	build_counted(build, name);
	build_be64(build, used_length);
}

/* What a page record begins with; `block` NULL for CONTINUE. */
static inline void build_page_start(struct build *build, uint64_t address, uint32_t flag, const char *block)
{
	build_be64(build, address | flag | (block ? 0 : 0x020));
	if (block)
		build_counted(build, block);
}

static inline void build_zero(struct build *build, uint64_t address, const char *block)
{
	build_page_start(build, address, 0x002, block);
	build_u8(build, 0);
}

static inline void build_page(struct build *build, uint64_t address, const char *block, uint8_t byte, size_t page_size)
{
	build_page_start(build, address, 0x008, block);
	build_fill(build, byte, page_size);
}

static inline void build_xbzrle(struct build *build, uint64_t address, const char *block, const void *encoding,
				uint16_t count)
{
	build_page_start(build, address, 0x040, block);
	build_u8(build, 1);
	build_be16(build, count);
	build_bytes(build, encoding, count);
}

static inline void build_eos(struct build *build)
{
	build_be64(build, 0x010);
}

/* The usual START of `ram`: id 2, one block of `used_length` bytes. */
static inline void build_ram_start(struct build *build, const char *block, uint64_t used_length)
{
	build_start(build, 2, "ram", 4);
	build_size(build, used_length);
	build_block(build, block, used_length);
	build_eos(build);
	build_footer(build, 2);
}

#endif
