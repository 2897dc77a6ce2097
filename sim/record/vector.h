/* vector.h: test vectors: streams with their expected reading, and how the reference's own reading compares. */
#ifndef MR_RECORD_VECTOR_H
#define MR_RECORD_VECTOR_H

#include "ref/migref.h"

#include <jansson.h>

enum {
	MR_VECTOR_FILE_MAX = 64 << 10, /* bytes of a vector's file */
	MR_VECTOR_INPUT_MAX = 4 << 20, /* bytes of all its channels, repetitions written out */
	MR_VECTOR_CHANNELS_MAX = 16,   /* directions of connections */
	MR_VECTOR_RECORDS_MAX = 4096,  /* records that a reading may have */
	MR_VECTOR_FINDINGS_MAX = 256,  /* findings that a reading may have */
	MR_VECTOR_MESSAGE_MAX = 1024,  /* bytes of a message, with its final NUL */
};

/* One direction of one connection. */
struct mr_vector_channel {
	enum mr_role role;
	uint32_t channel; /* number of the connection */
	bool cut;         /* the bytes are the beginning of a stream that went on */
	uint8_t *bytes;
	size_t length;
};

/* A vector as its file has it. The strings and JSON values belong to `root`. */
struct mr_vector {
	json_t *root;
	const char *id;
	const char *text;        /* one line: what the vector shows */
	enum mr_verdict verdict; /* of the whole migration */
	struct mr_context context;
	json_t *blocks;   /* array of declared blocks; NULL if there are none */
	json_t *findings; /* array */
	json_t *records;  /* array; NULL if the vector does not list them */
	struct mr_vector_channel channels[MR_VECTOR_CHANNELS_MAX];
	unsigned channel_count;
};

/*
 * Reads the vector in the file at `path`. Returns 0 and a vector that the caller frees, or -1 with one line in `error`:
 * the file, what was expected, what was found.
 */
int mr_vector_load(struct mr_vector *vector, const char *path, char error[MR_VECTOR_MESSAGE_MAX]);
void mr_vector_free(struct mr_vector *vector);

/*
 * Prepares a session as the vector's context wants it, its blocks declared as a block list would. Returns 0, or -1 if a
 * block does not fit into the session.
 */
int mr_vector_session(const struct mr_vector *vector, struct mr_session *session, mr_report_function *report,
		      void *report_argument);

/*
 * Reads the vector's channels, in their order, with the reference: `step` 0 offers each record the whole rest of its
 * channel, 1 a window that begins with one byte and grows by one byte. Returns an array of the records and, in
 * `*findings`, an array of the findings, in the forms that a vector has them in; the caller owns both. NULL, with one
 * line in `error`, if a record is not written back as it was read, if a limit is exceeded, or if memory is short.
 */
json_t *mr_vector_read(const struct mr_vector *vector, unsigned step, json_t **findings, enum mr_verdict *verdict,
		       char error[MR_VECTOR_MESSAGE_MAX]);

/*
 * Reads the vector both ways and compares with what it expects. Returns 0 if everything agrees, else -1 with the first
 * difference in `difference`, one line.
 */
int mr_vector_run(const struct mr_vector *vector, char difference[MR_VECTOR_MESSAGE_MAX]);

/*
 * The bytes that an array of input lines stands for; the caller frees them. Returns 0, or -1 with one line in `error`.
 */
int mr_vector_bytes(json_t *lines, uint8_t **bytes, size_t *length, char error[MR_VECTOR_MESSAGE_MAX]);
/* The JSON object in a vector's file; the caller owns it. NULL with one line in `error`. */
json_t *mr_vector_load_json(const char *path, char error[MR_VECTOR_MESSAGE_MAX]);

/* A record's fields as an object in the form that vectors have them in; the caller owns it. NULL if memory is short. */
json_t *mr_vector_fields(const struct mr_record *record);

#endif
