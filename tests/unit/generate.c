/* generate.c: see generate.h. */
#include "generate.h"

#include <stdbool.h>
#include <stdio.h>

enum { PAGE = 1024, LARGE_PAGE = 65536, HUGE_PAGE = 8192, BLOCKS_MAX = 4, DEVICES_MAX = 5, NOT_NAMED = 99 };

struct plan {
	struct random *random;
	struct build *stream;
	bool postcopy, huge, shared;
	unsigned block_count, last_block;
	struct {
		const char *name;
		uint64_t length, page_size;
	} blocks[BLOCKS_MAX];
	unsigned device_count;
	size_t device_sizes[DEVICES_MAX];
};

static const char *const block_names[BLOCKS_MAX] = {"pc.ram", "0000:00:02.0/vga.vram", "r", "/rom@etc/acpi/tables"};
static const char *const device_names[DEVICES_MAX] = {"timer", "apic", "cpu_common", "0000:00:03.0/virtio-net", "x"};

static bool chance(struct plan *plan, unsigned of)
{
	return random_below(plan->random, of) == 0;
}

static uint64_t below(struct plan *plan, uint64_t limit)
{
	return random_below(plan->random, limit);
}

/* Bytes without a footer's first one, so that nothing in a body looks like its end. */
static void put_noise(struct plan *plan, size_t count)
{
	uint8_t *room = count ? build_room(plan->stream, count) : NULL;

	random_fill(plan->random, room, count);
	for (size_t i = 0; i < count; i++)
		room[i] = room[i] == 0x7e ? 0 : room[i];
}

/* ---- RAM ---- */

static void plan_blocks(struct plan *plan)
{
	plan->block_count = 1 + (unsigned)below(plan, BLOCKS_MAX);
	plan->last_block = NOT_NAMED;
	for (unsigned i = 0; i < plan->block_count; i++) {
		plan->blocks[i].name = block_names[i];
		plan->blocks[i].page_size = plan->huge && chance(plan, 2) ? HUGE_PAGE : PAGE;
		plan->blocks[i].length = (1 + below(plan, 40)) * plan->blocks[i].page_size;
	}
}

static void put_block_list(struct plan *plan)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < plan->block_count; i++)
		total += plan->blocks[i].length;
	build_size(plan->stream, total);
	for (unsigned i = 0; i < plan->block_count; i++) {
		build_block(plan->stream, plan->blocks[i].name, plan->blocks[i].length);
		if (plan->blocks[i].page_size != PAGE)
			build_be64(plan->stream, plan->blocks[i].page_size);
		if (plan->shared)
			build_be64(plan->stream, below(plan, 1 << 20) * PAGE);
	}
}

static void put_xbzrle(struct plan *plan, uint64_t address, const char *name)
{
	uint8_t encoding[300] = {(uint8_t)below(plan, 128), 0x80 | 0x02, 0x01};

	build_xbzrle(plan->stream, address, name, encoding, 3 + 130);
}

static void put_page(struct plan *plan)
{
	const bool same = plan->last_block != NOT_NAMED && !chance(plan, 4);
	const unsigned block = same ? plan->last_block : (unsigned)below(plan, plan->block_count);
	const char *name = same ? NULL : plan->blocks[block].name;
	const uint64_t address = below(plan, plan->blocks[block].length / PAGE) * PAGE;
	const unsigned kind = (unsigned)below(plan, plan->postcopy ? 12 : 16);

	plan->last_block = block;
	if (kind == 0) {
		build_page(plan->stream, address, name, (uint8_t)below(plan, 256), PAGE);
	} else if (kind < 12) {
		build_zero(plan->stream, address, name);
	} else if (kind < 14) {
		put_xbzrle(plan, address, name);
	} else {
		const uint32_t length = (uint32_t)below(plan, 60);

		build_page_start(plan->stream, address, 0x100, name);
		build_be32(plan->stream, length);
		put_noise(plan, length);
	}
}

static void put_pages(struct plan *plan)
{
	for (uint64_t left = below(plan, 9); left > 0; left--)
		put_page(plan);
	if (!plan->postcopy && chance(plan, 4))
		build_be64(plan->stream, 0x200);
	build_eos(plan->stream);
	build_footer(plan->stream, 2);
}

static void put_ram_start(struct plan *plan)
{
	build_start(plan->stream, 2, "ram", 4);
	put_block_list(plan);
	put_pages(plan);
}

static void put_parts(struct plan *plan)
{
	for (uint64_t left = below(plan, 3); left > 0; left--) {
		build_part(plan->stream, 2);
		put_pages(plan);
	}
}

/* ---- Devices ---- */

static void put_devices(struct plan *plan)
{
	plan->device_count = 1 + (unsigned)below(plan, DEVICES_MAX);
	for (unsigned i = 0; i < plan->device_count; i++) {
		const uint32_t id = (uint32_t)(plan->device_count - i + 3);

		plan->device_sizes[i] = (size_t)below(plan, 4) ? (size_t)below(plan, 40) : 0;
		build_long_header(plan->stream, 0x04, id, device_names[i], i, 1);
		put_noise(plan, plan->device_sizes[i]);
		build_footer(plan->stream, id);
	}
}

static void put_description(struct plan *plan)
{
	char json[2048] = "{\"page_size\": 1024, \"devices\": [";
	size_t length = strlen(json);

	for (unsigned i = 0; i < plan->device_count; i++)
		length += (size_t)snprintf(json + length, sizeof(json) - length,
					   "%s{\"name\": \"%s\", \"instance_id\": %u, \"fields\": [{\"name\": \"f\", "
					   "\"type\": \"buffer\", \"size\": %zu}]}",
					   i ? ", " : "", device_names[i], i, plan->device_sizes[i]);
	snprintf(json + length, sizeof(json) - length, "]}");
	build_description(plan->stream, json);
}

/* ---- Main channel ---- */

static void put_configuration(struct plan *plan)
{
	build_header(plan->stream);
	build_configuration(plan->stream, chance(plan, 2) ? "pc-i440fx-7.2" : "q");
	build_subsection(plan->stream, "target-page-bits", 1);
	build_be32(plan->stream, 10);
	if (plan->shared) {
		build_subsection(plan->stream, "capabilities", 1);
		build_be32(plan->stream, 1);
		build_counted(plan->stream, "x-ignore-shared");
	}
	if (chance(plan, 2)) {
		build_subsection(plan->stream, "uuid", 1);
		put_noise(plan, 16);
	}
}

static void put_discards(struct plan *plan)
{
	for (unsigned i = 0; i < plan->block_count; i++)
		build_discard(plan->stream, plan->blocks[i].name, 0, plan->blocks[i].page_size);
}

static void put_postcopy(struct plan *plan)
{
	size_t package;

	put_discards(plan);
	package = build_package(plan->stream);
	build_command(plan->stream, 4, 0);
	put_devices(plan);
	build_ping(plan->stream, 3);
	build_command(plan->stream, 5, 0);
	build_package_end(plan->stream, package);
	put_parts(plan);
	build_end(plan->stream, 2);
	put_pages(plan);
	build_u8(plan->stream, 0);
}

static void put_main(struct plan *plan)
{
	plan->postcopy = chance(plan, 2);
	plan->huge = plan->postcopy && chance(plan, 2);
	plan->shared = !plan->postcopy && chance(plan, 3);
	plan_blocks(plan);
	put_configuration(plan);
	if (plan->postcopy || chance(plan, 2)) {
		build_command(plan->stream, 1, 0);
		build_ping(plan->stream, 1);
	}
	if (plan->postcopy)
		build_advise(plan->stream, HUGE_PAGE | PAGE, PAGE);
	put_ram_start(plan);
	put_parts(plan);
	if (plan->postcopy) {
		put_postcopy(plan);
		return;
	}
	build_end(plan->stream, 2);
	put_pages(plan);
	put_devices(plan);
	build_u8(plan->stream, 0);
	if (chance(plan, 2))
		put_description(plan);
}

static void put_recovery(struct plan *plan)
{
	plan->postcopy = true;
	plan_blocks(plan);
	for (unsigned i = 0; i < plan->block_count; i++)
		build_recv_bitmap(plan->stream, plan->blocks[i].name);
	build_command(plan->stream, 9, 0);
	/* Without the connection before it only a reader who takes the id for ram's could go on with sections. */
	build_u8(plan->stream, 0);
}

static void put_preempt(struct plan *plan)
{
	plan->postcopy = true;
	plan_blocks(plan);
	for (uint64_t left = below(plan, 12); left > 0; left--)
		put_page(plan);
	if (chance(plan, 2))
		build_eos(plan->stream);
}

/* ---- Return path, multifd ---- */

static void put_request(struct plan *plan, const char *name)
{
	build_be16(plan->stream, name ? 3 : 4);
	build_be16(plan->stream, (uint16_t)(name ? 13 + strlen(name) : 12));
	build_be64(plan->stream, below(plan, 1000) * PAGE);
	build_be32(plan->stream, PAGE);
	if (name)
		build_counted(plan->stream, name);
}

static void put_received_bitmap(struct plan *plan, const char *name)
{
	const size_t size = 8 * (size_t)below(plan, 6);

	build_be16(plan->stream, 5);
	build_be16(plan->stream, (uint16_t)(1 + strlen(name)));
	build_counted(plan->stream, name);
	build_be64(plan->stream, size);
	put_noise(plan, size);
	build_be64(plan->stream, UINT64_C(0x0123456789abcdef));
}

static void put_value(struct plan *plan, uint16_t type, uint32_t value)
{
	build_be16(plan->stream, type);
	build_be16(plan->stream, 4);
	build_be32(plan->stream, value);
}

static void put_return(struct plan *plan)
{
	put_request(plan, block_names[0]);
	for (uint64_t left = below(plan, 12); left > 0; left--)
		switch (below(plan, 6)) {
		case 0:
			put_value(plan, 2, (uint32_t)below(plan, 5));
			break;
		case 1:
			put_request(plan, block_names[below(plan, BLOCKS_MAX)]);
			break;
		case 2:
			put_received_bitmap(plan, block_names[below(plan, BLOCKS_MAX)]);
			break;
		case 3:
			put_value(plan, 6, 1);
			break;
		case 4:
			build_be32(plan->stream, 7 << 16);
			break;
		default:
			put_request(plan, NULL);
			break;
		}
	put_value(plan, 1, 0);
}

static void put_packet(struct plan *plan, uint64_t number)
{
	const uint32_t zero = (uint32_t)below(plan, 4), normal = (uint32_t)below(plan, 3);
	const uint32_t payload = normal ? 1 + (uint32_t)below(plan, 60) : 0;
	const uint32_t sync = zero + normal == 0;

	build_be32(plan->stream, 0x11223344);
	build_be32(plan->stream, 1);
	build_be32(plan->stream, sync ? MR_MULTIFD_FLAG_SYNC : MR_MULTIFD_FLAG_ZLIB);
	build_be32(plan->stream, MR_PACKET_DATA_SIZE / LARGE_PAGE);
	build_be32(plan->stream, normal);
	build_be32(plan->stream, payload);
	build_be64(plan->stream, number);
	build_be32(plan->stream, zero);
	build_fill(plan->stream, 0, 28);
	build_text(plan->stream, sync ? "" : "pc.ram");
	build_fill(plan->stream, 0, sync ? 256 : 250);
	for (uint32_t i = 0; i < MR_PACKET_DATA_SIZE / LARGE_PAGE; i++)
		build_be64(plan->stream, i < normal + zero ? below(plan, 50) * LARGE_PAGE : 0);
	put_noise(plan, payload);
}

static void put_multifd(struct plan *plan)
{
	build_be32(plan->stream, 0x11223344);
	build_be32(plan->stream, 1);
	put_noise(plan, 16);
	build_u8(plan->stream, (uint8_t)below(plan, 4));
	build_fill(plan->stream, 0, 39);
	for (uint64_t left = below(plan, 3); left > 0; left--)
		put_packet(plan, left);
}

void generate(struct generated *generated, struct random *random, enum mr_role role)
{
	typedef void put_function(struct plan * plan);
	static put_function *const put_functions[MR_ROLE_COUNT] = {
		[MR_ROLE_MAIN] = put_main,       [MR_ROLE_RECOVERY] = put_recovery, [MR_ROLE_PREEMPT] = put_preempt,
		[MR_ROLE_MULTIFD] = put_multifd, [MR_ROLE_RETURN] = put_return,
	};
	struct plan plan = {.random = random, .stream = &generated->stream};

	*generated = (struct generated){.role = role};
	generated->context.multifd_method = MR_METHOD_UNKNOWN;
	if (role != MR_ROLE_MAIN)
		generated->context.target_page_size = role == MR_ROLE_MULTIFD ? LARGE_PAGE : PAGE;
	put_functions[role](&plan);
}
