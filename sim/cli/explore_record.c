/* explore_record.c: the way to a violation, gone once more: in words, and as a recording. */
#include "sim/cli/explore_record.h"
#include "sim/record/writer.h"

#include <stdio.h>

static void source_page(void *argument, uint32_t block, uint64_t page, uint8_t *out)
{
	mr_explorer_source_page(argument, block, page, out);
}

static int finish(struct mr_writer *writer, struct mr_explorer *explorer, const struct mr_scenario *scenario,
		  char *error, size_t error_size)
{
	struct mr_outgoing_statistics statistics;
	const struct mr_writer_end end = {
		.producer = "migref explore " MR_VERSION,
		.source = mr_explorer_source_config(explorer),
		.destination = mr_explorer_destination_config(explorer),
		.statistics = &statistics,
		.description = mr_explorer_description(explorer),
		.vcpus = scenario->guest.vcpus,
		.argument = explorer,
		.page = source_page,
	};

	mr_explorer_statistics(explorer, &statistics);
	return mr_writer_finish(writer, &end, error, error_size);
}

int explore_record(struct mr_explorer *explorer, const struct mr_scenario *scenario, const char *directory,
		   struct explore_path *path, char *error, size_t error_size)
{
	struct mr_writer *writer = NULL;
	int status = 0;

	if (directory && mr_writer_open(&writer, directory, error, error_size) < 0)
		return -1;
	if (!mr_explorer_replay(explorer, writer ? mr_writer_watch(writer) : NULL, explore_path_add, path) ||
	    path->failed) {
		snprintf(error, error_size, "%s",
			 path->failed ? "no memory for the way to a violation"
				      : "the way to the violation does not lead there again: the explorer is wrong");
		status = -1;
	} else if (writer) {
		status = finish(writer, explorer, scenario, error, error_size);
	}
	mr_writer_free(writer);
	return status;
}
