/*
 * test_handlers.c: the registry of handlers, the destination's sections, and a destination whose handlers are called:
 * RAM, the devices of a recording, a disk bitmap beside RAM in postcopy, a device that faults while it loads.
 */
#include "machine_support.h"

#include <inttypes.h>
#include <stdio.h>

#include "sim/record/input.h"

enum { CAPACITY = 64, FEW = 4 };

struct registry {
	struct mr_profile profile;
	struct mr_handlers handlers;
	struct mr_handler_entry memory[CAPACITY];
	char error[96];
};

static void registry_init(struct registry *registry, const char *release)
{
	*registry = (struct registry){0};
	assert_int_equal(mr_profile_init(&registry->profile, release), 0);
	mr_handlers_init(&registry->handlers, &registry->profile, registry->memory, CAPACITY);
}

static enum mr_rule add(struct registry *registry, const struct mr_handler *handler)
{
	return mr_handlers_register(&registry->handlers, handler, NULL, registry->error);
}

static void add_device(struct registry *registry, const char *path, const char *name, uint32_t instance)
{
	assert_int_equal(add(registry, &(struct mr_handler){.path = path,
							    .name = name,
							    .instance = instance,
							    .alias = MR_ALIAS_NONE,
							    .version = 3,
							    .minimum_version = 2}),
			 MR_NO_RULE);
}

static void add_known(struct registry *registry, const char *name)
{
	struct mr_handler handler;

	assert_true(mr_handler_known(name, &handler));
	assert_int_equal(add(registry, &handler), MR_NO_RULE);
}

/* "0:name/0 1:other/1": section ids, names and instances in list order. */
static const char *list(const struct registry *registry)
{
	static char text[1024];
	size_t length = 0;

	text[0] = '\0';
	for (uint32_t i = 0; i < registry->handlers.count; i++) {
		const struct mr_handler_entry *entry = &registry->memory[i];

		length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%" PRIu32 ":%s/%" PRIu32,
					   i ? " " : "", entry->section_id, entry->idstr, entry->instance);
	}
	return text;
}

static struct mr_bytes text_bytes(const char *text)
{
	return (struct mr_bytes){(const uint8_t *)text, strlen(text)};
}

/* Section id of the handler that a header names; -1: nobody. */
static int64_t find(const struct registry *registry, const char *idstr, uint32_t instance, bool strict)
{
	const uint32_t which = mr_handlers_find(&registry->handlers, text_bytes(idstr), instance, strict);

	return which == UINT32_MAX ? -1 : (int64_t)registry->memory[which].section_id;
}

/* ---- Registration ---- */

static void numbers_are_given(void **state)
{
	static struct registry registry;
	uint32_t id;

	(void)state;
	registry_init(&registry, "7.2");
	/* keeps HND-001, HND-002 */
	add_device(&registry, NULL, "dma", MR_INSTANCE_NEXT);
	add_device(&registry, NULL, "dma", MR_INSTANCE_NEXT);
	add_device(&registry, NULL, "dma", 7);
	add_device(&registry, NULL, "dma", MR_INSTANCE_NEXT);
	add_device(&registry, "0000:00:01.1", "ide", MR_INSTANCE_NEXT);
	add_device(&registry, "0000:00:02.0", "ide", MR_INSTANCE_NEXT);
	add_device(&registry, "0000:00:03.0", "ide", 9);
	add_known(&registry, "ram");
	assert_string_equal(list(&registry),
			    "0:dma/0 1:dma/1 2:dma/7 3:dma/8 4:0000:00:01.1/ide/0 5:0000:00:02.0/ide/0 "
			    "6:0000:00:03.0/ide/0 7:ram/0");
	assert_int_equal(registry.memory[5].name_instance, 1);
	assert_int_equal(registry.memory[6].name_instance, 9);
	/* a number is not given again; keeps HND-003 */
	assert_true(mr_handlers_unregister(&registry.handlers, 3));
	assert_false(mr_handlers_unregister(&registry.handlers, 3));
	assert_int_equal(mr_handlers_register(&registry.handlers,
					      &(struct mr_handler){.name = "dma", .instance = MR_INSTANCE_NEXT}, &id,
					      registry.error),
			 MR_NO_RULE);
	assert_int_equal(id, 8);
	assert_int_equal(find(&registry, "dma", 8, true), 8);
}

static void names_and_numbers_are_refused(void **state)
{
	static struct registry registry;
	char longest[258];

	(void)state;
	registry_init(&registry, "7.2");
	memset(longest, 'x', sizeof(longest));
	longest[255] = '\0';
	/* breaks HND-001 */
	assert_int_equal(add(&registry, &(struct mr_handler){.name = ""}), MR_HND_001);
	assert_int_equal(add(&registry, &(struct mr_handler){.path = "bus"}), MR_HND_001);
	assert_int_equal(add(&registry, &(struct mr_handler){.path = "b", .name = longest + 2}), MR_NO_RULE);
	assert_int_equal(add(&registry, &(struct mr_handler){.path = "b", .name = longest + 1}), MR_HND_001);
	assert_int_equal(add(&registry, &(struct mr_handler){.path = longest, .name = "b"}), MR_HND_001);
	longest[255] = 'x';
	longest[257] = '\0';
	assert_int_equal(add(&registry, &(struct mr_handler){.name = longest}), MR_HND_001);
	assert_int_equal(add(&registry, &(struct mr_handler){.path = longest, .name = longest}), MR_HND_001);
	assert_true(strlen(registry.error) > 0);
	/* breaks HND-002: there is no number behind the last */
	add_device(&registry, NULL, "dma", UINT32_MAX - 1);
	assert_int_equal(add(&registry, &(struct mr_handler){.name = "dma", .instance = MR_INSTANCE_NEXT}), MR_HND_002);
	assert_string_equal(registry.error, "dma: expected a free instance, found none");
	assert_int_equal(registry.handlers.count, 2);
	assert_int_equal(registry.handlers.next_section_id, 2);
}

static void a_second_one_is_refused(void **state)
{
	static struct registry registry;

	(void)state;
	/* 8.2 made it an error; before, the second is never found. breaks HND-001 */
	registry_init(&registry, "8.1");
	add_device(&registry, NULL, "dma", 1);
	add_device(&registry, NULL, "dma", 1);
	assert_int_equal(find(&registry, "dma", 1, false), 0);
	registry_init(&registry, "8.2");
	add_device(&registry, NULL, "dma", 1);
	assert_int_equal(add(&registry, &(struct mr_handler){.name = "dma", .instance = 1}), MR_HND_001);
	assert_string_equal(registry.error, "dma: expected an instance of its own, found 1 registered");
	add_device(&registry, NULL, "dma", 2);
	assert_int_equal(registry.handlers.count, 2);
}

static void a_full_registry_takes_nobody(void **state)
{
	static struct registry registry;
	char before[1024];

	(void)state;
	registry_init(&registry, "11.1");
	registry.handlers.capacity = FEW;
	for (unsigned i = 0; i < FEW; i++)
		add_device(&registry, NULL, "dma", MR_INSTANCE_NEXT);
	snprintf(before, sizeof(before), "%s", list(&registry));
	/* breaks STR-027 */
	assert_int_equal(add(&registry, &(struct mr_handler){.name = "one"}), MR_STR_027);
	assert_string_equal(registry.error, "handlers: expected at most 4, found another");
	assert_string_equal(list(&registry), before);
	assert_true(mr_handlers_unregister(&registry.handlers, 0));
	add_device(&registry, NULL, "one", 0);
	/* ids are used up, too */
	registry.handlers.next_section_id = UINT32_MAX;
	assert_true(mr_handlers_unregister(&registry.handlers, 1));
	assert_int_equal(add(&registry, &(struct mr_handler){.name = "two"}), MR_STR_027);
}

/* One device of each class, the last class first, and RAM, whose class does not count. */
static const char *order_of(const char *release)
{
	static const char *const names[MR_PRIORITY_COUNT] = {
		[MR_PRIORITY_DEFAULT] = "default",       [MR_PRIORITY_LOW] = "low",
		[MR_PRIORITY_IOMMU] = "iommu",           [MR_PRIORITY_PCI_BUS] = "pci",
		[MR_PRIORITY_VIRTIO_MEM] = "virtio-mem", [MR_PRIORITY_APIC] = "apic",
		[MR_PRIORITY_GICV3_ITS] = "its",         [MR_PRIORITY_GICV3] = "gic",
	};
	static struct registry registry;
	static char text[1024];
	struct mr_handler ram;

	registry_init(&registry, release);
	assert_true(mr_handler_known("ram", &ram));
	ram.priority = MR_PRIORITY_GICV3;
	assert_int_equal(add(&registry, &ram), MR_NO_RULE);
	for (uint32_t round = 0; round < 2; round++)
		for (unsigned class = MR_PRIORITY_COUNT; class -- > 0;) {
			const struct mr_handler handler = {
				.name = names[class], .instance = round, .priority = (enum mr_priority) class};

			assert_int_equal(add(&registry, &handler), MR_NO_RULE);
		}
	text[0] = '\0';
	for (uint32_t i = 0; i < registry.handlers.count; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s%" PRIu32, i ? " " : "",
			 registry.memory[i].idstr, registry.memory[i].instance);
	return text;
}

static void order_is_by_priority(void **state)
{
	(void)state;
	/* keeps HND-003; within a class they stand as they were registered */
	assert_string_equal(order_of("10.2"),
			    "gic0 gic1 its0 its1 apic0 apic1 virtio-mem0 virtio-mem1 pci0 pci1 iommu0 iommu1 ram0 "
			    "default0 default1 low0 low1");
	assert_string_equal(order_of("10.1"), "gic0 gic1 its0 its1 virtio-mem0 virtio-mem1 pci0 pci1 iommu0 iommu1 "
					      "ram0 apic0 default0 apic1 default1 low0 low1");
	assert_string_equal(order_of("6.1"), "gic0 gic1 its0 its1 virtio-mem0 virtio-mem1 pci0 pci1 iommu0 iommu1 "
					     "ram0 apic0 low0 default0 apic1 low1 default1");
	assert_string_equal(order_of("6.0"), "gic0 gic1 its0 its1 pci0 pci1 iommu0 iommu1 ram0 apic0 virtio-mem0 low0 "
					     "default0 apic1 virtio-mem1 low1 default1");
	/* breaks HND-003 if a release went by what it does not know */
	assert_string_equal(order_of("2.8"), "ram0 gic0 its0 apic0 virtio-mem0 pci0 iommu0 low0 default0 gic1 its1 "
					     "apic1 virtio-mem1 pci1 iommu1 low1 default1");
}

static void an_unknown_release_is_the_newest(void **state)
{
	static struct registry registry;
	const struct mr_profile unknown = {0};

	(void)state;
	mr_handlers_init(&registry.handlers, &unknown, registry.memory, CAPACITY);
	assert_true(mr_hook_is_known(&registry.handlers.profile, MR_HOOK_SAVE_QUERY_PENDING));
}

/* ---- Who is meant ---- */

static void names_find_handlers(void **state)
{
	static struct registry registry;

	(void)state;
	registry_init(&registry, "7.2");
	add_device(&registry, NULL, "dma", 0);
	add_device(&registry, NULL, "dma", 1);
	add_device(&registry, "0000:00:01.1", "ide", MR_INSTANCE_NEXT);
	add_device(&registry, "0000:00:02.0", "ide", MR_INSTANCE_NEXT);
	assert_int_equal(add(&registry, &(struct mr_handler){.name = "rtc", .instance = 4, .alias = 2}), MR_NO_RULE);
	assert_int_equal(add(&registry, &(struct mr_handler){.name = "slirp", .instance = 3, .old_style = true}),
			 MR_NO_RULE);
	/* keeps HND-004 */
	for (int strict = 0; strict < 2; strict++) {
		assert_int_equal(find(&registry, "dma", 1, strict), 1);
		assert_int_equal(find(&registry, "0000:00:02.0/ide", 0, strict), 3);
		assert_int_equal(find(&registry, "ide", 1, strict), 3);
		assert_int_equal(find(&registry, "rtc", 4, strict), 4);
		assert_int_equal(find(&registry, "rtc", 2, strict), 4);
		assert_int_equal(find(&registry, "slirp", 3, strict), 5);
		/* breaks HND-004 */
		assert_int_equal(find(&registry, "dma", 2, strict), -1);
		assert_int_equal(find(&registry, "dm", 0, strict), -1);
		assert_int_equal(find(&registry, "dmaa", 0, strict), -1);
		assert_int_equal(find(&registry, "", 0, strict), -1);
		assert_int_equal(find(&registry, "ide", 2, strict), -1);
		assert_int_equal(find(&registry, "0000:00:02.0/ide", 1, strict), -1);
		assert_int_equal(find(&registry, "rtc", 3, strict), -1);
	}
	/* names end at a NUL */
	assert_int_equal(
		mr_handlers_find(&registry.handlers, (struct mr_bytes){(const uint8_t *)"dma\0zz", 6}, 0, true), 0);
	/* numbers that only fit by accident */
	assert_int_equal(find(&registry, "dma", UINT32_MAX, false), 0);
	assert_int_equal(find(&registry, "dma", UINT32_MAX, true), -1);
	assert_int_equal(find(&registry, "slirp", 0, false), 5);
	assert_int_equal(find(&registry, "slirp", 0, true), -1);
	assert_int_equal(find(&registry, "slirp", UINT32_MAX, false), -1);
}

/* ---- Sections at the destination ---- */

struct sections {
	struct registry registry;
	struct mr_handler_state states[CAPACITY];
	struct mr_load load;
	char expected[96], found[96];
};

/* timer, ram, dirty-bitmap; and somebody who cannot load. */
static void sections_init(struct sections *sections, const char *release, bool strict)
{
	registry_init(&sections->registry, release);
	add_device(&sections->registry, NULL, "timer", 0);
	add_known(&sections->registry, "ram");
	add_known(&sections->registry, "dirty-bitmap");
	assert_int_equal(add(&sections->registry, &(struct mr_handler){.name = "mute", .old_style = true}), MR_NO_RULE);
	memset(sections->states, 0xff, sizeof(sections->states));
	mr_load_init(&sections->load, &sections->registry.handlers, sections->states, strict);
}

/* Place of the handler, or minus the rule. */
static int take(struct sections *sections, enum mr_kind kind, uint32_t id, const char *name, uint32_t version)
{
	const struct mr_section section = {.id = id, .idstr = text_bytes(name), .version = version};
	uint32_t handler = UINT32_MAX;
	const enum mr_rule rule =
		mr_load_section(&sections->load, kind, &section, &handler, sections->expected, sections->found);

	return rule == MR_NO_RULE ? (int)handler : -(int)rule;
}

static void versions_are_compared(void **state)
{
	static struct sections sections;

	(void)state;
	sections_init(&sections, "7.2", false);
	/* keeps HND-005 */
	assert_int_equal(take(&sections, MR_SECTION_FULL, 5, "timer", 3), 0);
	assert_int_equal(take(&sections, MR_SECTION_FULL, 5, "timer", 2), 0);
	assert_int_equal(sections.states[0].version, 2);
	/* breaks HND-005 */
	assert_int_equal(take(&sections, MR_SECTION_FULL, 6, "timer", 4), -MR_HND_005);
	assert_string_equal(sections.expected, "version 2 to 3");
	assert_string_equal(sections.found, "4");
	assert_int_equal(take(&sections, MR_SECTION_FULL, 6, "timer", UINT32_MAX), -MR_HND_005);
	assert_int_equal(take(&sections, MR_SECTION_FULL, 6, "timer", 1), -MR_HND_005);
	assert_int_equal(sections.states[0].id, 5);
	assert_int_equal(take(&sections, MR_SECTION_START, 6, "nobody", 1), -MR_HND_004);
	assert_string_equal(sections.found, "\"nobody\" instance 0");
}

static void ids_are_remembered(void **state)
{
	static struct sections sections;

	(void)state;
	sections_init(&sections, "7.2", false);
	/* keeps HND-006 */
	assert_int_equal(take(&sections, MR_SECTION_START, 2, "ram", 4), 1);
	assert_int_equal(take(&sections, MR_SECTION_START, 9, "dirty-bitmap", 1), 2);
	assert_int_equal(take(&sections, MR_SECTION_PART, 2, "", 0), 1);
	assert_int_equal(take(&sections, MR_SECTION_END, 9, "", 0), 2);
	/* a later START has the last word; breaks HND-006 for the old id */
	assert_int_equal(take(&sections, MR_SECTION_START, 7, "ram", 4), 1);
	assert_int_equal(take(&sections, MR_SECTION_PART, 7, "", 0), 1);
	assert_int_equal(take(&sections, MR_SECTION_PART, 2, "", 0), -MR_HND_006);
	assert_string_equal(sections.found, "id 2");
	/* id 0 fits who was not loaded yet, since 2.10 and for who is not strict */
	assert_int_equal(take(&sections, MR_SECTION_PART, 0, "", 0), 0);
	sections_init(&sections, "2.9", false);
	assert_int_equal(take(&sections, MR_SECTION_PART, 0, "", 0), -MR_HND_006);
	sections_init(&sections, "7.2", true);
	assert_int_equal(take(&sections, MR_SECTION_END, 0, "", 0), -MR_HND_006);
	assert_int_equal(take(&sections, MR_SECTION_FULL, 0, "timer", 3), 0);
	assert_int_equal(take(&sections, MR_SECTION_PART, 0, "", 0), 0);
	/* breaks HND-008 */
	assert_int_equal(take(&sections, MR_SECTION_FULL, 3, "mute", 0), -MR_HND_008);
	assert_int_equal(take(&sections, MR_SECTION_PART, 3, "", 0), -MR_HND_008);
}

static void acks_are_counted(void **state)
{
	static struct sections sections;

	(void)state;
	/* keeps HND-010: nobody wants one, or the last of two */
	sections_init(&sections, "8.1", false);
	mr_load_want_acks(&sections.load, 0);
	assert_int_equal(sections.load.acks, 1);
	mr_load_approve(&sections.load);
	assert_int_equal(sections.load.acks, 1);
	sections_init(&sections, "11.0", false);
	mr_load_want_acks(&sections.load, 2);
	assert_int_equal(sections.load.acks, 0);
	mr_load_approve(&sections.load);
	assert_int_equal(sections.load.acks, 0);
	mr_load_approve(&sections.load);
	mr_load_approve(&sections.load);
	assert_int_equal(sections.load.acks, 1);
	/* from 11.1 on the source counts */
	sections_init(&sections, "11.1", false);
	mr_load_want_acks(&sections.load, 0);
	assert_int_equal(sections.load.acks, 0);
	mr_load_approve(&sections.load);
	mr_load_approve(&sections.load);
	assert_int_equal(sections.load.acks, 2);
}

/* ---- A destination with handlers ---- */

enum { LOADS = MR_HOOK_BIT(LOAD_SETUP) | MR_HOOK_BIT(LOAD_CLEANUP) };

/* ram; an iterable device that calls for everything; a plain one. */
static void machine_registry(struct registry *registry, const char *release)
{
	registry_init(registry, release);
	add_device(registry, NULL, "timer", 0);
	add_known(registry, "ram");
	assert_int_equal(
		add(registry,
		    &(struct mr_handler){.name = "vfio",
					 .version = 1,
					 .old_style = true,
					 .hooks = LOADS | MR_HOOK_BIT(LOAD_STATE) | MR_HOOK_BIT(IS_ACTIVE) |
						  MR_HOOK_BIT(SWITCHOVER_ACK_NEEDED) | MR_HOOK_BIT(SWITCHOVER_START)}),
		MR_NO_RULE);
}

/* Begins anew with these handlers, and what else was set in the world's configuration. */
static struct world *world_begin(struct world *world, const struct mr_handlers *handlers)
{
	char error[96];
	size_t size;

	guard_free(&world->arena);
	world->config.handlers = handlers;
	size = mr_incoming_size(&world->config, error);
	assert_int_not_equal(size, 0);
	world->arena = guard_new(size);
	world->machine = mr_incoming_init(guard_end(&world->arena, size), size, &world->config);
	assert_non_null(world->machine);
	world_open(world, 0, MR_ROLE_MAIN);
	return world;
}

static struct world *world_with(const struct setup *setup, const struct mr_handlers *handlers)
{
	return world_begin(world_new_unconnected(setup), handlers);
}

static void put_device(struct build *build, uint32_t id, const char *name, uint32_t instance, uint32_t version)
{
	build_long_header(build, 0x04, id, name, instance, version);
	build_fill(build, 0xaa, 12);
	build_footer(build, id);
}

/* Precopy with one device section, all of which is shown. */
static void show_precopy(struct world *world, const char *name, uint32_t instance, uint32_t version)
{
	struct build *build = &world->connections[0].bytes;

	put_begin(build);
	put_open_return_path(build);
	put_block_list(world, build);
	build_end(build, RAM_SECTION);
	put_section_end(build);
	put_device(build, 0, name, instance, version);
	build_u8(build, 0);
	build_description(build, "{\"page_size\": 4096, \"devices\": []}");
	world_end(world, 0, 0);
	world_run(world);
}

static void handlers_are_called_in_order(void **state)
{
	static const char *const all[] = {"2.10", "7.2", "9.2", "11.1"};
	static struct registry registry;

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		const struct setup setup = {.release = all[i]};
		struct world *world;

		machine_registry(&registry, all[i]);
		world = world_with(&setup, &registry.handlers);
		/* vfio is active: answered by the number of the completion */
		world_fail(world, MR_ACTION_HOOK, 1, 1);
		show_precopy(world, "timer", 0, 3);
		expect_finished(world);
		/* ram.load_setup, vfio.is_active, vfio.load_setup; then cleanups. keeps HND-007, HND-008, HND-009 */
		assert_int_equal(world->count[MR_ACTION_HOOK], 5);
		expect_order(world, "main status active", "main hook", "main hook", "main hook", "main section 1 ram",
			     "main section 4 timer", "main load-device", "main state-cleanup", "main hook", "main hook",
			     "main finished", NULL);
		world_free(world);
	}
}

static void old_releases_call_nobody(void **state)
{
	static struct registry registry;
	struct world *world;

	(void)state;
	machine_registry(&registry, "2.9");
	world = world_with(&(struct setup){.release = "2.9"}, &registry.handlers);
	show_precopy(world, "timer", 0, 3);
	expect_finished(world);
	assert_int_equal(world->count[MR_ACTION_HOOK], 0);
	world_free(world);
}

/* The rule for which the load of this section fails; MR_NO_RULE: it does not. */
static enum mr_rule rule_of(const char *name, uint32_t instance, uint32_t version, bool strict, unsigned failing,
			    enum mr_action_kind kind)
{
	static struct registry registry;
	const struct setup setup = {.release = "9.2", .strict = strict};
	struct world *world;
	enum mr_rule rule;

	machine_registry(&registry, setup.release);
	world = world_with(&setup, &registry.handlers);
	if (failing)
		world_fail(world, kind, failing - 1, HOST_EINVAL);
	show_precopy(world, name, instance, version);
	rule = mr_incoming_error(world->machine)->rule;
	if (rule == MR_NO_RULE)
		expect_finished(world);
	else
		expect_failed(world, rule);
	/* whatever came before */
	expect_order(world, "main state-cleanup", "main hook", "main hook", NULL);
	world_free(world);
	return rule;
}

static void sections_fail_the_load(void **state)
{
	(void)state;
	for (int strict = 0; strict < 2; strict++) {
		assert_int_equal(rule_of("timer", 0, 2, strict, 0, MR_ACTION_HOOK), MR_NO_RULE);
		/* breaks HND-004, HND-005: nobody of this name, another instance, a version too new */
		assert_int_equal(rule_of("timers", 0, 3, strict, 0, MR_ACTION_HOOK), MR_HND_004);
		assert_int_equal(rule_of("timer", 1, 3, strict, 0, MR_ACTION_HOOK), MR_HND_004);
		assert_int_equal(rule_of("timer", 0, 4, strict, 0, MR_ACTION_HOOK), MR_HND_005);
		/* breaks HND-007, HND-008, HND-009: a hook that fails, and the cleanup comes all the same */
		assert_int_equal(rule_of("timer", 0, 3, strict, 1, MR_ACTION_HOOK), MR_HND_007);
		assert_int_equal(rule_of("timer", 0, 3, strict, 1, MR_ACTION_LOAD_DEVICE), MR_HND_008);
		/* an error is a yes to a question, and from load_cleanup it is not heard */
		for (unsigned failing = 2; failing <= 5; failing++)
			assert_int_equal(rule_of("timer", 0, 3, strict, failing, MR_ACTION_HOOK), MR_NO_RULE);
	}
	assert_int_equal(rule_of("timer", UINT32_MAX, 3, false, 0, MR_ACTION_HOOK), MR_NO_RULE);
	assert_int_equal(rule_of("timer", UINT32_MAX, 3, true, 0, MR_ACTION_HOOK), MR_HND_004);
}

/* Whatever byte is wrong, the load ends, or waits for more. */
static void damaged_streams_end(void **state)
{
	static struct registry registry;
	static const uint8_t damages[] = {0x01, 0x80, 0xff};
	const struct setup setup = {.release = "9.2", .capabilities = MR_CAPABILITY_SWITCHOVER_ACK};
	size_t length = 1;

	(void)state;
	machine_registry(&registry, "9.2");
	for (size_t i = 0; i < length * sizeof(damages); i++) {
		struct world *world = world_with(&setup, &registry.handlers);
		struct build *build = &world->connections[0].bytes;

		put_begin(build);
		put_open_return_path(build);
		put_device(build, 0, "timer", 0, 3);
		build_start(build, 4, "vfio", 1);
		build_fill(build, 0xaa, 12);
		build_footer(build, 4);
		build_part(build, 4);
		build_fill(build, 0xaa, 12);
		build_footer(build, 4);
		build_u8(build, 0);
		length = build->length;
		build->bytes[i / sizeof(damages)] ^= damages[i % sizeof(damages)];
		world_end(world, 0, 0);
		world_run(world);
		assert_true(world->finished || world->failed);
		assert_int_equal(world->failed, mr_incoming_error(world->machine)->rule != MR_NO_RULE);
		world_free(world);
	}
}

/* Only some devices can be moved at all. */
static void who_cannot_migrate_refuses(void **state)
{
	static struct registry registry;
	struct world *world;

	(void)state;
	machine_registry(&registry, "9.2");
	/* keeps HND-012 */
	assert_null(mr_handlers_unmigratable(&registry.handlers));
	/* breaks HND-012 */
	assert_int_equal(add(&registry, &(struct mr_handler){.name = "odd", .unmigratable = true}), MR_NO_RULE);
	assert_string_equal(mr_handlers_unmigratable(&registry.handlers)->idstr, "odd");
	world = world_with(&(struct setup){.release = "9.2"}, &registry.handlers);
	show_precopy(world, "timer", 0, 3);
	expect_failed(world, MR_HND_012);
	expect_silent(world, "main section");
	world_free(world);
}

/* A cut before the first section, or a wrong header, calls nobody's load_setup. */
static void setup_waits_for_the_configuration(void **state)
{
	static struct registry registry;
	struct world *world;
	struct build *build;

	(void)state;
	machine_registry(&registry, "7.2");
	world = world_with(&(struct setup){.release = "7.2"}, &registry.handlers);
	build = &world->connections[0].bytes;
	put_begin(build);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	assert_int_equal(world->count[MR_ACTION_HOOK], 0);
	build_subsection(build, "target-page-bits", 1);
	build_be32(build, 12);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	assert_int_equal(world->count[MR_ACTION_HOOK], 0);
	build_u8(build, 0);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	assert_int_equal(world->count[MR_ACTION_HOOK], 2);
	/* without the capability nobody is waited for */
	mr_incoming_approve_switchover(world->machine);
	world_free(world);
	/* where there is no configuration, it stands behind the header */
	world = world_new_unconnected(&(struct setup){.release = "7.2"});
	world->config.context.no_configuration = true;
	world_begin(world, &registry.handlers);
	build = &world->connections[0].bytes;
	build_header(build);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	assert_int_equal(world->count[MR_ACTION_HOOK], 0);
	build_u8(build, 0);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	assert_int_equal(world->count[MR_ACTION_HOOK], 2);
	world_free(world);
}

/* Steps until the device of this section id is to be loaded; that stays to be completed. */
static void load_until_device(struct world *world, uint32_t id)
{
	enum { STEPS_MAX = 1000 };
	bool found = false;

	for (unsigned steps = 0; !found; steps++) {
		const bool acted = world_step_only(world, MR_ACTOR_MAIN) == MR_STEP_ACTION;

		assert_true(steps < STEPS_MAX);
		found = acted && world->last.kind == MR_ACTION_LOAD_DEVICE && world->last.device.id == id;
		if (acted && world->last.asked && !found)
			world_complete(world, MR_ACTOR_MAIN);
		/* LISTEN waits for the fault handler */
		if (!acted) {
			world_run_actor(world, MR_ACTOR_FAULT);
			world_run_actor(world, MR_ACTOR_LISTEN);
		}
	}
}

static unsigned acks_sent(const struct world *world)
{
	return world_said(world, "main send SWITCHOVER_ACK");
}

static void switchover_waits_for_handlers(void **state)
{
	static struct registry registry;
	const struct setup setup = {.release = "9.2", .capabilities = MR_CAPABILITY_SWITCHOVER_ACK};
	struct world *world;

	(void)state;
	/* keeps HND-010: who wants no delay gets an ack with the return path */
	machine_registry(&registry, "9.2");
	world = world_with(&setup, &registry.handlers);
	show_precopy(world, "timer", 0, 3);
	expect_finished(world);
	expect_order(world, "main command OPEN_RETURN_PATH", "main send SWITCHOVER_ACK", "main section 1 ram", NULL);
	assert_int_equal(acks_sent(world), 1);
	world_free(world);
	/* who wants one, and approves of nothing, gets none: breaks HND-010 */
	world = world_with(&setup, &registry.handlers);
	world_fail(world, MR_ACTION_HOOK, 2, 1);
	show_precopy(world, "timer", 0, 3);
	assert_int_equal(acks_sent(world), 0);
	world_free(world);
	/* it approves while it loads */
	world = world_with(&setup, &registry.handlers);
	world_fail(world, MR_ACTION_HOOK, 2, 1);
	put_begin(&world->connections[0].bytes);
	put_open_return_path(&world->connections[0].bytes);
	put_device(&world->connections[0].bytes, 4, "vfio", 0, 1);
	build_u8(&world->connections[0].bytes, 0);
	world_end(world, 0, 0);
	load_until_device(world, 4);
	assert_string_equal(registry.memory[world->last.device.handler].idstr, "vfio");
	assert_int_equal(acks_sent(world), 0);
	mr_incoming_approve_switchover(world->machine);
	mr_incoming_approve_switchover(world->machine);
	world_complete(world, MR_ACTOR_MAIN);
	world_run(world);
	assert_int_equal(acks_sent(world), 1);
	world_free(world);
}

static void switchover_start_is_told(void **state)
{
	static struct registry registry;

	(void)state;
	for (unsigned failing = 0; failing < 2; failing++) {
		struct world *world;

		machine_registry(&registry, "10.0");
		world = world_with(&(struct setup){.release = "10.0"}, &registry.handlers);
		put_begin(&world->connections[0].bytes);
		build_command(&world->connections[0].bytes, MR_COMMAND_SWITCHOVER_START, 0);
		build_u8(&world->connections[0].bytes, 0);
		if (failing)
			world_fail(world, MR_ACTION_HOOK, 2, HOST_EINVAL);
		world_end(world, 0, 0);
		world_run(world);
		/* keeps HND-011, breaks HND-011 */
		if (failing)
			expect_failed(world, MR_HND_011);
		else
			expect_order(world, "main command SWITCHOVER_START", "main hook",
				     "main command-done SWITCHOVER_START 0", NULL);
		world_free(world);
	}
}

/* ---- Postcopy with a second device, and with one that faults ---- */

static const char simulated_json[] =
	"{\"page_size\": 4096, \"devices\": [{\"name\": \"simulated\", \"instance_id\": 0, \"vmsd_name\": "
	"\"simulated\", \"version\": 1, \"fields\": [{\"name\": \"ring\", \"type\": \"uint64\", \"size\": 8}, "
	"{\"name\": \"index\", \"type\": \"uint32\", \"size\": 4}]}]}";

static void take_ring(void *argument, const struct mr_device_item *item)
{
	if (item->event == MR_DEVICE_FIELD && strcmp(item->layout->name, "ring") == 0)
		*(uint64_t *)argument = item->number;
}

/* Up to LISTEN and the section of the device, whose ring lies in page 5. */
static void put_simulated(struct world *world)
{
	struct build *build = &world->connections[0].bytes;
	size_t start;

	put_discarded(world, build);
	/* a disk bitmap goes on in postcopy beside RAM */
	build_start(build, 9, "dirty-bitmap", 1);
	build_fill(build, 1, 6);
	build_footer(build, 9);
	start = build_package(build);
	put_listen(build);
	build_long_header(build, 0x04, 5, "simulated", 0, 1);
	build_be64(build, (uint64_t)5 * PAGE + 16);
	build_be32(build, 3);
	build_footer(build, 5);
	put_run(build);
	build_package_end(build, start);
}

static void put_rest(struct build *build)
{
	build_part(build, 9);
	build_fill(build, 2, 6);
	build_footer(build, 9);
	put_page_section(build, "mem", (uint64_t)5 * PAGE, 0x55);
	build_end(build, 9);
	build_fill(build, 3, 6);
	build_footer(build, 9);
	put_end(build);
}

/* The device reads its ring, as real ones do, and has to wait for the page. */
static void load_simulated(struct world *world, const struct mr_description *description)
{
	uint64_t ring = 0;

	assert_true(mr_device_visit(mr_description_device(description, 0), world->last.device.body, take_ring, NULL,
				    &ring));
	assert_true(ring == (uint64_t)5 * PAGE + 16);
	assert_false(world->present[0][5]);
	assert_true(world_fault(world, 0, ring));
	world_run_actor(world, MR_ACTOR_FAULT);
	expect_said(world, "fault send REQ_PAGES_ID mem 0x5000");
	assert_int_equal(mr_incoming_outstanding(world->machine), 1);
}

static void a_device_faults_while_it_loads(void **state)
{
	static struct registry registry;
	char error[96];
	struct mr_description *description = mr_description_new(text_bytes(simulated_json), error);
	struct setup setup = {.release = "7.2", .capabilities = MR_CAPABILITY_POSTCOPY_RAM};
	struct world *world;

	(void)state;
	assert_non_null(description);
	registry_init(&registry, "7.2");
	add_known(&registry, "ram");
	add_known(&registry, "dirty-bitmap");
	assert_int_equal(mr_handlers_register_description(&registry.handlers, description, registry.error), MR_NO_RULE);
	world = world_with(&setup, &registry.handlers);
	put_simulated(world);
	world_show(world, 0, SIZE_MAX);
	load_until_device(world, 5);
	load_simulated(world, description);
	/* the listen loader brings the page, while the main loader waits for the device */
	put_rest(&world->connections[0].bytes);
	world_show(world, 0, SIZE_MAX);
	world_run_actor(world, MR_ACTOR_LISTEN);
	assert_true(world->present[0][5]);
	assert_int_equal(mr_incoming_outstanding(world->machine), 0);
	world_complete(world, MR_ACTOR_MAIN);
	world_end(world, 0, 0);
	world_run(world);
	expect_finished(world);
	expect_order(world, "main section 1 dirty-bitmap", "listen section 2 dirty-bitmap",
		     "listen section 3 dirty-bitmap", NULL);
	world_free(world);
	mr_description_free(description);
}

/* ---- A stream that the source's walks wrote ---- */

static void put_record(struct build *build, const struct mr_record *record)
{
	const size_t length = (size_t)record->length;

	assert_int_equal(mr_encode(record, build_room(build, length), length), length);
}

static void put_ram_body(struct build *build, enum mr_hook hook)
{
	const char *block = "mem";

	if (hook == MR_HOOK_SAVE_SETUP) {
		build_size(build, WORLD_PAGES * PAGE);
		build_block(build, block, WORLD_PAGES * PAGE);
	}
	if (hook == MR_HOOK_SAVE_LIVE_ITERATE)
		build_page(build, 3 * PAGE, block, 0x33, PAGE);
	build_eos(build);
}

/* One walk of the source: every hook writes its section; who iterates is through after one round. */
static void put_walk(struct build *build, const struct registry *registry, enum mr_phase phase)
{
	struct mr_sequence sequence;
	struct mr_hook_call call;
	struct mr_record record;

	mr_sequence_begin(&sequence, &registry->handlers, phase);
	while (mr_sequence_next(&sequence, &call)) {
		if (call.section) {
			mr_handler_header(&registry->handlers, &call, &record);
			put_record(build, &record);
			if (strcmp(registry->memory[call.handler].idstr, "ram") == 0)
				put_ram_body(build, call.hook);
			else
				build_fill(build, 0xaa, 12);
			mr_handler_footer(&registry->handlers, &call, &record);
			put_record(build, &record);
		}
		mr_sequence_answer(&sequence, 1);
	}
	assert_int_equal(sequence.failure, MR_FAILURE_NONE);
}

/* Handlers of both sides are the same, their order and ids are not. */
static void a_guest(struct registry *registry, const char *release, bool source)
{
	registry_init(registry, release);
	if (source)
		add_known(registry, "ram");
	add_device(registry, "0000:00:01.1", "ide", MR_INSTANCE_NEXT);
	add_device(registry, NULL, "dma", MR_INSTANCE_NEXT);
	add_device(registry, NULL, "dma", MR_INSTANCE_NEXT);
	assert_int_equal(add(registry, &(struct mr_handler){.name = "virtio-mem-early",
							    .priority = MR_PRIORITY_VIRTIO_MEM,
							    .early = true}),
			 MR_NO_RULE);
	add_known(registry, "dirty-bitmap");
	if (!source)
		add_known(registry, "ram");
}

static void walks_meet_the_destination(void **state)
{
	static const char *const all[] = {"2.12", "7.2", "8.2", "9.2", "10.1", "11.1"};
	static struct registry source, destination;

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		const struct setup setup = {.release = all[i], .strict = i % 2 == 0};
		struct world *world;
		struct build *build;

		a_guest(&source, all[i], true);
		a_guest(&destination, all[i], false);
		world = world_with(&setup, &destination.handlers);
		build = &world->connections[0].bytes;
		put_begin(build);
		put_walk(build, &source, MR_PHASE_SAVE_SETUP);
		put_walk(build, &source, MR_PHASE_ITERATE);
		put_walk(build, &source, MR_PHASE_COMPLETE_PRECOPY);
		put_walk(build, &source, MR_PHASE_DEVICES);
		build_u8(build, 0);
		world_end(world, 0, 0);
		world_run(world);
		/* keeps HND-004, HND-006, HND-014, HND-015, HND-018 */
		expect_finished(world);
		assert_int_equal(world->memory[0][3 * PAGE], 0x33);
		expect_order(world, "main section 1 ram", "main section 1 dirty-bitmap", "main section 2 ram",
			     "main section 2 dirty-bitmap", "main section 3 ram", "main section 3 dirty-bitmap",
			     "main section 4 0000:00:01.1/ide", "main section 4 dma", "main section 4 dma", NULL);
		assert_int_equal(world_said(world, "main section 4 virtio-mem-early"), 1);
		world_free(world);
	}
}

/* A copy of a machine has states of its own. */
static void machines_are_copied(void **state)
{
	static struct registry registry;
	struct world *world;
	struct mr_incoming *copy;
	void *memory;

	(void)state;
	machine_registry(&registry, "9.2");
	world = world_with(&(struct setup){.release = "9.2"}, &registry.handlers);
	memory = calloc(1, world->arena.size);
	assert_non_null(memory);
	copy = mr_incoming_copy(memory, world->arena.size, world->machine);
	show_precopy(world, "timer", 0, 3);
	expect_finished(world);
	assert_int_equal(mr_incoming_error(copy)->rule, MR_NO_RULE);
	free(memory);
	world_free(world);
}

/* ---- The devices of a recording ---- */

struct stream {
	struct mr_input *input;
	const uint8_t *bytes;
	size_t length;
};

static void stream_open(struct stream *stream, const char *path)
{
	char error[512];
	bool at_end = false;
	size_t wanted = 1 << 20;

	if (mr_input_open(&stream->input, path, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	while (!at_end) {
		assert_int_equal(mr_input_fill(stream->input, wanted), 0);
		stream->bytes = mr_input_window(stream->input, &stream->length, &at_end);
		wanted *= 2;
	}
}

static void devices_of_a_recording_load(void **state)
{
	static struct registry registry;
	static struct mr_session session;
	static struct mr_decoder decoder;
	struct stream stream;
	struct mr_description *description = NULL;
	struct mr_incoming_block blocks[WORLD_BLOCKS * 4];
	struct setup setup = {.release = "7.2", .without_memory = true, .capabilities = MR_CAPABILITY_XBZRLE};
	struct mr_bytes json = {NULL, 0};
	struct mr_record record;
	struct world *world;
	uint64_t at = 0;

	(void)state;
	stream_open(&stream, "vectors/recordings/7.2-precopy-xbzrle-small/ch0.fwd.zst");
	mr_session_init(&session, NULL, NULL, NULL);
	mr_decoder_init(&decoder, &session, MR_ROLE_MAIN, 0);
	while (mr_decode(&decoder, stream.bytes + at, stream.length - at, true, &record) == MR_RECORD) {
		at += record.length;
		if (record.kind == MR_VMDESCRIPTION)
			json = record.description.json;
	}
	assert_int_equal(decoder.error.rule, MR_NO_RULE);
	description = mr_description_new(json, registry.error);
	assert_non_null(description);
	registry_init(&registry, "7.2");
	add_known(&registry, "ram");
	assert_int_equal(mr_handlers_register_description(&registry.handlers, description, registry.error), MR_NO_RULE);
	assert_true(session.block_count <= WORLD_BLOCKS * 4);
	for (uint32_t i = 0; i < session.block_count; i++)
		blocks[i] = (struct mr_incoming_block){.name = session.blocks[i].name,
						       .used_length = session.blocks[i].used_length};
	setup.blocks = blocks;
	setup.block_count = session.block_count;
	world = world_with(&setup, &registry.handlers);
	build_bytes(&world->connections[0].bytes, stream.bytes, stream.length);
	world_end(world, 0, 0);
	world_run(world);
	expect_finished(world);
	assert_int_equal(world->count[MR_ACTION_LOAD_DEVICE], mr_description_count(description));
	/* the same without one of the devices */
	world_free(world);
	assert_true(mr_handlers_unregister(&registry.handlers, 3));
	world = world_with(&setup, &registry.handlers);
	build_bytes(&world->connections[0].bytes, stream.bytes, stream.length);
	world_end(world, 0, 0);
	world_run(world);
	expect_failed(world, MR_HND_004);
	world_free(world);
	mr_description_free(description);
	mr_input_close(stream.input);
}

static void a_description_that_does_not_fit(void **state)
{
	static struct registry registry;
	static const char json[] = "{\"devices\": [{\"name\": \"a\", \"instance_id\": 1}, "
				   "{\"name\": \"a\", \"instance_id\": 1}]}";
	char error[96];
	struct mr_description *description = mr_description_new(text_bytes(json), error);

	(void)state;
	assert_non_null(description);
	registry_init(&registry, "9.2");
	assert_int_equal(mr_handlers_register_description(&registry.handlers, description, registry.error), MR_HND_001);
	mr_description_free(description);
}

static void known_handlers(void **state)
{
	struct mr_handler handler;

	(void)state;
	assert_true(mr_handler_known("block", &handler));
	assert_int_equal(handler.version, 1);
	assert_false(mr_handler_known("timer", &handler));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_given),
		cmocka_unit_test(names_and_numbers_are_refused),
		cmocka_unit_test(a_second_one_is_refused),
		cmocka_unit_test(a_full_registry_takes_nobody),
		cmocka_unit_test(order_is_by_priority),
		cmocka_unit_test(an_unknown_release_is_the_newest),
		cmocka_unit_test(names_find_handlers),
		cmocka_unit_test(versions_are_compared),
		cmocka_unit_test(ids_are_remembered),
		cmocka_unit_test(acks_are_counted),
		cmocka_unit_test(handlers_are_called_in_order),
		cmocka_unit_test(old_releases_call_nobody),
		cmocka_unit_test(sections_fail_the_load),
		cmocka_unit_test(damaged_streams_end),
		cmocka_unit_test(who_cannot_migrate_refuses),
		cmocka_unit_test(setup_waits_for_the_configuration),
		cmocka_unit_test(switchover_waits_for_handlers),
		cmocka_unit_test(switchover_start_is_told),
		cmocka_unit_test(a_device_faults_while_it_loads),
		cmocka_unit_test(walks_meet_the_destination),
		cmocka_unit_test(machines_are_copied),
		cmocka_unit_test(devices_of_a_recording_load),
		cmocka_unit_test(a_description_that_does_not_fit),
		cmocka_unit_test(known_handlers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
