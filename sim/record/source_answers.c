/* source_answers.c: which requests a source's trace shows answered, and behind how many pages. */
#include "sim/record/source_answers.h"

#include <stdlib.h>
#include <string.h>

static int allocate(struct mr_source_answers *answers, const struct mr_source_trace *trace)
{
	size_t count = 0;
	uint32_t epochs = 1;

	for (size_t i = 0; i < trace->count; i++) {
		count += trace->lines[i].kind == MR_SOURCE_LINE_ANSWER;
		epochs += mr_source_line_pauses(&trace->lines[i]);
	}
	answers->list = calloc(count + 1, sizeof(*answers->list));
	answers->epochs = calloc(epochs, sizeof(*answers->epochs));
	answers->epoch_count = epochs;
	return answers->list && answers->epochs ? 0 : -1;
}

/* A huge page that a request interrupts and does not leave is begun anew by its line, but not by what is sent. */
static bool is_going_on(const struct mr_outgoing_config *config, const struct mr_source_line *line,
			const struct mr_source_line *before)
{
	const uint32_t block = mr_source_find_block(config, line->text);
	uint64_t pages;

	if (!before || block == MR_SOURCE_NONE || mr_source_find_block(config, before->text) != block)
		return false;
	pages = config->blocks[block].page_size / (config->target_page_size ? config->target_page_size : 4096);
	return pages > 1 && line->offset / pages == before->offset / pages;
}

int mr_source_answers_read(struct mr_source_answers *answers, const struct mr_source_trace *trace,
			   const struct mr_outgoing_config *config)
{
	const struct mr_source_line *begun = NULL;
	struct mr_source_answer next = {.epoch = 0};

	*answers = (struct mr_source_answers){.count = 0};
	if (!trace)
		return 0;
	if (allocate(answers, trace) < 0)
		return -1;
	for (size_t i = mr_source_trace_switch(trace); i < trace->count; i++) {
		const struct mr_source_line *line = &trace->lines[i];

		if (mr_source_line_pauses(line)) {
			next = (struct mr_source_answer){.epoch = next.epoch + 1};
			begun = NULL;
		} else if (line->kind == MR_SOURCE_LINE_PAGE) {
			answers->epochs[next.epoch].pages = ++next.pages;
		} else if (line->kind == MR_SOURCE_LINE_BEGUN) {
			next.begun += !is_going_on(config, line, begun);
			answers->epochs[next.epoch].begun = next.begun;
			begun = line;
			next.breaks = next.opens = false;
		} else if (mr_source_line_begins_ram(line)) {
			next.opens = true;
		} else if (line->kind == MR_SOURCE_LINE_BROKEN) {
			next.breaks = true;
			next.broken = line->offset;
		} else if (line->kind == MR_SOURCE_LINE_ANSWER) {
			next.block = mr_source_find_block(config, line->text);
			next.offset = line->offset;
			answers->list[answers->count++] = next;
		}
	}
	return 0;
}

void mr_source_answers_clear(struct mr_source_answers *answers)
{
	free(answers->list);
	free(answers->epochs);
	memset(answers, 0, sizeof(*answers));
}

const struct mr_source_answer *mr_source_answers_find(const struct mr_source_answers *answers, size_t from,
						      uint32_t epoch, uint32_t block, uint64_t offset)
{
	for (size_t i = from; block != MR_SOURCE_NONE && i < answers->count; i++)
		if (answers->list[i].epoch == epoch && answers->list[i].block == block &&
		    answers->list[i].offset == offset)
			return &answers->list[i];
	return NULL;
}

struct mr_source_epoch mr_source_answers_epoch(const struct mr_source_answers *answers, uint32_t epoch)
{
	return epoch < answers->epoch_count ? answers->epochs[epoch] : (struct mr_source_epoch){.pages = 0};
}
