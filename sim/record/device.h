/* device.h: device sections as named fields: which layout belongs to which body, and how it is printed. */
#ifndef MR_RECORD_DEVICE_H
#define MR_RECORD_DEVICE_H

#include "sim/record/print.h"

/* Follows one main channel from section to section. */
struct mr_devices {
	struct mr_description *own;         /* at the stream's end; NULL: none, or not known yet */
	const struct mr_description *given; /* of another stream; NULL if there is none */
	const struct mr_layout *open;       /* whose body comes next */
	size_t next;                        /* device that the next header is most likely about */
};

/* `given` may be NULL and stays the caller's. */
void mr_devices_init(struct mr_devices *devices, const struct mr_description *given);
void mr_devices_clear(struct mr_devices *devices);
/*
 * To be called for each record of the channel, while its window lasts. Returns the device whose body the record is;
 * NULL if it is no such record or nothing describes it.
 */
const struct mr_layout *mr_devices_record(struct mr_devices *devices, const struct mr_decoder *decoder,
					  const struct mr_record *record);

/* Lines with the fields of a section's body, below the record's line. */
void mr_print_device_text(const struct mr_printer *printer, const struct mr_record *record);
/* Members `"device":{...}` and, if something is wrong, `"device_findings":[...]` of the record's object. */
void mr_print_device_json(const struct mr_printer *printer, const struct mr_record *record);

#endif
