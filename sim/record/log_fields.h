/* log_fields.h: what the logs of both ends have in common: how lines fail, and the members of their headers. */
#ifndef MR_RECORD_LOG_FIELDS_H
#define MR_RECORD_LOG_FIELDS_H

#include "ref/handlers.h"
#include "ref/migref.h"

#include <jansson.h>
#include <stdio.h>

enum { MR_LOG_UUID_SIZE = 16, MR_LOG_ERRNO_MAX = 4095 };

/* ---- Writing: each with a comma before it ---- */

void mr_log_write_string(FILE *out, const char *key, const char *text);
void mr_log_write_number(FILE *out, const char *key, uint64_t number);
void mr_log_write_flag(FILE *out, const char *key, bool flag);
void mr_log_write_capabilities(FILE *out, uint32_t capabilities);
void mr_log_write_uuid(FILE *out, bool known, const uint8_t uuid[MR_LOG_UUID_SIZE]);
void mr_log_write_handlers(FILE *out, const struct mr_handlers *handlers);
/* Whether release and machine are all there is to say of the profile. */
bool mr_log_profile_is_told(const struct mr_profile *profile, const char *machine);
/* Whether a log tells all of the list, which may be NULL: it is of this profile. */
bool mr_log_handlers_are_told(const struct mr_handlers *handlers, const struct mr_profile *profile);
/* Whether every capability in the set has a name. */
bool mr_log_capabilities_are_told(uint32_t capabilities);

/* ---- Reading ---- */

/* Where an error is to be reported, and to whom. */
struct mr_log_place {
	const char *file;
	uint64_t line;
	enum mr_rule rule; /* that the line breaks; MR_NO_RULE: none to be named */
	char *error;
	size_t error_size;
};

/* Writes the line "FILE: line N: RULE: ..." with nothing in it that is not printable. Always -1. */
__attribute__((format(printf, 2, 3))) int mr_log_fail(const struct mr_log_place *place, const char *format, ...);
/* "a number", "nothing" */
const char *mr_log_type_name(const json_t *value);
/* Keys that nobody asks for are errors: a misspelt one would be lost silently. */
int mr_log_check_keys(const struct mr_log_place *place, json_t *object, const char *const *keys, size_t count);
int mr_log_read_number(const struct mr_log_place *place, const json_t *object, const char *key, uint64_t minimum,
		       uint64_t maximum, uint64_t *number);
int mr_log_read_small(const struct mr_log_place *place, const json_t *object, const char *key, uint32_t maximum,
		      uint32_t *number);
int mr_log_read_errno(const struct mr_log_place *place, const json_t *object, const char *key, uint64_t minimum,
		      int *number);
int mr_log_read_flag(const struct mr_log_place *place, const json_t *object, const char *key, bool *flag);
/* A string as it was written: characters up to U+00FF stand for bytes. At most `size` - 1 bytes and a final NUL. */
int mr_log_read_string(const struct mr_log_place *place, const json_t *object, const char *key, char *out, size_t size);
/* A release; with the machine type it makes the profile. "" is an unknown release. */
int mr_log_read_profile(const struct mr_log_place *place, const json_t *object, const char *key, const char *machine,
			struct mr_profile *profile);
int mr_log_read_capabilities(const struct mr_log_place *place, const json_t *object, uint32_t *capabilities);
/* By name; NULL: not told. */
int mr_log_read_method(const struct mr_log_place *place, const json_t *object, const struct mr_multifd_method **method);
int mr_log_read_uuid(const struct mr_log_place *place, const json_t *object, bool *known,
		     uint8_t uuid[MR_LOG_UUID_SIZE]);
/* Registers them anew, by the profile. `*entries` is their memory, which the caller frees also when this fails. */
int mr_log_read_handlers(const struct mr_log_place *place, const json_t *object, const struct mr_profile *profile,
			 struct mr_handlers *handlers, struct mr_handler_entry **entries);

#endif
