/* container.h: what wraps a migration stream in a file: the header of libvirt's save images. */
#ifndef MR_RECORD_CONTAINER_H
#define MR_RECORD_CONTAINER_H

#include "ref/migref.h"
#include "sim/record/input.h"
#include "sim/record/print.h"
#include "sim/record/unpack.h"

enum {
	MR_SAVE_HEADER_LENGTH = 92,    /* bytes, the magic included */
	MR_SAVE_DATA_MAX = 16 << 20,   /* bytes of the domain's XML and what libvirt puts behind it */
	MR_SAVE_PADDING_MAX = 1 << 20, /* bytes of 0 that may stand before the stream */
	MR_SAVE_FORMAT_SPARSE = 6,     /* a mapped-ram file as the payload */
};

/* A save image of libvirt (`virsh save`, managed save, the memory of a snapshot). */
struct mr_container {
	bool partial;    /* the magic of an image that was never finished */
	bool big_endian; /* the numbers of the header; they stand in the order of the host that wrote them */
	uint32_t version;
	uint32_t data_length; /* bytes of `data` */
	uint32_t was_running;
	uint32_t format; /* 0 raw, 1 gzip, 2 bzip2, 3 xz, 4 lzop, 5 zstd, 6 sparse */
	uint32_t cookie_offset;
	uint8_t *data;   /* XML with a final NUL, the cookie, padding */
	size_t padding;  /* bytes of 0 between the data and the stream */
	uint64_t length; /* bytes before the payload */
	enum mr_packing packing;
};

/*
 * Looks whether the input begins with a save image's header. If so, `*result` is what it says, which the caller
 * closes, and `*input` gives the payload from then on, unpacked; else `*result` is NULL and the input is as it was.
 * Returns 0, or -1 with one line in `error`; the input is closed then.
 */
int mr_container_open(struct mr_container **result, struct mr_input **input, char *error, size_t error_size);
void mr_container_close(struct mr_container *container);
/* Offset of the stream's first byte, as places in a mapped-ram file count: in the file, or 0 if it is unpacked. */
uint64_t mr_container_stream_offset(const struct mr_container *container);
/* Prints the wrapper as one line, as a record would be; the XML with `all`. */
void mr_container_print(const struct mr_printer *printer, const char *channel, const struct mr_container *container);

#endif
