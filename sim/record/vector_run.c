/* vector_run.c: the reference reads a test vector, and its reading is compared with the expected one. */
#include "sim/record/vector.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One reading of a vector. */
struct reading {
	const struct mr_vector *vector;
	const struct mr_vector_channel *channel; /* that is being read */
	struct mr_session *session;
	struct mr_checker *checker;
	struct mr_decoder *decoders[MR_VECTOR_CHANNELS_MAX];
	bool cut[MR_VECTOR_CHANNELS_MAX];
	struct mr_channel_census census;
	struct mr_record last; /* an opaque record that the next one may go on with */
	bool has_last;
	json_t *records, *findings;
	enum mr_verdict verdict;
	char *error; /* MR_VECTOR_MESSAGE_MAX bytes */
	bool failed;
};

static void complain(struct reading *reading, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The first complaint is the one that counts. */
static void complain(struct reading *reading, const char *format, ...)
{
	va_list arguments;

	if (reading->failed)
		return;
	reading->failed = true;
	va_start(arguments, format);
	vsnprintf(reading->error, MR_VECTOR_MESSAGE_MAX, format, arguments);
	va_end(arguments);
}

static void append(struct reading *reading, json_t *array, size_t limit, json_t *value)
{
	if (json_array_size(array) >= limit) {
		json_decref(value);
		complain(reading, "more than %zu records or findings", limit);
	} else if (json_array_append_new(array, value)) {
		complain(reading, "out of memory");
	}
}

/* ---- Records ---- */

static json_t *record_object(const struct reading *reading, const struct mr_record *record)
{
	json_t *object = json_pack("{s:I, s:s, s:I, s:I, s:o}", "channel", (json_int_t)reading->channel->channel,
				   "kind", mr_kind_name(record->kind), "offset", (json_int_t)record->offset, "length",
				   (json_int_t)record->length, "fields", mr_vector_fields(record));

	if (object && reading->channel->role == MR_ROLE_RETURN)
		json_object_set_new(object, "backward", json_true());
	if (object && record->depth)
		json_object_set_new(object, "depth", json_integer((json_int_t)record->depth));
	return object;
}

/* The twin of decoding: the same bytes come out again. */
static void check_encoding(struct reading *reading, const struct mr_record *record)
{
	const uint8_t *wire = reading->channel->bytes + record->offset;
	const size_t length = (size_t)record->length;
	uint8_t *out = malloc(length + 1);

	if (!out)
		complain(reading, "out of memory");
	else if (mr_encoded_length(record) != record->length || mr_encode(record, out, length) != length ||
		 memcmp(out, wire, length) != 0)
		complain(reading, "channel %" PRIu32 " offset %" PRIu64 ": %s is not written back as it was read",
			 reading->channel->channel, record->offset, mr_kind_name(record->kind));
	free(out);
}

/* What cannot be read comes in pieces that depend on the window, so pieces that touch are one record. */
static bool continues(const struct reading *reading, const struct mr_record *record)
{
	const struct mr_record *last = &reading->last;

	return reading->has_last && record->kind == MR_OPAQUE && record->opaque.rule == last->opaque.rule &&
	       record->depth == last->depth && record->offset == last->offset + last->length;
}

static void take_record(struct reading *reading, const struct mr_decoder *decoder, struct mr_record *record)
{
	if (record->kind == MR_OPAQUE && record->length == 0)
		complain(reading, "channel %" PRIu32 " offset %" PRIu64 ": an opaque record without bytes",
			 reading->channel->channel, record->offset);
	mr_checker_record(reading->checker, decoder, record);
	check_encoding(reading, record);
	if (continues(reading, record)) {
		record->offset = reading->last.offset;
		record->length += reading->last.length;
		record->opaque.bytes =
			(struct mr_bytes){reading->channel->bytes + record->offset, (size_t)record->length};
		json_array_remove(reading->records, json_array_size(reading->records) - 1);
	}
	reading->has_last = record->kind == MR_OPAQUE;
	reading->last = *record;
	append(reading, reading->records, MR_VECTOR_RECORDS_MAX, record_object(reading, record));
}

static void take_finding(void *argument, const struct mr_finding *finding)
{
	struct reading *reading = argument;
	json_t *object =
		json_pack("{s:s, s:I, s:I, s:s, s:s, s:s}", "rule", mr_rule_id(finding->rule), "channel",
			  (json_int_t)finding->channel, "offset", (json_int_t)finding->offset, "verdict",
			  mr_verdict_name(finding->verdict), "expected", finding->expected, "found", finding->found);

	if (object && finding->backward)
		json_object_set_new(object, "backward", json_true());
	if (finding->verdict > reading->verdict)
		reading->verdict = finding->verdict;
	append(reading, reading->findings, MR_VECTOR_FINDINGS_MAX, object);
}

/*
 * Whether the connection may be what its bytes and its place in the order say (CHN-001): asked where the vector has the
 * main channel first, hence all connections.
 */
static void identify(struct reading *reading)
{
	const struct mr_vector_channel *channel = reading->channel;
	const struct mr_bytes first = {channel->bytes, channel->length < 4 ? channel->length : 4};
	struct mr_finding finding = {.rule = MR_CHN_001, .channel = channel->channel};
	enum mr_role role;

	if (channel->role == MR_ROLE_RETURN || reading->vector->channels[0].role != MR_ROLE_MAIN)
		return;
	if (!mr_channel_identify(&reading->census, first, &role)) {
		finding.verdict = mr_rule_verdict(finding.rule);
		snprintf(finding.expected, sizeof(finding.expected), "no such connection here");
		snprintf(finding.found, sizeof(finding.found), "first bytes of role %s", mr_role_name(role));
		take_finding(reading, &finding);
	}
	if (channel->role == MR_ROLE_MAIN || channel->role == MR_ROLE_RECOVERY)
		reading->census.cut = channel->cut;
}

/* ---- Reading ---- */

/* Reads one record at `at`. With a step the window begins with so many bytes and grows by so many. */
static enum mr_result read_record(const struct mr_vector_channel *channel, struct mr_decoder *decoder, size_t at,
				  unsigned step, struct mr_record *record)
{
	const size_t left = channel->length - at;
	size_t window = step && step < left ? step : left;

	for (;;) {
		const enum mr_result result =
			mr_decode(decoder, channel->bytes + at, window, window == left && !channel->cut, record);

		if (result != MR_MORE || window == left)
			return result;
		window += step < left - window ? step : left - window;
	}
}

static void read_channel(struct reading *reading, unsigned index, unsigned step)
{
	const struct mr_vector_channel *channel = &reading->vector->channels[index];
	struct mr_decoder *decoder = reading->decoders[index];
	enum mr_result result;
	struct mr_record record;
	size_t at = 0;

	reading->channel = channel;
	reading->has_last = false;
	identify(reading);
	mr_decoder_init(decoder, reading->session, channel->role, channel->channel);
	while ((result = read_record(channel, decoder, at, step, &record)) == MR_RECORD && !reading->failed) {
		at += (size_t)record.length;
		take_record(reading, decoder, &record);
	}
	reading->cut[index] = result != MR_DONE;
	mr_checker_channel_end(reading->checker, decoder, reading->cut[index]);
}

static bool set_up(struct reading *reading)
{
	bool complete = true;

	reading->session = malloc(sizeof(*reading->session));
	reading->records = json_array();
	reading->findings = json_array();
	for (unsigned i = 0; i < reading->vector->channel_count; i++) {
		reading->decoders[i] = malloc(sizeof(*reading->decoders[i]));
		complete = complete && reading->decoders[i];
	}
	if (!complete || !reading->session || !reading->records || !reading->findings) {
		complain(reading, "out of memory");
		return false;
	}
	if (mr_vector_session(reading->vector, reading->session, take_finding, reading)) {
		complain(reading, "\"blocks\": expected objects with name, used_length and page_size, %d at most",
			 MR_BLOCKS_MAX);
		return false;
	}
	reading->checker = mr_checker_new(reading->session);
	if (!reading->checker)
		complain(reading, "out of memory");
	return reading->checker != NULL;
}

static void clear(struct reading *reading)
{
	mr_checker_free(reading->checker);
	for (unsigned i = 0; i < reading->vector->channel_count; i++)
		free(reading->decoders[i]);
	free(reading->session);
}

static int finding_order(const void *a, const void *b)
{
	json_t *one = *(json_t *const *)a, *other = *(json_t *const *)b;
	static const char *const keys[] = {"channel", "backward", "offset"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		json_t *x = json_object_get(one, keys[i]), *y = json_object_get(other, keys[i]);
		const json_int_t left = json_is_true(x) + json_integer_value(x);
		const json_int_t right = json_is_true(y) + json_integer_value(y);

		if (left != right)
			return left < right ? -1 : 1;
	}
	return strcmp(json_string_value(json_object_get(one, "rule")),
		      json_string_value(json_object_get(other, "rule")));
}

/* Findings come when a rule can be judged; for comparing they stand in the order of their places. */
static json_t *sorted(json_t *findings)
{
	const size_t count = json_array_size(findings);
	json_t *array = json_array();
	json_t *entries[MR_VECTOR_FINDINGS_MAX];

	for (size_t i = 0; i < count; i++)
		entries[i] = json_array_get(findings, i);
	if (count)
		qsort(entries, count, sizeof(json_t *), finding_order);
	for (size_t i = 0; i < count; i++)
		json_array_append(array, entries[i]);
	return array;
}

json_t *mr_vector_read(const struct mr_vector *vector, unsigned step, json_t **findings, enum mr_verdict *verdict,
		       char error[MR_VECTOR_MESSAGE_MAX])
{
	struct reading reading = {
		.vector = vector,
		.error = error,
		.census = {.capabilities = vector->context.capabilities,
			   .capabilities_known = vector->context.capabilities_known},
	};

	if (set_up(&reading)) {
		for (unsigned i = 0; i < vector->channel_count; i++)
			read_channel(&reading, i, step);
		mr_checker_finish(reading.checker);
	}
	clear(&reading);
	*findings = reading.failed ? NULL : sorted(reading.findings);
	*verdict = reading.verdict;
	json_decref(reading.findings);
	if (!reading.failed)
		return reading.records;
	json_decref(reading.records);
	return NULL;
}

/* ---- Comparing ---- */

static int differ(char difference[MR_VECTOR_MESSAGE_MAX], const char *what, size_t index, json_t *expected,
		  json_t *found)
{
	char *left = expected ? json_dumps(expected, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY) : NULL;
	char *right = found ? json_dumps(found, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY) : NULL;

	snprintf(difference, MR_VECTOR_MESSAGE_MAX, "%s %zu: expected %.440s, found %.440s", what, index,
		 left ? left : "none", right ? right : "none");
	free(left);
	free(right);
	return -1;
}

/* True if each member of `expected` stands in `found` with an equal value. */
static bool agrees(json_t *expected, json_t *found)
{
	const char *key;
	json_t *value;

	json_object_foreach(expected, key, value)
	{
		if (!json_equal(value, json_object_get(found, key)))
			return false;
	}
	return true;
}

/* What is not said of the direction means forward. */
static bool direction_agrees(json_t *expected, json_t *found)
{
	return json_is_true(json_object_get(expected, "backward")) == json_is_true(json_object_get(found, "backward"));
}

static bool record_agrees(json_t *expected, json_t *found)
{
	json_t *frame = json_copy(expected);
	bool equal;

	json_object_del(frame, "fields");
	equal = agrees(frame, found) && direction_agrees(expected, found) &&
		agrees(json_object_get(expected, "fields"), json_object_get(found, "fields"));
	json_decref(frame);
	return equal;
}

static bool finding_agrees(json_t *expected, json_t *found)
{
	return agrees(expected, found) && direction_agrees(expected, found);
}

static int compare(const char *what, json_t *expected, json_t *found, bool (*equal)(json_t *, json_t *),
		   char difference[MR_VECTOR_MESSAGE_MAX])
{
	const size_t count =
		json_array_size(expected) > json_array_size(found) ? json_array_size(expected) : json_array_size(found);

	for (size_t i = 0; i < count; i++) {
		json_t *left = json_array_get(expected, i), *right = json_array_get(found, i);

		if (!left || !right || !json_is_object(left) || !equal(left, right))
			return differ(difference, what, i, left, right);
	}
	return 0;
}

static bool same(json_t *expected, json_t *found)
{
	return json_equal(expected, found);
}

static int compare_verdict(const struct mr_vector *vector, enum mr_verdict verdict,
			   char difference[MR_VECTOR_MESSAGE_MAX])
{
	if (vector->verdict == verdict)
		return 0;
	snprintf(difference, MR_VECTOR_MESSAGE_MAX, "expected a stream that is %s, found %s",
		 mr_verdict_name(vector->verdict), mr_verdict_name(verdict));
	return -1;
}

int mr_vector_run(const struct mr_vector *vector, char difference[MR_VECTOR_MESSAGE_MAX])
{
	json_t *whole_findings = NULL, *split_findings = NULL;
	json_t *whole, *split = NULL;
	enum mr_verdict verdict, unused;
	int result = -1;

	whole = mr_vector_read(vector, 0, &whole_findings, &verdict, difference);
	if (whole)
		split = mr_vector_read(vector, 1, &split_findings, &unused, difference);
	if (split && !compare("finding", vector->findings, whole_findings, finding_agrees, difference) &&
	    !compare_verdict(vector, verdict, difference) &&
	    (!vector->records || !compare("record", vector->records, whole, record_agrees, difference)) &&
	    !compare("record by growing windows", whole, split, same, difference) &&
	    !compare("finding by growing windows", whole_findings, split_findings, same, difference))
		result = 0;
	json_decref(whole);
	json_decref(split);
	json_decref(whole_findings);
	json_decref(split_findings);
	return result;
}
