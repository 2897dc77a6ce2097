/* meaning.c: what records, fields and actions are for, in plain words, each with the rule of SPEC.md behind it. */
#include "sim/record/meaning.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define KIND(kind)   (UINT32_C(1) << MR_##kind)

_Static_assert(MR_KIND_COUNT <= 32, "a set of record kinds is 32 bits");

/* Sets of kinds that share fields. */
enum {
	OWNED = KIND(SECTION_START) | KIND(SECTION_FULL),
	CONTINUED = KIND(SECTION_PART) | KIND(SECTION_END),
	SECTIONS = OWNED | CONTINUED,
	PAGES = KIND(RAM_ZERO) | KIND(RAM_PAGE) | KIND(RAM_XBZRLE) | KIND(RAM_COMPRESSED),
	BARE = KIND(RAM_HOOK) | KIND(RAM_FLUSH) | KIND(RAM_EOS),
	MAPPED = KIND(RAM_BITMAP) | KIND(RAM_PAGES),
	PACKETS = KIND(MULTIFD_PACKET) | KIND(MULTIFD_DEVICE_STATE),
	MULTIFD = PACKETS | KIND(MULTIFD_INIT),
};

/* ---- Records ---- */

static const struct mr_meaning records[MR_KIND_COUNT] = {
	[MR_FILE_HEADER] = {"The stream begins: it says what it is, and in which version it is written.", MR_STR_001},
	[MR_CONFIGURATION] = {"The source names its machine type; the destination has to be the same.", MR_STR_003},
	[MR_CONFIGURATION_SUBSECTION] = {"One more thing in which both sides have to agree.", MR_STR_005},
	[MR_SECTION_START] = {"A handler that sends its state in several pieces begins: what it needs first.",
			      MR_STR_012},
	[MR_SECTION_PART] = {"The next piece of a handler that has begun.", MR_STR_014},
	[MR_SECTION_END] = {"The last piece of a handler that has begun.", MR_STR_014},
	[MR_SECTION_FULL] = {"The state of one device, all of it in one piece.", MR_STR_012},
	[MR_SECTION_DATA] = {"What the handler wrote: bytes that only it understands.", MR_STR_023},
	[MR_SECTION_FOOTER] = {"The section ends here. If not, sender and reader disagree about its length.",
			       MR_STR_016},
	[MR_EOF] = {"The end mark: no section or command follows.", MR_STR_026},
	[MR_VMDESCRIPTION] = {"A text that describes each device's bytes, for people and tools.", MR_STR_022},
	[MR_COLO_MESSAGE] = {"COLO: both sides agree on the next checkpoint of a guest that runs twice.", MR_COL_001},
	[MR_RAM_SIZE] = {"How much memory the guest has; its blocks are listed next.", MR_RAM_002},
	[MR_RAM_BLOCK] = {"One block of the guest's memory: pages will be named by block and place in it.", MR_RAM_004},
	[MR_RAM_BITMAP] = {"Which pages of the block stand in this file.", MR_MAP_003},
	[MR_RAM_PAGES] = {"Pages of the block, each at its own place in the file.", MR_MAP_006},
	[MR_RAM_ZERO] = {"A page that holds nothing but zeros: its content need not be sent.", MR_RAM_011},
	[MR_RAM_PAGE] = {"A page with its whole content.", MR_RAM_010},
	[MR_RAM_XBZRLE] = {"A page that was sent before: only the bytes that changed since.", MR_RAM_014},
	[MR_RAM_COMPRESSED] = {"A page, compressed with zlib.", MR_RAM_016},
	[MR_RAM_HOOK] = {"A mark for RDMA, where pages travel beside the stream.", MR_RAM_018},
	[MR_RAM_FLUSH] = {"A barrier: the multifd channels have to come to the same point before it goes on.",
			  MR_RAM_020},
	[MR_RAM_EOS] = {"The end of this section's RAM records; the footer follows.", MR_RAM_001},
	[MR_MULTIFD_INIT] = {"A multifd channel introduces itself: whose it is, and which of them.", MR_MFD_001},
	[MR_MULTIFD_PACKET] = {"Pages of one block, many at once, or a barrier between rounds of pages.", MR_MFD_010},
	[MR_MULTIFD_DEVICE_STATE] = {"State of a device that is too large for the main channel.", MR_MFD_030},
	[MR_OPAQUE] = {"Bytes that cannot be read: what stands before them does not tell what they are.", MR_STR_023},
};

static const struct mr_meaning commands[MR_COMMAND_COUNT] = {
	[MR_COMMAND_OPEN_RETURN_PATH] = {"From now on the destination may answer on the same connection.", MR_CMD_003},
	[MR_COMMAND_PING] = {"A question without content: the destination answers with the same number.", MR_PC_019},
	[MR_COMMAND_POSTCOPY_ADVISE] = {"Postcopy may follow: is the destination able to do it? Make ready.",
					MR_PC_005},
	[MR_COMMAND_POSTCOPY_LISTEN] = {"Precopy is over: from now on catch every access to a page that is missing.",
					MR_PC_010},
	[MR_COMMAND_POSTCOPY_RUN] = {"All devices are there: the guest may run, though pages are missing.", MR_PC_014},
	[MR_COMMAND_POSTCOPY_RAM_DISCARD] = {"These pages are out of date, or were never sent: throw them away.",
					     MR_PC_009},
	[MR_COMMAND_PACKAGED] = {"Take all of the next bytes at once, then carry out the records in them.", MR_PC_012},
	[MR_COMMAND_ENABLE_COLO] = {"The guest will run on both sides, with checkpoints.", MR_CMD_023},
	[MR_COMMAND_POSTCOPY_RESUME] = {"The broken migration goes on over the new connection.", MR_REC_007},
	[MR_COMMAND_RECV_BITMAP] = {"Which pages of this block have you received before the connection broke?",
				    MR_REC_006},
	[MR_COMMAND_SWITCHOVER_START] = {"The guest has stopped at the source: what follows is the last of it.",
					 MR_CMD_024},
};

static const struct mr_meaning messages[MR_RETURN_COUNT] = {
	[MR_RETURN_SHUT] = {"The destination says its last word: whether all went well.", MR_RP_004},
	[MR_RETURN_PONG] = {"The answer to a PING, with its number.", MR_RP_005},
	[MR_RETURN_REQ_PAGES_ID] = {"Somebody at the destination needs this page now; please send it next.", MR_RP_008},
	[MR_RETURN_REQ_PAGES] = {"The same for another page of the block that was named last.", MR_RP_007},
	[MR_RETURN_RECV_BITMAP] = {"The pages of a block that came before the connection broke.", MR_RP_010},
	[MR_RETURN_RESUME_ACK] = {"The destination is ready to go on after a broken connection.", MR_RP_013},
	[MR_RETURN_SWITCHOVER_ACK] = {"The destination's devices are ready: the source may stop the guest.", MR_RP_014},
};

struct mr_meaning mr_record_meaning(const struct mr_record *record)
{
	if (record->kind == MR_COMMAND && record->command.number < MR_COMMAND_COUNT)
		return commands[record->command.number];
	if (record->kind == MR_RETURN_MESSAGE && record->message.type < MR_RETURN_COUNT)
		return messages[record->message.type];
	return record->kind < MR_KIND_COUNT ? records[record->kind] : (struct mr_meaning){NULL, MR_NO_RULE};
}

/* ---- Fields ---- */

struct field_row {
	uint32_t kinds;
	const char *name;
	struct mr_meaning meaning;
};

static const struct field_row fields[] = {
	{KIND(FILE_HEADER), "magic", {"The letters QEVM, by which every stream is known.", MR_STR_001}},
	{KIND(FILE_HEADER), "version", {"Of the format; it has been 3 since 2009.", MR_STR_002}},

	{KIND(CONFIGURATION), "type", {"A configuration follows.", MR_STR_003}},
	{KIND(CONFIGURATION), "machine_length", {"Bytes of the name that follows.", MR_STR_027}},
	{KIND(CONFIGURATION), "machine", {"Machine type: which virtual hardware the guest sees.", MR_STR_004}},

	{KIND(CONFIGURATION_SUBSECTION), "type", {"A subsection follows.", MR_STR_005}},
	{KIND(CONFIGURATION_SUBSECTION), "name", {"Which subsection it is.", MR_STR_005}},
	{KIND(CONFIGURATION_SUBSECTION), "version", {"Of the subsection.", MR_STR_006}},
	{KIND(CONFIGURATION_SUBSECTION), "target_page_bits", {"A page has 2 to this power bytes.", MR_STR_007}},
	{KIND(CONFIGURATION_SUBSECTION), "count", {"How many capabilities follow.", MR_STR_008}},
	{KIND(CONFIGURATION_SUBSECTION),
	 "capability",
	 {"A feature that the destination must have on too.", MR_STR_008}},
	{KIND(CONFIGURATION_SUBSECTION), "uuid", {"Which guest it is.", MR_STR_009}},
	{KIND(CONFIGURATION_SUBSECTION), "name_length", {"Bytes of the name that follows.", MR_STR_027}},

	{SECTIONS, "type", {"Whether a section begins (1), goes on (2), ends (3) or is all in one (4).", MR_STR_011}},
	{SECTIONS, "id", {"Number of the section: its later pieces carry this alone.", MR_STR_013}},
	{OWNED, "name_length", {"Bytes of the name that follows.", MR_STR_027}},
	{OWNED, "name", {"Who wrote the section and will read it.", MR_STR_012}},
	{CONTINUED, "name", {"Not sent: what the section with this number said when it began.", MR_STR_014}},
	{OWNED, "instance", {"Which one, where several have this name.", MR_STR_025}},
	{OWNED, "version", {"Of the handler's own format.", MR_DEV_002}},

	{KIND(SECTION_DATA), "data", {"The handler's bytes.", MR_STR_023}},
	{KIND(SECTION_DATA),
	 "delimited_by",
	 {"Not sent: by what a reader can know where these bytes end.", MR_STR_023}},
	{KIND(SECTION_FOOTER), "type", {"A footer follows.", MR_STR_016}},
	{KIND(SECTION_FOOTER), "id", {"The section that ends; it must be the one that is open.", MR_STR_016}},

	{KIND(COMMAND), "type", {"A command follows.", MR_STR_011}},
	{KIND(COMMAND), "command", {"Its number.", MR_CMD_001}},
	{KIND(COMMAND), "payload_length", {"Bytes of the command's own data, which follow.", MR_CMD_002}},
	{KIND(COMMAND), "name", {"Not sent: what the number stands for.", MR_CMD_001}},
	{KIND(COMMAND), "value", {"Any number; it comes back in the answer.", MR_CMD_005}},
	{KIND(COMMAND), "page_size_summary", {"The sizes of the pages behind the guest's memory, ORed.", MR_CMD_008}},
	{KIND(COMMAND), "target_page_size", {"Bytes of a page in the stream.", MR_CMD_008}},
	{KIND(COMMAND), "version", {"Of this command's data, 0.", MR_CMD_009}},
	{KIND(COMMAND), "name_length", {"Bytes of the name that follows.", MR_STR_027}},
	{KIND(COMMAND), "block", {"The block of memory that it is about.", MR_CMD_011}},
	{KIND(COMMAND), "terminator", {"The end of the name.", MR_CMD_009}},
	{KIND(COMMAND), "start", {"Where in the block the range begins, bytes.", MR_CMD_011}},
	{KIND(COMMAND), "length", {"Bytes of the range.", MR_CMD_012}},
	{KIND(COMMAND), "package_length", {"Bytes of the package, which follows.", MR_CMD_018}},

	{KIND(EOF), "type", {"Nothing follows.", MR_STR_026}},
	{KIND(VMDESCRIPTION), "type", {"A description follows.", MR_STR_020}},
	{KIND(VMDESCRIPTION), "json_length", {"Bytes of the text that follows.", MR_STR_027}},
	{KIND(VMDESCRIPTION), "json", {"The description, as JSON: devices, fields, sizes.", MR_STR_022}},
	{KIND(COLO_MESSAGE), "message", {"Which of the seven messages it is.", MR_COL_001}},
	{KIND(COLO_MESSAGE), "size", {"Bytes of device state, which follows.", MR_COL_001}},

	{KIND(RAM_SIZE), "word", {"The total, with the flag SIZE (4) in its low bits.", MR_RAM_001}},
	{KIND(RAM_SIZE), "total", {"Bytes of all blocks together; the list ends when they are reached.", MR_RAM_002}},
	{KIND(RAM_BLOCK), "name_length", {"Bytes of the name that follows.", MR_RAM_003}},
	{KIND(RAM_BLOCK), "block", {"The block's name, the same on both sides.", MR_RAM_003}},
	{KIND(RAM_BLOCK), "used_length", {"Bytes of the block.", MR_RAM_005}},
	{KIND(RAM_BLOCK), "page_size", {"Its memory is made of huge pages of so many bytes.", MR_RAM_006}},
	{KIND(RAM_BLOCK), "guest_address", {"Where the guest sees the block.", MR_PC_021}},
	{KIND(RAM_BLOCK), "ignored", {"1: its pages are not sent, both sides share them.", MR_RAM_009}},
	{KIND(RAM_BLOCK), "mapped_version", {"Of what follows: where the block lies in this file.", MR_MAP_001}},
	{KIND(RAM_BLOCK), "mapped_page_size", {"Bytes of a page.", MR_MAP_002}},
	{KIND(RAM_BLOCK), "bitmap_offset", {"Where in the file the block's bitmap begins.", MR_MAP_003}},
	{KIND(RAM_BLOCK), "pages_offset", {"Where in the file its pages begin.", MR_MAP_004}},

	{MAPPED, "block", {"Not sent: the block whose turn it is.", MR_MAP_003}},
	{KIND(RAM_BITMAP), "first_page", {"Not sent: the page that the first bit stands for.", MR_MAP_003}},
	{KIND(RAM_BITMAP), "set", {"Not sent: how many bits are 1.", MR_MAP_003}},
	{KIND(RAM_BITMAP),
	 "bitmap",
	 {"A bit for each page; 1: it stands in the file, 0: it is all zeros.", MR_MAP_008}},
	{KIND(RAM_BITMAP), "padding", {"Up to where the pages begin; without meaning.", MR_MAP_005}},
	{KIND(RAM_PAGES), "address", {"Not sent: where in the block these pages belong, bytes.", MR_MAP_006}},
	{KIND(RAM_PAGES), "pages", {"Contents, one page behind the other.", MR_MAP_006}},

	{PAGES | BARE, "word", {"Address and flags in one number.", MR_RAM_001}},
	{PAGES, "address", {"Out of the word: where in the block the page belongs, bytes.", MR_RAM_010}},
	{BARE, "address", {"Out of the word: none, it is no page.", MR_RAM_021}},
	{PAGES | BARE, "flags", {"Out of the word: what kind of record it is.", MR_RAM_001}},
	{PAGES, "name_length", {"Bytes of the name that follows.", MR_RAM_003}},
	{PAGES, "block", {"The block; the next pages can leave it out by the flag CONTINUE.", MR_RAM_008}},
	{KIND(RAM_ZERO), "fill", {"The byte that fills the page.", MR_RAM_011}},
	{KIND(RAM_PAGE), "page", {"The page's content.", MR_RAM_010}},
	{KIND(RAM_XBZRLE), "encoding", {"How it is written: 1, runs of old and new bytes by turns.", MR_RAM_012}},
	{KIND(RAM_XBZRLE), "data_length", {"Bytes that follow.", MR_RAM_012}},
	{KIND(RAM_COMPRESSED), "data_length", {"Bytes that follow.", MR_RAM_015}},
	{KIND(RAM_XBZRLE), "data", {"Lengths of runs, and the new bytes.", MR_XBZ_005}},
	{KIND(RAM_COMPRESSED), "data", {"A zlib stream of one page.", MR_RAM_016}},

	{KIND(RETURN_MESSAGE), "type", {"Which message it is.", MR_RP_001}},
	{KIND(RETURN_MESSAGE), "message", {"Not sent: what the number stands for.", MR_RP_001}},
	{KIND(RETURN_MESSAGE), "length", {"Bytes of the message's own data, which follow.", MR_RP_003}},
	{KIND(RETURN_MESSAGE), "value", {"The number that the message carries.", MR_RP_002}},
	{KIND(RETURN_MESSAGE), "start", {"Where in the block the page begins, bytes.", MR_RP_008}},
	{KIND(RETURN_MESSAGE), "page_length", {"Bytes that are asked for: one page.", MR_RP_008}},
	{KIND(RETURN_MESSAGE), "name_length", {"Bytes of the name that follows.", MR_RP_006}},
	{KIND(RETURN_MESSAGE), "block", {"The block of memory that it is about.", MR_RP_006}},
	{KIND(RETURN_MESSAGE), "bitmap_size", {"Bytes of the bitmap, which follows.", MR_RP_010}},
	{KIND(RETURN_MESSAGE),
	 "bitmap",
	 {"A bit for each page; 1: it came. The lowest bit of a byte is first.", MR_RP_012}},
	{KIND(RETURN_MESSAGE),
	 "end_mark",
	 {"The end of the bitmap, by which a lost byte would be noticed.", MR_RP_011}},

	{MULTIFD, "magic", {"By which multifd channels are known.", MR_MFD_010}},
	{MULTIFD, "version", {"Of multifd's format.", MR_MFD_010}},
	{KIND(MULTIFD_INIT), "uuid", {"Which guest it is.", MR_MFD_002}},
	{KIND(MULTIFD_INIT), "id", {"Number of the channel.", MR_MFD_003}},
	{KIND(MULTIFD_INIT), "reserved", {"Room for later, 0.", MR_MFD_004}},
	{PACKETS, "flags", {"What the packet is, and how its payload is compressed.", MR_MFD_011}},
	{KIND(MULTIFD_PACKET), "pages_alloc", {"Room for so many pages in this packet.", MR_MFD_012}},
	{KIND(MULTIFD_PACKET), "normal_pages", {"Pages whose content follows.", MR_MFD_013}},
	{PACKETS, "next_packet_size", {"Bytes of the payload.", MR_MFD_015}},
	{KIND(MULTIFD_PACKET), "packet_num", {"Packets are counted over all channels.", MR_MFD_022}},
	{KIND(MULTIFD_PACKET), "zero_pages", {"Pages of zeros: named, without content.", MR_MFD_014}},
	{KIND(MULTIFD_PACKET), "reserved", {"Room for later, 0.", MR_MFD_025}},
	{KIND(MULTIFD_PACKET), "ramblock", {"The block of all these pages.", MR_MFD_017}},
	{KIND(MULTIFD_PACKET), "ramblock_padding", {"The rest of the name's 256 bytes.", MR_MFD_025}},
	{KIND(MULTIFD_PACKET),
	 "offset",
	 {"Where in the block a page belongs whose content follows, bytes.", MR_MFD_018}},
	{KIND(MULTIFD_PACKET), "zero_offset", {"Where in the block a page of zeros is, bytes.", MR_MFD_018}},
	{KIND(MULTIFD_PACKET), "unused_offsets", {"Room for more pages; without meaning.", MR_MFD_025}},
	{KIND(MULTIFD_PACKET), "payload", {"The contents of the pages, in the order of their offsets.", MR_MFD_015}},
	{KIND(MULTIFD_DEVICE_STATE), "idstr", {"Whose state it is.", MR_MFD_030}},
	{KIND(MULTIFD_DEVICE_STATE), "idstr_padding", {"The rest of the name's 256 bytes.", MR_MFD_030}},
	{KIND(MULTIFD_DEVICE_STATE), "instance", {"Which one, where several have this name.", MR_MFD_030}},
	{KIND(MULTIFD_DEVICE_STATE), "payload", {"The device's bytes.", MR_MFD_030}},

	{KIND(OPAQUE), "data", {"The rest.", MR_STR_023}},
	{KIND(OPAQUE), "why", {"Not sent: the rule by which reading ended.", MR_STR_023}},
};

struct mr_meaning mr_field_meaning(enum mr_kind kind, const char *name)
{
	for (size_t i = 0; i < COUNT(fields) && kind < MR_KIND_COUNT; i++)
		if ((fields[i].kinds >> kind & 1) && strcmp(fields[i].name, name) == 0)
			return fields[i].meaning;
	return (struct mr_meaning){NULL, MR_NO_RULE};
}

/* ---- Values ---- */

struct bit_name {
	uint32_t bit;
	const char *name;
};

static const struct bit_name ram_flags[] = {
	{MR_RAM_FLAG_ZERO, "ZERO"},
	{MR_RAM_FLAG_SIZE, "SIZE"},
	{MR_RAM_FLAG_PAGE, "PAGE"},
	{MR_RAM_FLAG_EOS, "EOS"},
	{MR_RAM_FLAG_XBZRLE, "XBZRLE"},
	{MR_RAM_FLAG_HOOK, "HOOK"},
	{MR_RAM_FLAG_COMPRESSED, "COMPRESSED"},
	{MR_RAM_FLAG_FLUSH, "FLUSH"},
	{MR_RAM_FLAG_CONTINUE, "CONTINUE: the same block as before"},
	{0, NULL},
};

static const struct bit_name multifd_flags[] = {
	{MR_MULTIFD_FLAG_SYNC, "SYNC"},
	{MR_MULTIFD_FLAG_ZLIB, "zlib"},
	{MR_MULTIFD_FLAG_ZSTD, "zstd"},
	{MR_MULTIFD_FLAG_QPL, "qpl"},
	{MR_MULTIFD_FLAG_UADK, "uadk"},
	{MR_MULTIFD_FLAG_QATZIP, "qatzip"},
	{MR_MULTIFD_FLAG_DEVICE_STATE, "device state"},
	{0, NULL},
};

static void name_bits(const struct bit_name *names, uint64_t bits, char out[MR_VALUE_MEANING_MAX])
{
	size_t used = 0;

	for (; names->name; names++) {
		const size_t length = strlen(names->name);

		if (!(bits & names->bit) || used + length + 3 > MR_VALUE_MEANING_MAX)
			continue;
		used += (size_t)snprintf(out + used, MR_VALUE_MEANING_MAX - used, "%s%s", used ? ", " : "",
					 names->name);
	}
}

static const char *known_number(const struct mr_record *record, const struct mr_field *field)
{
	static const char *const colo[] = {
		"checkpoint-ready", "checkpoint-request", "checkpoint-reply", "vmstate-send",
		"vmstate-size",     "vmstate-received",   "vmstate-loaded",
	};

	if (record->kind == MR_COLO_MESSAGE && strcmp(field->name, "message") == 0 && field->number < COUNT(colo))
		return colo[field->number];
	if (record->kind == MR_RETURN_MESSAGE && record->message.type == MR_RETURN_SHUT &&
	    strcmp(field->name, "value") == 0)
		return field->number ? "it failed" : "all went well";
	return "";
}

void mr_value_meaning(const struct mr_record *record, const struct mr_field *field, char out[MR_VALUE_MEANING_MAX])
{
	const bool flags = strcmp(field->name, "flags") == 0;

	out[0] = '\0';
	if (field->type == MR_FIELD_TEXT || field->type == MR_FIELD_BYTES)
		return;
	if (flags && (KIND(MULTIFD_PACKET) | KIND(MULTIFD_DEVICE_STATE)) >> record->kind & 1)
		name_bits(multifd_flags, field->number, out);
	else if (flags)
		name_bits(ram_flags, field->number, out);
	else
		snprintf(out, MR_VALUE_MEANING_MAX, "%s", known_number(record, field));
}

/* ---- Actions ---- */

static const struct mr_meaning actions[MR_ACTION_KIND_COUNT] = {
	[MR_ACTION_STATUS] = {"What the monitor shows of the migration changes.", MR_PC_020},
	[MR_ACTION_POSTCOPY_STATE] = {"The state changes that says which commands are allowed now.", MR_PC_001},
	[MR_ACTION_SECTION] = {"It begins to read a section, or has found the end mark.", MR_STR_011},
	[MR_ACTION_COMMAND] = {"It begins to carry out a command.", MR_PC_001},
	[MR_ACTION_COMMAND_DONE] =
		{"The command is done; 0: go on, 1: this loader has read enough, below 0: it failed.", MR_PC_014},
	[MR_ACTION_DISCARD_HEADER] = {"It knows from which block pages are to be thrown away.", MR_PC_009},
	[MR_ACTION_LISTEN_PREPARED] = {"Nothing will be thrown away any more.", MR_PC_008},
	[MR_ACTION_LISTEN_READY] = {"From this moment on, whoever touches a missing page is stopped until it is there.",
				    MR_PC_010},
	[MR_ACTION_RAM_RECORD] = {"It takes a page: writes it into guest memory, or keeps it for its huge page.",
				  MR_PC_016},
	[MR_ACTION_RAM_LOADED] = {"All RAM records of this section are taken.", MR_PC_016},
	[MR_ACTION_BARRIER] = {"Every multifd channel has come to the same point, and all go on.", MR_MFR_002},
	[MR_ACTION_MARKED] = {"The page counts as received: nobody waits for it any more.", MR_PC_036},
	[MR_ACTION_REQUEST] =
		{"It decides what becomes of the access: ask for the page, ask again, or it came meanwhile.",
		 MR_REQ_003},
	[MR_ACTION_REQUEST_AGAIN] = {"A page that is still waited for is asked for once more, on the new connection.",
				     MR_REC_008},
	[MR_ACTION_BITMAP_SENT] = {"The source knows now which pages of this block have come.", MR_REC_006},
	[MR_ACTION_PAUSE] = {"The connection is lost: the migration pauses, the guest runs on as far as it can.",
			     MR_REC_002},
	[MR_ACTION_PARK] = {"It sleeps until the migration goes on.", MR_REC_003},
	[MR_ACTION_CONTINUE] = {"It wakes up: the migration goes on.", MR_REC_007},
	[MR_ACTION_ACTOR_START] = {"Another thread of the destination begins its work.", MR_PC_010},
	[MR_ACTION_ACTOR_END] = {"This thread's work is done.", MR_PC_041},
	[MR_ACTION_LOADED] = {"The main loader has read all that it is to read.", MR_PC_014},
	[MR_ACTION_CLEANUP] = {"All pages are there: what catches accesses is taken down.", MR_PC_041},
	[MR_ACTION_CLEANUP_DONE] = {"It is taken down.", MR_PC_041},
	[MR_ACTION_STATE_CLEANUP] = {"What was kept for loading is given back.", MR_PC_043},
	[MR_ACTION_FINISHED] = {"The migration is over, and it was good.", MR_PC_042},
	[MR_ACTION_FAILED] = {"The migration has failed for good.", MR_PC_044},
	[MR_ACTION_SEND] = {"It answers the source on the return path:", MR_REQ_005},
	[MR_ACTION_PROBE] = {"Can the host do what postcopy needs?", MR_PC_005},
	[MR_ACTION_UNLOCK] = {"Memory is unlocked: locked pages could not be thrown away.", MR_PC_005},
	[MR_ACTION_LOCK] = {"Memory is locked again, as it was configured.", MR_PC_041},
	[MR_ACTION_NOTIFY] = {"Devices are told, and may object.", MR_PC_010},
	[MR_ACTION_DISCARD] = {"The content of these pages is thrown away: they are missing from now on.", MR_PC_009},
	[MR_ACTION_NO_HUGE_PAGES] = {"The kernel must not join small pages: it would fill what is missing with zeros.",
				     MR_PC_007},
	[MR_ACTION_HUGE_PAGES] = {"The kernel may join small pages again.", MR_PC_041},
	[MR_ACTION_CATCH] = {"The kernel is asked to report accesses to missing pages.", MR_PC_010},
	[MR_ACTION_REGISTER] = {"... in this block.", MR_PC_010},
	[MR_ACTION_UNREGISTER] = {"Accesses to this block are reported no longer.", MR_PC_041},
	[MR_ACTION_RELEASE] = {"The kernel reports nothing any more.", MR_PC_041},
	[MR_ACTION_PLACE] = {"The page appears in guest memory, all of it at once; who waited for it runs on.",
			     MR_PC_034},
	[MR_ACTION_WAKE] = {"Threads of another process that wait for this page run on.", MR_REQ_010},
	[MR_ACTION_PACKET] = {"The pages of a multifd packet are written into guest memory.", MR_MFR_004},
	[MR_ACTION_LOAD_DEVICE] = {"A device takes its state.", MR_PC_011},
	[MR_ACTION_RESIZE] = {"The block gets the length that it has at the source.", MR_PC_022},
	[MR_ACTION_ANNOUNCE] = {"The network is told where the guest is from now on.", MR_PC_014},
	[MR_ACTION_START_GUEST] = {"The guest runs at the destination.", MR_PC_014},
	[MR_ACTION_CLOSE] = {"The connection is closed.", MR_REC_002},
	[MR_ACTION_HOOK] = {"The owner of a section is called.", MR_HND_007},
};

/* Kinds of which several are worth a sentence each. */
static const struct mr_meaning states[MR_POSTCOPY_COUNT] = {
	[MR_POSTCOPY_NONE] = {"Nothing was said of postcopy, or it cannot be done here.", MR_PC_005},
	[MR_POSTCOPY_ADVISE] = {"Postcopy may come from now on.", MR_PC_001},
	[MR_POSTCOPY_DISCARD] = {"The source says now which pages are out of date.", MR_PC_007},
	[MR_POSTCOPY_LISTENING] = {"Pages that come from now on are postcopy's.", MR_PC_010},
	[MR_POSTCOPY_RUNNING] = {"The guest may run here, though pages are missing.", MR_PC_014},
	[MR_POSTCOPY_END] = {"It is over: nothing is read any more.", MR_PC_042},
};

static const struct mr_meaning probes[] = {
	[MR_PROBE_OPEN] = {"Can the host report accesses to missing pages at all?", MR_PC_005},
	[MR_PROBE_FEATURES] = {"Can it do so in the way that is needed?", MR_PC_005},
	[MR_PROBE_FILE_SYSTEMS] = {"Does memory in files lie where pages can be missing?", MR_PC_005},
	[MR_PROBE_REGISTER] = {"Can a missing page be filled, and who waits for it be woken?", MR_PC_005},
};

static const struct mr_meaning notices[] = {
	[MR_NOTICE_PROBE] = {"Devices are asked whether they can live with missing pages.", MR_PC_005},
	[MR_NOTICE_ADVISE] = {"Devices are told that postcopy may come.", MR_PC_005},
	[MR_NOTICE_LISTEN] = {"Devices are told that pages may be missing from now on.", MR_PC_010},
	[MR_NOTICE_END] = {"Devices are told that all pages are there.", MR_PC_041},
};

static const struct mr_meaning verdicts[] = {
	[MR_REQUEST_ADDED] = {"Nobody has asked for this page yet: it will be asked for.", MR_REQ_003},
	[MR_REQUEST_REPEATED] = {"Somebody waits for this page already: it is asked for again.", MR_REQ_003},
	[MR_REQUEST_DROPPED] = {"The page came meanwhile: nothing to ask for.", MR_REQ_003},
	[MR_REQUEST_ZEROED] = {"There is no memory here now: zeros will do.", MR_REQ_012},
};

static const struct mr_meaning starts[MR_ACTOR_MULTIFD] = {
	[MR_ACTOR_LISTEN] = {"A second loader begins: it reads the main channel behind the package.", MR_PC_011},
	[MR_ACTOR_PREEMPT] = {"The loader of pages that were asked for begins.", MR_PRE_002},
	[MR_ACTOR_FAULT] = {"The thread begins that hears of accesses to missing pages.", MR_PC_010},
};

/* The sentence of one of several, if the table has it, else that of the action's kind. */
static struct mr_meaning choose(const struct mr_meaning *table, size_t count, unsigned which, enum mr_action_kind kind)
{
	return which < count && table[which].text ? table[which] : actions[kind];
}

static struct mr_meaning send_meaning(const struct mr_action_send *send)
{
	struct mr_meaning meaning = actions[MR_ACTION_SEND];

	if (send->bitmap)
		return (struct mr_meaning){"It answers with the marks of the block's pages.", MR_REC_006};
	if (send->type == MR_RETURN_PONG)
		meaning.rule = MR_PC_019;
	if (send->type == MR_RETURN_SHUT)
		meaning.rule = MR_PC_043;
	if (send->type == MR_RETURN_RESUME_ACK)
		meaning.rule = MR_REC_007;
	return meaning;
}

struct mr_meaning mr_action_meaning(const struct mr_action *action)
{
	switch (action->kind) {
	case MR_ACTION_POSTCOPY_STATE:
		return choose(states, COUNT(states), action->state, action->kind);
	case MR_ACTION_PROBE:
		return choose(probes, COUNT(probes), action->probe, action->kind);
	case MR_ACTION_NOTIFY:
		return choose(notices, COUNT(notices), action->notice, action->kind);
	case MR_ACTION_REQUEST:
		return choose(verdicts, COUNT(verdicts), action->request.verdict, action->kind);
	case MR_ACTION_ACTOR_START:
		return choose(starts, COUNT(starts), action->actor, action->kind);
	case MR_ACTION_SEND:
		return send_meaning(&action->send);
	case MR_ACTION_DISCARD:
		if (action->range.when == MR_POSTCOPY_ADVISE)
			return (struct mr_meaning){"The whole block is emptied: what is to be there will be sent.",
						   MR_PC_006};
		break;
	case MR_ACTION_START_GUEST:
		if (!action->result)
			return (struct mr_meaning){"The guest is complete, and stays stopped as it was ordered.",
						   MR_PC_014};
		break;
	case MR_ACTION_RAM_RECORD:
		if (action->page.cut)
			return (struct mr_meaning){"Only the beginning of a page came before the connection broke.",
						   MR_REC_001};
		break;
	default:
		break;
	}
	return (unsigned)action->kind < MR_ACTION_KIND_COUNT ? actions[action->kind]
							     : (struct mr_meaning){NULL, MR_NO_RULE};
}

/* ---- Inputs and waiting ---- */

struct mr_meaning mr_input_meaning(enum mr_log_kind kind)
{
	switch (kind) {
	case MR_LOG_OPEN:
		return (struct mr_meaning){"The source has connected.", MR_CHN_001};
	case MR_LOG_FAULT:
		return (struct mr_meaning){"A thread at the destination touches a page that is missing, and waits.",
					   MR_REQ_001};
	case MR_LOG_CLIENT:
		return (struct mr_meaning){"A process that shares guest memory begins to catch faults.", MR_REQ_009};
	case MR_LOG_CLIENT_FAULT:
		return (struct mr_meaning){"A thread of such a process touches a page that is missing, and waits.",
					   MR_REQ_009};
	case MR_LOG_END:
		return (struct mr_meaning){"Nothing more comes on this connection.", MR_REC_001};
	case MR_LOG_ERROR:
		return (struct mr_meaning){"The host fails to do what is asked of it next.", MR_REC_001};
	case MR_LOG_RETURN_END:
		return (struct mr_meaning){"The return path of this connection takes nothing more.", MR_REC_012};
	default:
		return (struct mr_meaning){NULL, MR_NO_RULE};
	}
}

const char *mr_wait_meaning(enum mr_wait wait)
{
	switch (wait) {
	case MR_WAIT_CHANNEL:
		return "a connection";
	case MR_WAIT_FAULT:
		return "an access to a missing page";
	case MR_WAIT_RELEASE:
		return "the migration to go on";
	case MR_WAIT_ACTOR:
		return "another thread";
	case MR_WAIT_REQUESTS:
		return "the last page that was asked for";
	default:
		return NULL;
	}
}
