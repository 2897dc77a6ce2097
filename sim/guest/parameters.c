/* parameters.c: whether parameters make sense, the same on both sides. No library. */
#include "sim/guest/parameters.h"

#include <stdbool.h>
#include <stddef.h>

_Static_assert(sizeof(struct mr_guest_vcpu) == 72, "the block has no padding");
_Static_assert(sizeof(struct mr_guest_parameters) == 64 + MR_GUEST_VCPUS_MAX * 72, "the block has no padding");
_Static_assert(offsetof(struct mr_guest_status, vcpu) == 64, "the status page has no padding");
_Static_assert(sizeof(struct mr_guest_status) <= MR_GUEST_PAGE_SIZE, "the status is one page");

/* Those of a vCPU that has no pattern, or none that could be run, are worth nothing. */
static bool pattern_is_good(const struct mr_pattern_config *config, uint64_t region_pages)
{
	if (config->kind == MR_PATTERN_IDLE)
		return true;
	if (config->kind >= MR_PATTERN_TRACE || config->write_permille > 1000 || config->pages == 0 ||
	    config->first >= region_pages || config->pages > region_pages - config->first)
		return false;
	switch (config->kind) {
	case MR_PATTERN_STRIDED:
		return config->stride > 0;
	case MR_PATTERN_PHASED:
		return config->phase > 0 && config->working_set > 0 && config->working_set <= config->pages;
	case MR_PATTERN_STACK:
		return config->working_set > 0 && config->working_set <= config->pages;
	case MR_PATTERN_CONSUMER:
		return config->lag < config->pages;
	case MR_PATTERN_BURSTS:
		return config->burst > 0 && config->pause > 0;
	default:
		return true;
	}
}

static bool region_is_good(const struct mr_guest_parameters *parameters)
{
	const uint64_t base = parameters->region_base, pages = parameters->region_pages;
	const uint64_t each = MR_GUEST_PAGE_SIZE + sizeof(struct mr_guest_version);

	return base % MR_GUEST_PAGE_SIZE == 0 && base >= MR_GUEST_REGION_LOWEST && base < MR_GUEST_REGION_BEHIND &&
	       pages > 0 && pages <= (MR_GUEST_REGION_BEHIND - base) / each;
}

static bool shares_are_good(const struct mr_guest_parameters *parameters)
{
	uint32_t sum = 0;

	for (unsigned class = 0; class < MR_CONTENT_CLASS_COUNT; class ++)
		sum += parameters->shares[class];
	return sum == 1000 && parameters->filled <= 1000;
}

enum mr_guest_error mr_guest_parameters_check(const struct mr_guest_parameters *parameters, uint32_t *vcpu)
{
	if (parameters->magic != MR_GUEST_PARAMETERS_MAGIC || parameters->layout != MR_GUEST_LAYOUT ||
	    parameters->size != sizeof(*parameters))
		return MR_GUEST_BAD_BLOCK;
	if (parameters->vcpus > MR_GUEST_VCPUS_MAX)
		return MR_GUEST_BAD_VCPUS;
	if (!region_is_good(parameters))
		return MR_GUEST_BAD_REGION;
	if (!shares_are_good(parameters))
		return MR_GUEST_BAD_SHARES;
	for (uint32_t i = 0; i < MR_GUEST_VCPUS_MAX; i++) {
		const struct mr_pattern_config config = mr_guest_pattern(parameters, i);

		*vcpu = i;
		if (!pattern_is_good(&config, parameters->region_pages))
			return MR_GUEST_BAD_PATTERN;
	}
	return MR_GUEST_NO_ERROR;
}

struct mr_pattern_config mr_guest_pattern(const struct mr_guest_parameters *parameters, uint32_t vcpu)
{
	const struct mr_guest_vcpu *from = &parameters->vcpu[vcpu];
	const bool is_whole = from->first == 0 && from->pages == 0;

	return (struct mr_pattern_config){
		.kind = (enum mr_pattern_kind)from->kind,
		.first = from->first,
		.pages = is_whole ? parameters->region_pages : from->pages,
		.write_permille = from->write_permille,
		.stride = from->stride,
		.working_set = from->working_set,
		.phase = from->phase,
		.lag = from->lag,
		.burst = from->burst,
		.pause = from->pause,
	};
}
