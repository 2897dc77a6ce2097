/* host.c: `migref host`: what this host offers for postcopy on real memory, and what to do about what is missing. */
#include "sim/cli/cli.h"
#include "sim/host/probe.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

static const struct argp_option options[] = {
	{"json", 'j', NULL, 0, "one JSON object", 0},
	{NULL, 0, NULL, 0, NULL, 0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	(void)argument;
	switch (key) {
	case 'j':
		*(bool *)state->input = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "expected no argument");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.doc = "Tries what a destination asks of its host: userfaultfd, the kinds of guest memory, huge pages, logs of "
	       "writes; and says of each that is missing what can be done.\v"
	       "Nothing is changed and nothing kept. Exit status 0 if `sim --memory uffd` can run with private memory, "
	       "1 if "
	       "it cannot, 3 if the output cannot be written.",
};

static const struct {
	enum mr_host_want want;
	const char *name, *text;
} wants[] = {
	{MR_HOST_WANT_MEMORY, "memory", "memory of the kind"},
	{MR_HOST_WANT_POSTCOPY, "postcopy", "missing pages caught, placed, waked"},
	{MR_HOST_WANT_ZERO_PAGE, "zero_page", "zero pages without a copy"},
	{MR_HOST_WANT_KERNEL_FAULTS, "kernel_faults", "faults of system calls"},
	{MR_HOST_WANT_THREADS, "threads", "which thread faults"},
	{MR_HOST_WANT_DIRTY_SCAN, "dirty_scan", "writes logged by PAGEMAP_SCAN"},
	{MR_HOST_WANT_DIRTY_FAULTS, "dirty_faults", "writes logged by faults"},
};

enum { WANTS = sizeof(wants) / sizeof(wants[0]) };

static void print_kind(const struct mr_host_probe *probe, enum mr_host_kind kind)
{
	char line[MR_HOST_LINE];

	printf("%s, pages of %" PRIu64 " KiB", mr_host_kind_name(kind), mr_host_kind_page_size(kind) / 1024);
	if (probe->pools[kind].page_size)
		printf("; pool: %" PRIu64 " pages, %" PRIu64 " free, %" PRIu64 " of these reserved",
		       probe->pools[kind].total, probe->pools[kind].free, probe->pools[kind].reserved);
	putchar('\n');
	for (unsigned i = 0; i < WANTS; i++) {
		const bool has = mr_host_has(probe, wants[i].want, kind, line);

		printf("  %-3s  %s\n", has ? "yes" : "no", wants[i].text);
		if (!has)
			printf("       %s\n", line);
	}
}

static void print(const struct mr_host_probe *probe)
{
	printf("Linux %s; userfaultfd by %s; features 0x%" PRIx64 "\n", probe->kernel,
	       mr_host_opening_name(probe->opening), probe->features);
	for (unsigned kind = 0; kind < MR_HOST_KIND_COUNT; kind++)
		print_kind(probe, (enum mr_host_kind)kind);
}

static json_t *kind_json(const struct mr_host_probe *probe, enum mr_host_kind kind)
{
	json_t *object = json_object();
	char line[MR_HOST_LINE];

	json_object_set_new(object, "page_size", json_integer((json_int_t)mr_host_kind_page_size(kind)));
	json_object_set_new(object, "pool_free", json_integer((json_int_t)probe->pools[kind].free));
	for (unsigned i = 0; i < WANTS; i++) {
		const bool has = mr_host_has(probe, wants[i].want, kind, line);

		json_object_set_new(object, wants[i].name, has ? json_true() : json_string(line));
	}
	return object;
}

static void dump(const struct mr_host_probe *probe)
{
	json_t *object = json_pack("{s:s, s:s, s:I}", "kernel", probe->kernel, "userfaultfd",
				   mr_host_opening_name(probe->opening), "features", (json_int_t)probe->features);

	for (unsigned kind = 0; kind < MR_HOST_KIND_COUNT; kind++)
		json_object_set_new(object, mr_host_kind_name((enum mr_host_kind)kind),
				    kind_json(probe, (enum mr_host_kind)kind));
	json_dumpf(object, stdout, JSON_SORT_KEYS);
	putchar('\n');
	json_decref(object);
}

int command_host(int argc, char **argv)
{
	struct mr_host_probe probe;
	bool json = false;

	parse_command(&argp, argc, argv, &json);
	mr_host_probe(&probe);
	(json ? dump : print)(&probe);
	return mr_host_has(&probe, MR_HOST_WANT_POSTCOPY, MR_HOST_ANONYMOUS, NULL) ? STATUS_HOLDS : STATUS_DIFFERS;
}
