/* source_trace.h: QEMU's trace log of a source: the few lines that tell what its bytes do not. */
#ifndef MR_RECORD_SOURCE_TRACE_H
#define MR_RECORD_SOURCE_TRACE_H

#include "sim/record/recording.h"
#include "ref/migref.h"

/* Lines that the log of a source is derived from; all others are skipped. */
enum mr_source_line_kind {
	MR_SOURCE_LINE_SETUP_COMPLETE, /* migration_thread_setup_complete */
	MR_SOURCE_LINE_SYNC,           /* migration_bitmap_sync_start */
	MR_SOURCE_LINE_STOPPED,        /* migration_completion_vm_stop, or postcopy_start: the switch-over has begun */
	MR_SOURCE_LINE_STATUS,         /* migrate_set_state: text = status */
	MR_SOURCE_LINE_SECTION,        /* savevm_section_start: text = idstr, value = id */
	MR_SOURCE_LINE_SECTION_END,    /* savevm_section_end: text = idstr, value = id, result */
	MR_SOURCE_LINE_PAGE,           /* ram_save_page: text = block, offset */
	MR_SOURCE_LINE_ANSWER,         /* get_queued_page, get_queued_page_not_dirty: text = block, offset */
	MR_SOURCE_LINE_BEGUN,          /* postcopy_preempt_send_host_page: text = block, offset in target pages */
	MR_SOURCE_LINE_BROKEN,  /* postcopy_preempt_triggered: a huge page is interrupted; text = block, offset as well
				 */
	MR_SOURCE_LINE_REQUEST, /* migrate_handle_rp_req_pages: text = block, "(null)" if not told, offset, length */
	MR_SOURCE_LINE_PACKET,  /* multifd_send, multifd_send_fill: channel, value = packet number */
	MR_SOURCE_LINE_SKIPPED, /* save_xbzrle_page_skipping: a page that the destination has already */
	MR_SOURCE_LINE_KIND_COUNT
};

struct mr_source_line {
	enum mr_source_line_kind kind;
	uint64_t line; /* in the file, from 1 */
	uint64_t value, offset, length;
	uint32_t channel;
	bool positive;        /* result: above 0 */
	struct mr_bytes text; /* into the trace's own memory */
};

struct mr_source_trace {
	struct mr_source_line *lines; /* in the order of the file */
	size_t count;
	/* private */
	uint8_t *text;
	size_t text_length;
};

/*
 * Reads the source's trace (src.trace) of a recording. Returns 0, or -1 with one line (file, line, expected, found) in
 * `error`: a line without date and name, or one of those above that cannot be read.
 */
int mr_source_trace_open(struct mr_source_trace *trace, const struct mr_recording *recording, char *error,
			 size_t error_size);
void mr_source_trace_close(struct mr_source_trace *trace);

/* A section of `ram` is begun. */
bool mr_source_line_begins_ram(const struct mr_source_line *line);
/* A connection of postcopy is over: the source has paused. */
bool mr_source_line_pauses(const struct mr_source_line *line);
/* The last line that tells of a switch, since what went out before may come again behind it; 0 if there is none. */
size_t mr_source_trace_switch(const struct mr_source_trace *trace);

#endif
