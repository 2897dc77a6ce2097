/* observe.c: see observe.h. */
#include "observe.h"

#include <stdlib.h>
#include <string.h>

#include "guard.h"

/* ---- Digests ---- */

static uint64_t digest_bytes(uint64_t digest, const void *bytes, size_t length)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < length; i++)
		digest = (digest ^ at[i]) * UINT64_C(1099511628211);
	return digest;
}

static void digest_field(void *argument, const struct mr_field *field)
{
	uint64_t *digest = argument;
	const uint64_t numbers[] = {field->type,   field->derived, field->note,  field->index,
				    field->offset, field->length,  field->number};

	*digest = digest_bytes(*digest, field->name, strlen(field->name));
	*digest = digest_bytes(*digest, numbers, sizeof(numbers));
	*digest = digest_bytes(*digest, field->bytes.data, field->bytes.length);
}

/* Opaque bytes come in pieces of any size, hence they alone count. */
static uint64_t digest_record(const struct mr_record *record, uint64_t digest)
{
	if (record->kind == MR_OPAQUE)
		return digest_bytes(digest, record->opaque.bytes.data, record->opaque.bytes.length);
	mr_visit_fields(record, digest_field, &digest);
	return digest;
}

/* ---- Running ---- */

static void keep_finding(void *argument, const struct mr_finding *finding)
{
	struct observation *seen = argument;

	assert_true(finding->rule > MR_NO_RULE && finding->rule < MR_RULE_COUNT);
	assert_true(finding->verdict > MR_VALID);
	if (!finding->expected[0] || !finding->found[0])
		fail_msg("%s says nothing: expected '%s', found '%s'", mr_rule_id(finding->rule), finding->expected,
			 finding->found);
	assert_true(seen->finding_count < OBSERVED_MAX);
	seen->findings[seen->finding_count++] = *finding;
}

static void check_encoding(const struct mr_record *record, const uint8_t *window)
{
	const size_t length = (size_t)record->length;
	uint8_t *out = malloc(length + 1);

	assert_non_null(out);
	assert_int_equal(mr_encoded_length(record), length);
	assert_int_equal(mr_encode(record, out, length), length);
	assert_memory_equal(out, window, length);
	if (length)
		assert_int_equal(mr_encode(record, out, length - 1), 0);
	free(out);
}

static void keep_record(struct observation *seen, const struct mr_record *record)
{
	struct observed_record *last = seen->record_count ? &seen->records[seen->record_count - 1] : NULL;

	if (record->kind == MR_OPAQUE && last && last->record.kind == MR_OPAQUE &&
	    last->record.depth == record->depth && last->record.opaque.rule == record->opaque.rule) {
		last->digest = digest_record(record, last->digest);
		last->record.length += record->length;
		return;
	}
	assert_true(seen->record_count < OBSERVED_MAX);
	last = &seen->records[seen->record_count++];
	last->record = *record;
	last->digest = digest_record(record, UINT64_C(14695981039346656037));
}

/* The window for a call: in place if it is all that is left, else a copy before a guard page of its own. */
static const uint8_t *window_at(const uint8_t *place, size_t length, bool whole)
{
	static struct guard guard;

	if (whole)
		return place;
	if (!guard.base)
		guard = guard_new(OBSERVED_STREAM_MAX);
	return guard_copy(&guard, place, length);
}

static size_t next_length(const struct observation *seen, size_t length, size_t left, enum feeding feeding)
{
	const size_t wanted = feeding == FEED_WANTED ? seen->decoder.wanted : length + 1;

	assert_true(seen->decoder.wanted > length);
	return wanted < left ? wanted : left;
}

static void check_failure(struct observation *seen, const uint8_t *window, size_t length)
{
	const size_t findings = seen->finding_count;
	const struct mr_finding error = seen->decoder.error;
	const uint64_t offset = seen->decoder.offset;
	struct mr_record record;

	assert_true(findings > 0 && seen->findings[findings - 1].rule == error.rule);
	assert_int_equal(mr_decode(&seen->decoder, window, length, true, &record), MR_FAILED);
	assert_int_equal(mr_decode(&seen->decoder, window, 0, false, &record), MR_FAILED);
	assert_int_equal(seen->finding_count, findings);
	assert_int_equal(seen->decoder.offset, offset);
	assert_int_equal(seen->decoder.error.rule, error.rule);
}

static void run(struct observation *seen, const uint8_t *place, size_t total, enum feeding feeding)
{
	size_t at = 0, idle = 0;
	size_t length = feeding == FEED_WHOLE ? total : 0;
	struct mr_record record;

	for (;;) {
		const uint8_t *window = window_at(place + at, length, at + length == total);
		const bool at_end = at + length == total;

		memset(&record, 0xa5, sizeof(record));
		seen->result = mr_decode(&seen->decoder, window, length, at_end, &record);
		if (seen->result == MR_MORE) {
			assert_false(at_end);
			length = next_length(seen, length, total - at, feeding);
			continue;
		}
		if (seen->result == MR_FAILED)
			check_failure(seen, window, length);
		if (seen->result != MR_RECORD)
			break;
		assert_true(record.kind < MR_KIND_COUNT && record.depth <= 1);
		assert_int_equal(record.offset, at);
		assert_true(record.length <= length);
		idle = record.length ? 0 : idle + 1;
		assert_true(idle < 2);
		check_encoding(&record, window);
		keep_record(seen, &record);
		at += (size_t)record.length;
		assert_int_equal(seen->decoder.offset, at);
		length = feeding == FEED_WHOLE ? total - at : 0;
	}
	if (seen->result == MR_DONE)
		assert_int_equal(at, total);
	for (size_t i = 0; i < seen->finding_count; i++)
		assert_true(seen->findings[i].offset <= total);
}

void observe_more(struct observation *seen, enum mr_role role, struct mr_bytes stream, enum feeding feeding)
{
	static struct guard guard;
	static const uint8_t nothing;

	if (!guard.base)
		guard = guard_new(OBSERVED_STREAM_MAX);
	assert_true(stream.length <= OBSERVED_STREAM_MAX);
	seen->record_count = 0;
	seen->finding_count = 0;
	mr_decoder_init(&seen->decoder, &seen->session, role, 7);
	run(seen, guard_copy(&guard, stream.length ? stream.data : &nothing, stream.length), stream.length, feeding);
}

void observe(struct observation *seen, const struct mr_context *context, enum mr_role role, struct mr_bytes stream,
	     enum feeding feeding)
{
	mr_session_init(&seen->session, context, keep_finding, seen);
	observe_more(seen, role, stream, feeding);
}

/* ---- Demands ---- */

static void print_findings(const struct observation *seen)
{
	for (size_t i = 0; i < seen->finding_count; i++)
		print_message("finding %zu of %zu: %s at 0x%llx: expected %s, found %s\n", i, seen->finding_count,
			      mr_rule_id(seen->findings[i].rule), (unsigned long long)seen->findings[i].offset,
			      seen->findings[i].expected, seen->findings[i].found);
}

void observe_equal(const struct observation *a, const struct observation *b)
{
	if (a->result != b->result || a->record_count != b->record_count)
		fail_msg("results %d and %d after %zu and %zu records; errors: %s: expected %s, found %s; %s: expected "
			 "%s, found %s",
			 a->result, b->result, a->record_count, b->record_count, mr_rule_id(a->decoder.error.rule),
			 a->decoder.error.expected, a->decoder.error.found, mr_rule_id(b->decoder.error.rule),
			 b->decoder.error.expected, b->decoder.error.found);
	for (size_t i = 0; i < a->record_count; i++) {
		const struct mr_record *left = &a->records[i].record, *right = &b->records[i].record;

		assert_int_equal(left->kind, right->kind);
		assert_int_equal(left->depth, right->depth);
		assert_int_equal(left->offset, right->offset);
		assert_int_equal(left->length, right->length);
		assert_true(a->records[i].digest == b->records[i].digest);
	}
	if (a->finding_count != b->finding_count) {
		print_findings(a);
		print_findings(b);
	}
	assert_int_equal(a->finding_count, b->finding_count);
	for (size_t i = 0; i < a->finding_count; i++) {
		assert_int_equal(a->findings[i].rule, b->findings[i].rule);
		assert_int_equal(a->findings[i].verdict, b->findings[i].verdict);
		assert_int_equal(a->findings[i].offset, b->findings[i].offset);
		assert_string_equal(a->findings[i].expected, b->findings[i].expected);
		assert_string_equal(a->findings[i].found, b->findings[i].found);
	}
	assert_int_equal(a->session.block_count, b->session.block_count);
}

void observe_valid(const struct observation *seen)
{
	if (seen->finding_count)
		fail_msg("%s at 0x%llx: expected %s, found %s", mr_rule_id(seen->findings[0].rule),
			 (unsigned long long)seen->findings[0].offset, seen->findings[0].expected,
			 seen->findings[0].found);
	assert_int_equal(seen->result, MR_DONE);
}

void observe_one_finding(const struct observation *seen, enum mr_rule rule, enum mr_verdict verdict, uint64_t offset,
			 enum mr_result result)
{
	const struct mr_finding *finding = &seen->findings[0];

	if (seen->finding_count != 1 || finding->rule != rule || finding->verdict != verdict ||
	    finding->offset != offset)
		fail_msg("%zu findings; wanted %s %s at 0x%llx, the first is %s %s at 0x%llx: expected %s, found %s",
			 seen->finding_count, mr_rule_id(rule), mr_verdict_name(verdict), (unsigned long long)offset,
			 seen->finding_count ? mr_rule_id(finding->rule) : "none", mr_verdict_name(finding->verdict),
			 (unsigned long long)finding->offset, finding->expected, finding->found);
	assert_int_equal(finding->channel, 7);
	assert_int_equal(seen->result, result);
}

void observe_kinds(const struct observation *seen, const enum mr_kind *kinds, size_t count)
{
	for (size_t i = 0; i < seen->record_count && i < count; i++)
		assert_string_equal(mr_kind_name(seen->records[i].record.kind), mr_kind_name(kinds[i]));
	assert_int_equal(seen->record_count, count);
}

size_t observe_count(const struct observation *seen, enum mr_rule rule)
{
	size_t count = 0;

	for (size_t i = 0; i < seen->finding_count; i++)
		count += seen->findings[i].rule == rule;
	return count;
}
