/* channel.c: what a new connection is for, told by its first bytes and by the connections before it. */
#include "wire.h"

static const uint8_t main_magic[] = {0x51, 0x45, 0x56, 0x4d};
static const uint8_t multifd_magic[] = {0x11, 0x22, 0x33, 0x44};
/* A recovery connection has no header: it begins with the type byte of its first command. */
static const uint8_t command_type[] = {0x08};

static const char *const role_names[MR_ROLE_COUNT] = {
	[MR_ROLE_MAIN] = "main",       [MR_ROLE_RECOVERY] = "recovery", [MR_ROLE_PREEMPT] = "preempt",
	[MR_ROLE_MULTIFD] = "multifd", [MR_ROLE_RETURN] = "return",
};

const char *mr_role_name(enum mr_role role)
{
	return role < MR_ROLE_COUNT ? role_names[role] : "unknown";
}

/* As many of the first bytes as there are agree with `magic`. */
static bool begins_with(struct mr_bytes first, const uint8_t *magic, size_t length)
{
	return memcmp(first.data, magic, first.length < length ? first.length : length) == 0;
}

static bool may_have(const struct mr_channel_census *census, enum mr_capability capability)
{
	return !census->capabilities_known || (census->capabilities & capability);
}

/* A connection without bytes. Multifd channels speak at once, the preempt channel only when a page is asked for. */
static enum mr_role role_of_silence(const struct mr_channel_census *census)
{
	const bool multifd = (census->capabilities & MR_CAPABILITY_MULTIFD) != 0;
	const bool preempt = (census->capabilities & MR_CAPABILITY_POSTCOPY_PREEMPT) != 0;

	if (census->main == 0)
		return MR_ROLE_MAIN;
	if (census->cut)
		return MR_ROLE_RECOVERY;
	if (multifd && (!preempt || census->multifd == 0 || census->preempt))
		return MR_ROLE_MULTIFD;
	return MR_ROLE_PREEMPT;
}

static enum mr_role role_of_bytes(const struct mr_channel_census *census, struct mr_bytes first)
{
	if (begins_with(first, main_magic, sizeof(main_magic)))
		return MR_ROLE_MAIN;
	if (begins_with(first, multifd_magic, sizeof(multifd_magic)))
		return MR_ROLE_MULTIFD;
	/* whatever it is, it stands where the main channel has to come */
	if (census->main == 0)
		return MR_ROLE_MAIN;
	/* a page record cannot begin so: its address would be beyond any guest */
	if (begins_with(first, command_type, sizeof(command_type)))
		return MR_ROLE_RECOVERY;
	return MR_ROLE_PREEMPT;
}

bool mr_channel_identify(struct mr_channel_census *census, struct mr_bytes first, enum mr_role *role)
{
	bool agrees;

	*role = first.length ? role_of_bytes(census, first) : role_of_silence(census);
	switch (*role) {
	case MR_ROLE_MULTIFD:
		agrees = may_have(census, MR_CAPABILITY_MULTIFD);
		census->multifd++;
		break;
	case MR_ROLE_PREEMPT:
		agrees = may_have(census, MR_CAPABILITY_POSTCOPY_PREEMPT);
		census->preempt++;
		break;
	default:
		agrees = census->main == 0 || census->cut;
		census->main++;
		census->cut = false;
		break;
	}
	return agrees;
}
