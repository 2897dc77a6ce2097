/* explain.c: records with every byte annotated, and what they make the destination do, for people who read along. */
#include "sim/record/explain.h"
#include "sim/record/actions.h"
#include "sim/record/device.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

enum {
	BYTES_A_LINE = 8,
	LINES_MAX = 2, /* of one field's bytes */
	ACTION_TEXT_MAX = 512,
};

/* ---- Pieces ---- */

static struct mr_bytes string_bytes(const char *text)
{
	return (struct mr_bytes){(const uint8_t *)text, strlen(text)};
}

static void put_member(FILE *out, const char *name, const char *text)
{
	fprintf(out, ",\"%s\":", name);
	mr_print_json_string(out, string_bytes(text));
}

/* Members `meaning` and `rule` of an object. */
static void put_meaning_json(FILE *out, struct mr_meaning meaning)
{
	if (meaning.text)
		put_member(out, "meaning", meaning.text);
	if (meaning.rule)
		put_member(out, "rule", mr_rule_id(meaning.rule));
}

/* The sentence and its rule, to the end of the line. */
static void put_meaning(FILE *out, struct mr_meaning meaning)
{
	fprintf(out, "%s", meaning.text ? meaning.text : "");
	fprintf(out, meaning.rule ? " [%s]\n" : "\n", mr_rule_id(meaning.rule));
}

/* Names of blocks come from outside: what a terminal obeys is shown as \x1b. */
static void put_name(FILE *out, const char *name)
{
	for (; *name; name++) {
		const unsigned char byte = (unsigned char)*name;

		fprintf(out, byte < 0x20 || byte > 0x7e ? "\\x%02x" : "%c", byte);
	}
}

static const char *block_name(const struct mr_incoming *incoming, uint32_t block)
{
	const char *name = mr_incoming_block_name(incoming, block);

	return name ? name : "unknown block";
}

/* ---- Fields ---- */

struct field_writer {
	const struct mr_explainer *explainer;
	const struct mr_record *record;
	const uint8_t *wire;
	bool first;
};

/* Line `line` of a field's bytes, padded; the last one ends in "..." if not all of them are shown. */
static void put_bytes_line(FILE *out, const uint8_t *bytes, uint64_t length, unsigned line)
{
	const uint64_t first = (uint64_t)line * BYTES_A_LINE;
	const bool cut = line == LINES_MAX - 1 && length > LINES_MAX * BYTES_A_LINE;

	for (uint64_t i = first; i < first + BYTES_A_LINE; i++) {
		if (cut && i == first + BYTES_A_LINE - 1)
			fputs("...", out);
		else if (i < length)
			fprintf(out, "%02x ", bytes[i]);
		else
			fputs("   ", out);
	}
}

static void put_value(const struct field_writer *writer, const struct mr_field *field)
{
	const struct mr_explainer *explainer = writer->explainer;
	const struct mr_printer printer = {.out = explainer->out, .json = explainer->json};
	char words[MR_VALUE_MEANING_MAX];

	mr_print_value(&printer, field);
	mr_value_meaning(writer->record, field, words);
	if (words[0] && explainer->json)
		put_member(explainer->out, "words", words);
	else if (words[0])
		fprintf(explainer->out, " (%s)", words);
}

static void put_field_text(void *argument, const struct mr_field *field)
{
	const struct field_writer *writer = argument;
	const char *indent = writer->explainer->indent;
	FILE *out = writer->explainer->out;
	const uint8_t *bytes = writer->wire + field->offset;

	if (field->length)
		fprintf(out, "%s  %08" PRIx64 "  ", indent, writer->record->offset + field->offset);
	else
		fprintf(out, "%s            ", indent);
	put_bytes_line(out, bytes, field->length, 0);
	fprintf(out, "  %s", field->name);
	if (field->index != UINT32_MAX)
		fprintf(out, "[%" PRIu32 "]", field->index);
	fputs(" = ", out);
	put_value(writer, field);
	fprintf(out, "\n%s            ", indent);
	put_bytes_line(out, bytes, field->length, 1);
	fputs("    ", out);
	put_meaning(out, mr_field_meaning(writer->record->kind, field->name));
}

static void put_field_json(void *argument, const struct mr_field *field)
{
	struct field_writer *writer = argument;
	FILE *out = writer->explainer->out;
	const uint64_t shown = field->length < MR_PRINT_BYTES_MAX ? field->length : MR_PRINT_BYTES_MAX;

	fprintf(out, "%s{\"name\":\"%s\",\"offset\":%" PRIu64 ",\"length\":%" PRIu64, writer->first ? "" : ",",
		field->name, writer->record->offset + field->offset, field->length);
	writer->first = false;
	if (field->index != UINT32_MAX)
		fprintf(out, ",\"index\":%" PRIu32, field->index);
	fputs(",\"bytes\":\"", out);
	for (uint64_t i = 0; i < shown; i++)
		fprintf(out, "%02x", writer->wire[field->offset + i]);
	fputs("\",\"value\":", out);
	put_value(writer, field);
	put_meaning_json(out, mr_field_meaning(writer->record->kind, field->name));
	putc('}', out);
}

/* ---- Records ---- */

/* The name of a command or message, which says more than the record's kind. */
static const char *record_name(const struct mr_record *record)
{
	const char *name = NULL;

	if (record->kind == MR_COMMAND)
		name = mr_command_name(record->command.number);
	if (record->kind == MR_RETURN_MESSAGE)
		name = mr_return_name(record->message.type);
	return name;
}

static void explain_record_json(const struct mr_explainer *explainer, const char *channel,
				const struct mr_record *record, const uint8_t *wire)
{
	const struct mr_printer printer = {.out = explainer->out, .json = true, .device = explainer->device};
	struct field_writer writer = {explainer, record, wire, true};
	FILE *out = explainer->out;

	fprintf(out, "{\"record\":\"%s\"", mr_kind_name(record->kind));
	put_member(out, "channel", channel);
	fprintf(out, ",\"offset\":%" PRIu64 ",\"length\":%" PRIu64 ",\"depth\":%" PRIu32, record->offset,
		record->length, record->depth);
	put_meaning_json(out, mr_record_meaning(record));
	fputs(",\"fields\":[", out);
	mr_visit_fields(record, put_field_json, &writer);
	putc(']', out);
	if (explainer->device)
		mr_print_device_json(&printer, record);
	fputs("}\n", out);
}

void mr_explain_record(const struct mr_explainer *explainer, const char *channel, const struct mr_record *record,
		       const uint8_t *wire)
{
	const struct mr_printer printer = {.out = explainer->out, .device = explainer->device};
	struct field_writer writer = {explainer, record, wire, true};
	const char *name = record_name(record);
	FILE *out = explainer->out;

	if (explainer->json) {
		explain_record_json(explainer, channel, record, wire);
		return;
	}
	fprintf(out, "%s%s %08" PRIx64 " +%" PRIu64 " %s", explainer->indent, channel, record->offset, record->length,
		mr_kind_name(record->kind));
	if (name)
		fprintf(out, " %s", name);
	fprintf(out, "%s\n%s", record->depth ? ", in the package" : "", explainer->indent);
	put_meaning(out, mr_record_meaning(record));
	mr_visit_fields(record, put_field_text, &writer);
	if (explainer->device)
		mr_print_device_text(&printer, record);
}

/* ---- Steps ---- */

void mr_explain_action(const struct mr_explainer *explainer, const struct mr_incoming *incoming,
		       const struct mr_action *action)
{
	const struct mr_meaning meaning = mr_action_meaning(action);
	struct mr_action placeless = *action;
	FILE *out = explainer->out;
	char text[ACTION_TEXT_MAX], actor[MR_ACTOR_TEXT_MAX];

	/* The record that it comes from stands above it. */
	placeless.channel = MR_INCOMING_CHANNELS_MAX;
	mr_action_format(incoming, &placeless, text, sizeof(text));
	if (explainer->json) {
		mr_actor_format(action->actor, actor);
		fprintf(out, "{\"action\":\"%s\"", mr_action_name(action->kind));
		put_member(out, "actor", actor);
		put_member(out, "text", text);
		if (action->channel < MR_INCOMING_CHANNELS_MAX)
			fprintf(out, ",\"connection\":%" PRIu32 ",\"offset\":%" PRIu64, action->channel,
				action->offset);
		put_meaning_json(out, meaning);
		fputs("}\n", out);
		return;
	}
	fprintf(out, "%s  > %s\n%s      ", explainer->indent, text, explainer->indent);
	put_meaning(out, meaning);
}

/* What a record of the log says, as members of an object. */
static void put_input_json(FILE *out, const struct mr_incoming *incoming, const struct mr_log_record *record)
{
	char actor[MR_ACTOR_TEXT_MAX];

	switch (record->kind) {
	case MR_LOG_OPEN:
		fprintf(out, "{\"input\":\"open\",\"connection\":%" PRIu32 ",\"role\":\"%s\"", record->channel,
			mr_role_name(record->role));
		break;
	case MR_LOG_FAULT:
		fputs("{\"input\":\"fault\"", out);
		put_member(out, "block", block_name(incoming, record->block));
		fprintf(out, ",\"offset\":%" PRIu64 ",\"thread\":%" PRIu64, record->offset, record->thread);
		break;
	case MR_LOG_CLIENT:
		fprintf(out, "{\"input\":\"client\",\"client\":%" PRIu64, record->count);
		break;
	case MR_LOG_CLIENT_FAULT:
		fputs("{\"input\":\"client-fault\"", out);
		put_member(out, "block", block_name(incoming, record->block));
		fprintf(out, ",\"offset\":%" PRIu64 ",\"client\":%" PRIu64, record->offset, record->count);
		break;
	case MR_LOG_ERROR:
		mr_actor_format(record->actor, actor);
		fprintf(out, "{\"input\":\"error\",\"actor\":\"%s\",\"errno\":%d", actor, record->error);
		break;
	default:
		fprintf(out, "{\"input\":\"%s\",\"connection\":%" PRIu32 ",\"bytes\":%" PRIu64 ",\"errno\":%d",
			record->kind == MR_LOG_END ? "end" : "return-end", record->channel, record->bytes,
			record->error);
		break;
	}
}

static void put_input_text(FILE *out, const struct mr_incoming *incoming, const struct mr_log_record *record)
{
	char actor[MR_ACTOR_TEXT_MAX];

	switch (record->kind) {
	case MR_LOG_OPEN:
		fprintf(out, "connection ch%" PRIu32 " is accepted: %s", record->channel, mr_role_name(record->role));
		break;
	case MR_LOG_FAULT:
		fprintf(out, "thread %" PRIu64 " touches ", record->thread);
		put_name(out, block_name(incoming, record->block));
		fprintf(out, " 0x%" PRIx64, record->offset);
		break;
	case MR_LOG_CLIENT:
		fprintf(out, "client %" PRIu64 " begins to catch faults", record->count);
		break;
	case MR_LOG_CLIENT_FAULT:
		fprintf(out, "a thread of client %" PRIu64 " touches ", record->count);
		put_name(out, block_name(incoming, record->block));
		fprintf(out, " 0x%" PRIx64, record->offset);
		break;
	case MR_LOG_ERROR:
		mr_actor_format(record->actor, actor);
		fprintf(out, "error %d for %s", record->error, actor);
		break;
	default:
		fprintf(out, "connection ch%" PRIu32 " ends %s after 0x%" PRIx64 " bytes, error %d", record->channel,
			record->kind == MR_LOG_END ? "forward" : "backward", record->bytes, record->error);
		break;
	}
}

void mr_explain_input(const struct mr_explainer *explainer, const struct mr_incoming *incoming,
		      const struct mr_log_record *record)
{
	const struct mr_meaning meaning = mr_input_meaning(record->kind);
	FILE *out = explainer->out;

	if (!meaning.text)
		return;
	if (explainer->json) {
		put_input_json(out, incoming, record);
		put_meaning_json(out, meaning);
		fputs("}\n", out);
		return;
	}
	fputs(explainer->indent, out);
	put_input_text(out, incoming, record);
	fprintf(out, "\n%s", explainer->indent);
	put_meaning(out, meaning);
}

/* ---- State ---- */

static void put_wait_text(FILE *out, unsigned actor, struct mr_wants wants)
{
	const char *text = mr_wait_meaning(wants.wait);
	char name[MR_ACTOR_TEXT_MAX];

	mr_actor_format(actor, name);
	fprintf(out, "%s waits for ", name);
	if (wants.wait == MR_WAIT_ACTOR)
		mr_actor_format(wants.actor, name);
	fputs(wants.wait == MR_WAIT_ACTOR ? name : text, out);
}

static void put_wait_json(FILE *out, unsigned actor, struct mr_wants wants)
{
	char name[MR_ACTOR_TEXT_MAX];

	mr_actor_format(actor, name);
	fprintf(out, "{\"actor\":\"%s\"", name);
	put_member(out, "for", mr_wait_meaning(wants.wait));
	if (wants.wait == MR_WAIT_ACTOR) {
		mr_actor_format(wants.actor, name);
		put_member(out, "other", name);
	}
	putc('}', out);
}

static void explain_state_json(FILE *out, const struct mr_explained_state *state)
{
	fprintf(out, "{\"state\":\"%s\",\"status\":\"%s\",\"outstanding\":%" PRIu32 ",\"pages\":[",
		mr_postcopy_state_name(state->state), mr_status_name(state->status), state->outstanding);
	for (size_t i = 0; i < state->page_count; i++) {
		fprintf(out, "%s{\"block\":", i ? "," : "");
		mr_print_json_string(out, string_bytes(state->pages[i].name));
		fprintf(out, ",\"offset\":%" PRIu64 ",\"thread\":%" PRIu64 "}", state->pages[i].offset,
			state->pages[i].thread);
	}
	fputs("],\"waits\":[", out);
	for (size_t i = 0; i < state->wait_count; i++) {
		fputs(i ? "," : "", out);
		put_wait_json(out, state->waits[i].actor, state->waits[i].wants);
	}
	fputs("]}\n", out);
}

void mr_explain_state(const struct mr_explainer *explainer, const struct mr_explained_state *state)
{
	FILE *out = explainer->out;

	if (explainer->json) {
		explain_state_json(out, state);
		return;
	}
	fprintf(out, "%s  = %s, %s; %" PRIu32 " page%s waited for", explainer->indent,
		mr_postcopy_state_name(state->state), mr_status_name(state->status), state->outstanding,
		state->outstanding == 1 ? "" : "s");
	for (size_t i = 0; i < state->page_count; i++) {
		fputs(i ? ", " : ": ", out);
		put_name(out, state->pages[i].name);
		fprintf(out, " 0x%" PRIx64 " by thread %" PRIu64, state->pages[i].offset, state->pages[i].thread);
	}
	putc('\n', out);
	for (size_t i = 0; i < state->wait_count; i++) {
		if (i == 0)
			fprintf(out, "%s    ", explainer->indent);
		put_wait_text(out, state->waits[i].actor, state->waits[i].wants);
		fputs(i + 1 < state->wait_count ? "; " : "\n", out);
	}
}
