/* settings.c: whether the releases of a recording take the capabilities and parameters that its manifest names. */
#include "sim/record/settings.h"

#include "ref/capabilities.h"

#include <stdio.h>
#include <string.h>

enum { SETTINGS_PARAMETERS_MAX = 128 };

static bool take_parameter(struct mr_parameter *parameter, const char *name, const json_t *value)
{
	*parameter = (struct mr_parameter){.name = name};
	if (json_is_integer(value)) {
		const json_int_t number = json_integer_value(value);

		parameter->kind = MR_PARAMETER_NUMBER;
		parameter->negative = number < 0;
		parameter->number = number < 0 ? -(uint64_t)number : (uint64_t)number;
		return true;
	}
	if (json_is_boolean(value)) {
		parameter->kind = MR_PARAMETER_SWITCH;
		parameter->number = json_is_true(value);
		return true;
	}
	parameter->kind = MR_PARAMETER_TEXT;
	parameter->text = json_string_value(value);
	return parameter->text;
}

/* More than there can be are left out, and so is what is neither number, text nor truth. */
static size_t take_parameters(const struct mr_recording *recording, struct mr_parameter *parameters)
{
	const char *name;
	json_t *value;
	size_t count = 0;

	json_object_foreach(recording->parameters, name, value)
	{
		if (count < SETTINGS_PARAMETERS_MAX && take_parameter(&parameters[count], name, value))
			count++;
	}
	return count;
}

static bool check_capabilities(const struct mr_recording *recording, const struct mr_profile *profile,
			       struct mr_finding *finding)
{
	struct mr_capability_settings settings = {
		.multifd_compression = mr_recording_parameter_string(recording, "multifd-compression", NULL),
		.tls = *mr_recording_parameter_string(recording, "tls-creds", ""),
	};

	for (size_t i = 0; i < recording->capability_count; i++) {
		const uint64_t bit = mr_capability_bit(recording->capabilities[i]);

		settings.on |= bit;
		if (bit)
			continue;
		*finding = (struct mr_finding){.rule = MR_CAP_001, .verdict = mr_rule_verdict(MR_CAP_001)};
		snprintf(finding->expected, sizeof(finding->expected), "a capability of QEMU");
		snprintf(finding->found, sizeof(finding->found), "%s", recording->capabilities[i]);
		return false;
	}
	return mr_capabilities_check(profile, &settings, finding);
}

/* False if something was reported. */
static bool check_release(const struct mr_recording *recording, const char *release, mr_report_function *report,
			  void *argument)
{
	struct mr_parameter parameters[SETTINGS_PARAMETERS_MAX];
	struct mr_profile profile;
	struct mr_finding finding;

	if (!release || mr_profile_init(&profile, release) < 0)
		return true;
	if (check_capabilities(recording, &profile, &finding) &&
	    mr_parameters_check(&profile, parameters, take_parameters(recording, parameters), 0, &finding))
		return true;
	finding.channel = MR_SETTINGS_CHANNEL;
	report(argument, &finding);
	return false;
}

void mr_settings_check(const struct mr_recording *recording, mr_report_function *report, void *argument)
{
	if (check_release(recording, recording->source_qemu, report, argument))
		(void)check_release(recording, recording->destination_qemu, report, argument);
}
