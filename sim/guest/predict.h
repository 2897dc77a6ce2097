/*
 * predict.h: the host's side of the bootable test guest: an image with parameters in it, and whether the memory of a
 * guest that was stopped is what its own counts of touches make of it.
 */
#ifndef MR_GUEST_PREDICT_H
#define MR_GUEST_PREDICT_H

#include "sim/guest/parameters.h"

#include <stdbool.h>
#include <stddef.h>

enum { MR_GUEST_LINE = 240 };

/* The image as it was built, with the default parameters; all zero if the build had no compiler for x86-64. */
extern const uint8_t mr_guest_image[MR_GUEST_IMAGE_SIZE];

/* Whether there is an image. */
bool mr_guest_has_image(void);
/* The parameters that are in the image as it was built; all zero if there is none. */
void mr_guest_parameters_default(struct mr_guest_parameters *parameters);
/*
 * The image with these parameters, MR_GUEST_IMAGE_SIZE bytes: a file for `-bios`, and a raw disk to boot from if zeros
 * follow up to MR_GUEST_DISK_SIZE. False with one line: there is no image, or the guest would refuse the parameters.
 */
bool mr_guest_image_make(const struct mr_guest_parameters *parameters, uint8_t *image, char error[MR_GUEST_LINE]);

/* Guest memory from guest-physical address 0 on: the file of a memory backend, mapped. */
struct mr_guest_memory {
	const uint8_t *bytes;
	uint64_t size;
};

/* False with one line. The file may not become shorter while it is open; what the guest writes is seen. */
bool mr_guest_memory_open(struct mr_guest_memory *memory, const char *path, char error[MR_GUEST_LINE]);
void mr_guest_memory_close(struct mr_guest_memory *memory);

/*
 * The status page; may be asked while the guest runs. False with one line if the memory has none: the guest has not
 * begun, or it is another one.
 */
bool mr_guest_status_read(const struct mr_guest_memory *memory, struct mr_guest_status *status,
			  char error[MR_GUEST_LINE]);
/* The parameters that the guest in this memory has. False with one line if there are none that this build knows. */
bool mr_guest_parameters_read(const struct mr_guest_memory *memory, struct mr_guest_parameters *parameters,
			      char error[MR_GUEST_LINE]);

enum mr_guest_verdict {
	MR_GUEST_HOLDS,
	MR_GUEST_DIFFERS, /* memory is not what it must be, or the guest itself met that */
	MR_GUEST_UNREADY, /* the guest has not begun to touch, or has been refused its parameters */
	MR_GUEST_FAILED,  /* the memory cannot be judged: cut off, of another build; or the host has too little */
};

/*
 * Holds the memory of a guest that is stopped, wherever that was, against the prediction: the image byte for byte, and
 * each page of the region and its entry in the table by the touches that each vCPU has done; where vCPUs were stopped
 * within a touch, also what such touches make of their pages. `error` has one line unless it holds: the first page that
 * differs, expected and found.
 */
enum mr_guest_verdict mr_guest_check(const struct mr_guest_parameters *parameters, const struct mr_guest_memory *memory,
				     char error[MR_GUEST_LINE]);

/* "running"; "unknown" if there is no such state. */
const char *mr_guest_state_name(uint32_t state);
/* What is wrong, in a few words; "unknown" if there is no such error. */
const char *mr_guest_error_text(uint32_t error);

#endif
