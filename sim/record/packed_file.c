/* packed_file.c: a new file that is compressed by zstd while it is written, always to the same bytes. */
#include "sim/record/packed_file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

enum {
	LEVEL = 3,
	WINDOW_LOG = 18, /* what a recording with hundreds of channels can have of each */
	OUT_SIZE = 32 << 10,
	STREAM_SIZE = 16 << 10,
};

struct mr_packed_file {
	char *name;
	int descriptor;
	int error; /* errno of the first failure; 0: none */
	ZSTD_CCtx *packer;
	EVP_MD_CTX *digest;
	FILE *stream; /* NULL: nobody asked for one */
	uint64_t bytes;
	uint8_t out[OUT_SIZE];
};

/* ---- Opening ---- */

static bool start(struct mr_packed_file *file)
{
	file->packer = ZSTD_createCCtx();
	file->digest = EVP_MD_CTX_new();
	return file->packer && file->digest &&
	       !ZSTD_isError(ZSTD_CCtx_setParameter(file->packer, ZSTD_c_compressionLevel, LEVEL)) &&
	       !ZSTD_isError(ZSTD_CCtx_setParameter(file->packer, ZSTD_c_windowLog, WINDOW_LOG)) &&
	       !ZSTD_isError(ZSTD_CCtx_setParameter(file->packer, ZSTD_c_checksumFlag, 1)) &&
	       EVP_DigestInit_ex(file->digest, EVP_sha256(), NULL) == 1;
}

static void release(struct mr_packed_file *file)
{
	ZSTD_freeCCtx(file->packer);
	EVP_MD_CTX_free(file->digest);
	if (file->descriptor >= 0)
		close(file->descriptor);
	free(file->name);
	free(file);
}

int mr_packed_open(struct mr_packed_file **result, int folder, const char *shown, const char *name, char *error,
		   size_t error_size)
{
	struct mr_packed_file *file = calloc(1, sizeof(*file));

	*result = NULL;
	if (file)
		file->descriptor = -1;
	if (!file || asprintf(&file->name, "%s/%s.zst", shown, name) < 0 || !start(file)) {
		snprintf(error, error_size, "%s/%s.zst: no memory", shown, name);
		if (file)
			release(file);
		return -1;
	}
	file->descriptor =
		openat(folder, file->name + strlen(shown) + 1, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (file->descriptor < 0) {
		snprintf(error, error_size, "%s: %s", file->name, strerror(errno));
		release(file);
		return -1;
	}
	*result = file;
	return 0;
}

/* ---- Writing ---- */

static void put(struct mr_packed_file *file, size_t length)
{
	for (size_t done = 0; done < length && !file->error;) {
		const ssize_t written = write(file->descriptor, file->out + done, length - done);

		if (written >= 0)
			done += (size_t)written;
		else if (errno != EINTR)
			file->error = errno;
	}
}

static void pack(struct mr_packed_file *file, struct mr_bytes bytes, ZSTD_EndDirective how)
{
	ZSTD_inBuffer in = {bytes.data, bytes.length, 0};
	size_t left;

	do {
		ZSTD_outBuffer out = {file->out, OUT_SIZE, 0};

		left = ZSTD_compressStream2(file->packer, &out, &in, how);
		if (ZSTD_isError(left))
			file->error = ENOMEM;
		put(file, out.pos);
	} while (!file->error && (in.pos < in.size || (how == ZSTD_e_end && left)));
}

void mr_packed_write(struct mr_packed_file *file, struct mr_bytes bytes)
{
	if (file->error || bytes.length == 0)
		return;
	file->bytes += bytes.length;
	if (EVP_DigestUpdate(file->digest, bytes.data, bytes.length) != 1)
		file->error = ENOMEM;
	pack(file, bytes, ZSTD_e_continue);
}

static ssize_t write_stream(void *cookie, const char *bytes, size_t length)
{
	mr_packed_write(cookie, (struct mr_bytes){(const uint8_t *)bytes, length});
	return (ssize_t)length;
}

FILE *mr_packed_stream(struct mr_packed_file *file)
{
	if (file->stream)
		return file->stream;
	file->stream = fopencookie(file, "w", (cookie_io_functions_t){.write = write_stream});
	if (!file->stream)
		file->error = ENOMEM;
	else
		setvbuf(file->stream, NULL, _IOFBF, STREAM_SIZE);
	return file->stream;
}

bool mr_packed_failed(const struct mr_packed_file *file, char *error, size_t error_size)
{
	if (file->error)
		snprintf(error, error_size, "%s: %s", file->name, strerror(file->error));
	return file->error != 0;
}

/* ---- The end ---- */

int mr_packed_close(struct mr_packed_file *file, struct mr_packed_content *content, char *error, size_t error_size)
{
	int status = 0;

	if (file->stream)
		fclose(file->stream);
	if (!file->error)
		pack(file, (struct mr_bytes){NULL, 0}, ZSTD_e_end);
	content->bytes = file->bytes;
	if (!file->error && EVP_DigestFinal_ex(file->digest, content->sha256, NULL) != 1)
		file->error = ENOMEM;
	if (close(file->descriptor) < 0 && !file->error)
		file->error = errno;
	file->descriptor = -1;
	if (mr_packed_failed(file, error, error_size))
		status = -1;
	release(file);
	return status;
}
