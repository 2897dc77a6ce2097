/*
 * parameters.h: what the bootable test guest and its host tell each other: the parameter block in the image, the status
 * page and the table of versions in guest memory. For both sides: no library, little-endian, no padding.
 */
#ifndef MR_GUEST_PARAMETERS_H
#define MR_GUEST_PARAMETERS_H

#include "sim/world/content.h"
#include "sim/world/pattern.h"

#include <stdint.h>

enum {
	MR_GUEST_IMAGE_SIZE = 0x10000, /* bytes; as a ROM, and as a disk with zeros behind it */
	MR_GUEST_DISK_SIZE = 0x100000, /* bytes that a disk needs for a BIOS to find a cylinder on it */
	MR_GUEST_IMAGE_BASE = 0x10000, /* guest-physical address that the image runs from; it never changes there */
	MR_GUEST_PARAMETERS_OFFSET = 0x200,  /* in the image */
	MR_GUEST_STATUS_BASE = 0x9000,       /* guest-physical address of the status page */
	MR_GUEST_REGION_LOWEST = 0x100000,   /* first byte that the region may have, ... */
	MR_GUEST_REGION_BEHIND = 0x80000000, /* ... and the one behind the last that region and table may have */
	MR_GUEST_PAGE_SIZE = 4096,
	MR_GUEST_VCPUS_MAX = 16,
	MR_GUEST_LAYOUT = 1, /* version of all that this file says */
};

#define MR_GUEST_PARAMETERS_MAGIC UINT64_C(0x4d52415045555247) /* "GRUEPARM" */
#define MR_GUEST_STATUS_MAGIC     UINT64_C(0x4154535445555247) /* "GRUETSTA" */

/* What one vCPU does: the fields are those of struct mr_pattern_config, pages counting from the region's first. */
struct mr_guest_vcpu {
	uint32_t kind; /* enum mr_pattern_kind, but MR_PATTERN_TRACE */
	uint32_t write_permille;
	uint64_t first, pages; /* both 0: the whole region */
	uint64_t stride, working_set, phase, lag;
	uint32_t burst, pause;
	uint64_t spins; /* rounds of an empty loop before each touch, and as many for each of its pauses */
};

struct mr_guest_parameters {
	uint64_t magic;
	uint32_t layout, size; /* MR_GUEST_LAYOUT, bytes of the block */
	uint64_t seed;
	uint64_t region_base; /* guest-physical, of whole pages */
	uint64_t region_pages;
	uint32_t block; /* number of the block, which goes into the contents of its pages */
	uint32_t vcpus; /* that touch: those of the machine beyond them are halted; 0: all, at most 16 */
	uint16_t shares[MR_CONTENT_CLASS_COUNT];
	uint16_t filled;
	uint16_t reserved[3]; /* 0 */
	struct mr_guest_vcpu vcpu[MR_GUEST_VCPUS_MAX];
};

enum mr_guest_state {
	MR_GUEST_NOT_STARTED,
	MR_GUEST_FILLING,  /* the region gets version 0 of its pages */
	MR_GUEST_STARTING, /* the other vCPUs */
	MR_GUEST_RUNNING,
	MR_GUEST_HALTED, /* for the error that stands beside */
};

enum mr_guest_error {
	MR_GUEST_NO_ERROR,
	MR_GUEST_BAD_BLOCK,    /* magic, layout or size of the parameter block */
	MR_GUEST_BAD_VCPUS,    /* more than there may be */
	MR_GUEST_BAD_REGION,   /* not of whole pages, empty, or not between its borders with the table behind it */
	MR_GUEST_BAD_SHARES,   /* they are not 1000 together, or more than 1000 are filled */
	MR_GUEST_BAD_PATTERN,  /* of vCPU `error_vcpu` */
	MR_GUEST_NO_MEMORY,    /* the region or the table are not all in memory */
	MR_GUEST_TOO_FEW,      /* the machine has fewer vCPUs than the parameters ask for */
	MR_GUEST_READ_DIFFERS, /* vCPU `error_vcpu` read something else than what was last written to `error_page` */
	MR_GUEST_ERROR_COUNT
};

struct mr_guest_vcpu_status {
	uint64_t begun, done; /* touches; `begun` counts just before a touch, `done` behind it */
	uint64_t heartbeat;   /* goes up also when the vCPU waits or has nothing to touch */
	uint64_t apic_id;
};

struct mr_guest_status {
	uint64_t magic;
	uint32_t layout;
	uint32_t state, error, error_vcpu; /* enum mr_guest_state, enum mr_guest_error */
	uint64_t error_page;               /* in the region */
	uint32_t vcpus, started;           /* that are to touch; those that came so far */
	uint64_t table_base;               /* guest-physical, of the versions */
	uint64_t filled;                   /* pages of the region that hold version 0 or a later one */
	uint64_t reserved;
	struct mr_guest_vcpu_status vcpu[MR_GUEST_VCPUS_MAX];
};

/* Of one page of the region, in the table, which begins right behind it. */
struct mr_guest_version {
	uint32_t version;
	uint32_t lock; /* 1 while a vCPU touches the page */
};

/* What is wrong with the parameters; MR_GUEST_BAD_PATTERN also says of which vCPU. */
enum mr_guest_error mr_guest_parameters_check(const struct mr_guest_parameters *parameters, uint32_t *vcpu);
/* What the parameters say of one vCPU below MR_GUEST_VCPUS_MAX. */
struct mr_pattern_config mr_guest_pattern(const struct mr_guest_parameters *parameters, uint32_t vcpu);

#endif
