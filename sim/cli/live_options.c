/* live_options.c: what the commands that stand on sockets read alike. */
#include "sim/cli/live_options.h"
#include "sim/cli/cli.h"

#include <stdlib.h>
#include <string.h>

double live_seconds(const char *name, const char *text, int most, const struct argp_state *state)
{
	char *end;
	const double seconds = strtod(text, &end);

	if (end == text || *end || !(seconds > 0) || seconds > most)
		argp_error(state, "%s: expected seconds, more than 0 and at most %d, found %s", name, most, text);
	return seconds;
}

void live_cut(const char *text, uint32_t *channel, bool *backward, uint64_t *byte, const struct argp_state *state)
{
	uint64_t number;
	const char *way = read_number(text, &number), *end = NULL;

	*backward = way && strncmp(way, ":ret:", 5) == 0;
	if (way && (*backward || strncmp(way, ":fwd:", 5) == 0))
		end = read_number(way + 5, byte);
	if (!end || *end || number >= MR_RECORDING_CHANNELS_MAX || *byte >= INT64_MAX)
		argp_error(state, "--cut: expected CHANNEL:DIRECTION:BYTE, such as 0:fwd:1000000, found %s", text);
	*channel = (uint32_t)number;
}

const char *live_release(const char *name, const char *text, const struct argp_state *state)
{
	struct mr_profile profile;

	if (mr_profile_init(&profile, text) < 0)
		argp_error(state, "%s: expected a QEMU release from 2.5 to 11.1, found %s", name, text);
	return text;
}

uint32_t live_capabilities(const char *list, const struct argp_state *state)
{
	char *copy = strdup(list), *rest = copy, *name;
	uint32_t capabilities = 0;

	while (copy && (name = strsep(&rest, ",")) != NULL) {
		if (*name && !mr_capability_is_known(name))
			argp_error(state, "--capabilities: QEMU has no capability %s", name);
		capabilities |= mr_capability_by_name(name);
	}
	free(copy);
	return capabilities;
}

void live_address(struct mr_address *address, const char *name, const char *text, bool listens,
		  const struct argp_state *state)
{
	char error[512];
	int status;

	if (!text) {
		argp_error(state, "expected %s ADDRESS", name);
		return;
	}
	status = mr_address_parse(address, text, listens, error, sizeof(error));
	if (status == -1)
		argp_error(state, "%s: %s", name, error);
	else if (status < 0)
		argp_failure(state, STATUS_FAILED, 0, "%s: %s", name, error);
}
