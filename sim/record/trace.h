/* trace.h: QEMU's own trace log of a destination, line by line, as events of the actors. */
#ifndef MR_RECORD_TRACE_H
#define MR_RECORD_TRACE_H

#include "ref/incoming.h"
#include "sim/record/recording.h"

/*
 * Lines that are held against the machine, or that inputs are derived from. All other lines of releases up to 11.1 are
 * known by name and skipped; a name that is not known is an error of the trace.
 */
enum mr_event_kind {
	MR_EVENT_ACCEPTED,       /* migration_socket_incoming_accepted */
	MR_EVENT_STATUS,         /* migrate_set_state: status */
	MR_EVENT_SECTION,        /* qemu_loadvm_state_section: value = type byte */
	MR_EVENT_SECTION_START,  /* ..._startfull: value = id, text = idstr, instance, version */
	MR_EVENT_SECTION_PART,   /* ..._partend: value = id */
	MR_EVENT_VMSTATE_LOAD,   /* vmstate_load: text = idstr */
	MR_EVENT_COMMAND,        /* loadvm_process_command: value = number, length */
	MR_EVENT_COMMAND_DONE,   /* qemu_loadvm_state_section_command: result */
	MR_EVENT_PING,           /* ..._process_command_ping: value */
	MR_EVENT_ADVISE,         /* loadvm_postcopy_handle_advise */
	MR_EVENT_DISCARD,        /* loadvm_postcopy_ram_handle_discard */
	MR_EVENT_DISCARD_HEADER, /* ..._header: block, length */
	MR_EVENT_DISCARD_END,    /* ..._end */
	MR_EVENT_DISCARD_RANGE,  /* ram_discard_range: block, offset, length */
	MR_EVENT_DISCARDED,  /* ram_block_discard_range, ..._shared_range: block, offset, length, result, flags = how */
	MR_EVENT_INIT_RANGE, /* postcopy_init_range: block, address, value = its offset among all, length */
	MR_EVENT_NO_HUGE_PAGES,   /* postcopy_nhp_range: likewise */
	MR_EVENT_CLEANUP_RANGE,   /* postcopy_cleanup_range: likewise */
	MR_EVENT_LISTEN_ENTER,    /* loadvm_postcopy_handle_listen enter */
	MR_EVENT_LISTEN_PREPARED, /* ... after discard */
	MR_EVENT_ENABLE_NOTIFY,   /* postcopy_ram_enable_notify */
	MR_EVENT_LISTEN_READY,    /* loadvm_postcopy_handle_listen after uffd */
	MR_EVENT_LISTEN_RETURN,   /* ... return */
	MR_EVENT_PACKAGED,        /* loadvm_handle_cmd_packaged: length */
	MR_EVENT_PACKAGE_READ,    /* ..._received: length */
	MR_EVENT_PACKAGE_DONE,    /* ..._main: result */
	MR_EVENT_RUN,             /* loadvm_postcopy_handle_run */
	MR_EVENT_RESUME,          /* loadvm_postcopy_handle_resume */
	MR_EVENT_POST_MAIN,       /* qemu_loadvm_state_post_main: result */
	MR_EVENT_LISTEN_START,    /* postcopy_ram_listen_thread_start */
	MR_EVENT_LISTEN_EXIT,     /* ..._exit */
	MR_EVENT_FAULT_ENTRY,     /* postcopy_ram_fault_thread_entry */
	MR_EVENT_FAULT_QUIT,      /* ..._quit */
	MR_EVENT_FAULT_EXIT,      /* ..._exit */
	MR_EVENT_PREEMPT_CHANNEL, /* postcopy_preempt_new_channel */
	MR_EVENT_PREEMPT_ENTRY,   /* postcopy_preempt_thread_entry */
	MR_EVENT_PREEMPT_EXIT,    /* ..._exit */
	MR_EVENT_RAM_START,       /* ram_load_start */
	MR_EVENT_RAM_PAGE,        /* ram_load_loop: block, offset, value = flags, address */
	MR_EVENT_RAM_POSTCOPY,    /* ram_load_postcopy_loop: channel, offset, value = flags; no block */
	MR_EVENT_RAM_LOADED,      /* ram_load_complete: result, value = sequence */
	MR_EVENT_PLACED,          /* postcopy_place_page: block, offset */
	MR_EVENT_PLACE_ZERO,      /* postcopy_place_page_zero: block, offset */
	MR_EVENT_FAULT,           /* postcopy_ram_fault_thread_request: block, offset, address, value = thread */
	MR_EVENT_REQUEST_ADDED,   /* postcopy_page_req_add: block, offset, value = outstanding */
	MR_EVENT_REQUEST_DONE,    /* postcopy_page_req_del: likewise */
	MR_EVENT_REQUEST_AGAIN,   /* postcopy_page_req_sync: block, offset */
	MR_EVENT_MESSAGE,         /* migrate_send_rp_message: value = type, length */
	MR_EVENT_BITMAP,          /* migrate_send_rp_recv_bitmap: block, length = bytes of bitmap and its size */
	MR_EVENT_BITMAP_SENT,     /* loadvm_handle_recv_bitmap: block */
	MR_EVENT_PAUSE,           /* postcopy_pause_incoming */
	MR_EVENT_PAUSE_CONTINUED, /* ..._continued */
	MR_EVENT_FAULT_PARKED,    /* postcopy_pause_fault_thread */
	MR_EVENT_FAULT_CONTINUED,
	MR_EVENT_PREEMPT_PARKED, /* postcopy_pause_fast_load */
	MR_EVENT_PREEMPT_CONTINUED,
	MR_EVENT_CLEANUP_ENTRY, /* postcopy_ram_incoming_cleanup_entry */
	MR_EVENT_CLEANUP_JOIN,
	MR_EVENT_CLEANUP_CLOSE, /* ..._closeuf */
	MR_EVENT_CLEANUP_EXIT,
	MR_EVENT_STATE_CLEANUP,  /* loadvm_state_cleanup */
	MR_EVENT_MULTIFD_START,  /* multifd_recv_thread_start: channel */
	MR_EVENT_MULTIFD_PACKET, /* multifd_recv, multifd_recv_unfill: channel, value = packet number, flags, length =
				    next packet size */
	MR_EVENT_MULTIFD_END,    /* multifd_recv_thread_end: channel, value = packets */
	MR_EVENT_MULTIFD_SYNC,   /* multifd_recv_sync_main: the barrier was passed; value = latest packet number */
	MR_EVENT_GUEST_START,    /* loadvm_postcopy_handle_run_bh enter, or what other releases print first there */
	MR_EVENT_VCPU, /* postcopy_blocktime_tid_cpu_map, get_mem_fault_cpu_index: result = vCPU, value = thread */
	MR_EVENT_BLOCKTIME_BEGIN, /* mark_postcopy_blocktime_begin, postcopy_blocktime_begin: block, offset, value = ms
				     or ns, result = vCPU, flags = 1 if the page is received (up to 10.0) */
	MR_EVENT_BLOCKTIME_END, /* ..._end: block, offset; value = total in ms so far (up to 10.0), or the time in ns */
	MR_EVENT_KIND_COUNT
};

/* The name in the trace of the (first) line that gives this kind. */
const char *mr_event_name(enum mr_event_kind kind);

enum { MR_ACTOR_UNKNOWN = MR_ACTOR_COUNT };

struct mr_event {
	enum mr_event_kind kind;
	unsigned actor;        /* who printed it, MR_ACTOR_UNKNOWN if that cannot be told yet */
	uint64_t line;         /* in the file, from 1 */
	uint64_t microseconds; /* the trace's clock */
	uint64_t thread;       /* 0: the format tells none */
	enum mr_status status;
	int64_t result;
	uint64_t value, length, address;
	uint32_t instance, version, flags, channel;
	uint32_t pages; /* MULTIFD_PACKET and MULTIFD_END of releases that tell it */
	/* Blocks are numbered in the order of the configuration; UINT32_MAX: none, or no block there. */
	uint32_t block;
	uint64_t offset;      /* bytes in the block */
	struct mr_bytes text; /* into the trace's own memory */
	struct mr_bytes name; /* VMSTATE_LOAD: of the device's description, likewise */
};

/* A block as the trace shows it. */
struct mr_trace_block {
	struct mr_bytes name;
	uint64_t address; /* of its first byte in the destination's process */
	uint64_t length;
};

struct mr_trace {
	struct mr_event *events; /* in the order of the file */
	size_t count;
	bool has_threads;                   /* lines tell their thread (up to 9.2) */
	uint64_t seen[MR_EVENT_KIND_COUNT]; /* lines of each kind; 0: this event was not traced */
	struct mr_trace_block *blocks;      /* of init_range, in its order; empty without ADVISE */
	size_t block_count;
	/* private */
	uint8_t *text;
	size_t text_length;
};

/*
 * Reads the destination's trace (dst.trace) of a recording. `names` are the blocks in the configuration's order: host
 * addresses are told as block and offset by init_range, or where there is none by the pages' own lines. Returns 0, or
 * -1 with one line (file, line, expected, found) in `error`: an unknown event, fields that cannot be read, a thread
 * whose clock goes back, a thread that is none of the actors.
 */
int mr_trace_open(struct mr_trace *trace, const struct mr_recording *recording, const struct mr_bytes *names,
		  size_t name_count, char *error, size_t error_size);
/*
 * The same of a trace in memory: `file` is its name for errors, `release` the destination's ("7.2.22"; NULL: not told,
 * and lines of all releases are taken).
 */
int mr_trace_read(struct mr_trace *trace, const char *file, const char *release, struct mr_bytes bytes,
		  const struct mr_bytes *names, size_t name_count, char *error, size_t error_size);
void mr_trace_close(struct mr_trace *trace);

#endif
