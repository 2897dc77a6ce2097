/* from_scenario.c: the bootable test guest that does what a scenario's guest does, as far as it can. */
#include "sim/guest/from_scenario.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 2, 3))) static bool fail(char error[MR_GUEST_LINE], const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(error, MR_GUEST_LINE, format, arguments);
	va_end(arguments);
	return false;
}

static void take_pattern(struct mr_guest_vcpu *vcpu, const struct mr_scenario_workload *workload)
{
	const struct mr_pattern_config *pattern = &workload->pattern;

	*vcpu = (struct mr_guest_vcpu){
		.kind = pattern->kind,
		.write_permille = pattern->write_permille,
		.first = pattern->first,
		.pages = pattern->pages,
		.stride = pattern->stride,
		.working_set = pattern->working_set,
		.phase = pattern->phase,
		.lag = pattern->lag,
		.burst = pattern->burst,
		.pause = pattern->pause,
		.spins = workload->interval,
	};
}

static bool take_workload(struct mr_guest_parameters *parameters, const struct mr_scenario *scenario,
			  const struct mr_scenario_workload *workload, uint32_t block, char error[MR_GUEST_LINE])
{
	if (workload->block != block)
		return fail(error,
			    "[workload %s]: expected block %s, as of the first workload, found %s: the guest "
			    "has one block",
			    workload->name, scenario->blocks[block].name, scenario->blocks[workload->block].name);
	if (workload->pattern.kind == MR_PATTERN_TRACE)
		return fail(error, "[workload %s]: expected a pattern, found a trace, which the guest cannot hold",
			    workload->name);
	for (uint32_t i = 0; i < workload->vcpu_count; i++)
		take_pattern(&parameters->vcpu[workload->first_vcpu + i], workload);
	return true;
}

bool mr_guest_from_scenario(struct mr_guest_parameters *parameters, const struct mr_scenario *scenario,
			    char error[MR_GUEST_LINE])
{
	const uint32_t block = scenario->workload_count ? scenario->workloads[0].block : 0;

	if (scenario->guest.vcpus > MR_GUEST_VCPUS_MAX)
		return fail(error, "[guest] vcpus: expected at most %d, which the guest can have, found %" PRIu32,
			    MR_GUEST_VCPUS_MAX, scenario->guest.vcpus);
	if (scenario->guest.target_page_size != MR_GUEST_PAGE_SIZE)
		return fail(error, "[guest] target-page-size: expected %d, found %" PRIu32, MR_GUEST_PAGE_SIZE,
			    scenario->guest.target_page_size);
	parameters->seed = scenario->seed;
	parameters->block = block;
	parameters->region_pages = scenario->blocks[block].size / MR_GUEST_PAGE_SIZE;
	parameters->vcpus = scenario->guest.vcpus;
	memcpy(parameters->shares, scenario->guest.shares, sizeof(parameters->shares));
	parameters->filled = scenario->guest.filled;
	memset(parameters->vcpu, 0, sizeof(parameters->vcpu));
	for (uint32_t i = 0; i < scenario->workload_count; i++)
		if (!take_workload(parameters, scenario, &scenario->workloads[i], block, error))
			return false;
	return true;
}
