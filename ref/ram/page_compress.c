/* page_compress.c: the compression of single pages by releases up to 9.0, each page a zlib stream of its own. */
#include "migref.h"

#include <limits.h>
#include <string.h>

#define ZLIB_CONST
#include <zlib.h>

size_t mr_page_compress_bound(size_t page_size)
{
	return compressBound((uLong)page_size);
}

enum mr_rule mr_page_inflate(struct mr_bytes data, uint8_t *page, size_t page_size, size_t *produced)
{
	z_stream stream;
	int status;

	*produced = 0;
	if (data.length > mr_page_compress_bound(page_size))
		return MR_RAM_015;
	memset(&stream, 0, sizeof(stream));
	if (inflateInit(&stream) != Z_OK)
		return MR_RAM_016;
	stream.next_in = data.data;
	stream.avail_in = (uInt)data.length;
	stream.next_out = page;
	stream.avail_out = (uInt)page_size;
	/* zlib stops when the page is full, so a stream that holds more ends without Z_STREAM_END. */
	status = inflate(&stream, Z_FINISH);
	*produced = page_size - stream.avail_out;
	inflateEnd(&stream);
	if (status != Z_STREAM_END || stream.avail_in != 0 || stream.avail_out != 0)
		return MR_RAM_016;
	return MR_NO_RULE;
}

size_t mr_page_deflate(const uint8_t *page, size_t page_size, int level, uint8_t *out, size_t capacity)
{
	z_stream stream;
	size_t length;
	int status;

	if (page_size > MR_PAGE_SIZE_MAX)
		return 0;
	memset(&stream, 0, sizeof(stream));
	if (deflateInit(&stream, level) != Z_OK)
		return 0;
	stream.next_in = page;
	stream.avail_in = (uInt)page_size;
	stream.next_out = out;
	stream.avail_out = capacity > UINT_MAX ? UINT_MAX : (uInt)capacity;
	status = deflate(&stream, Z_FINISH);
	length = (size_t)stream.total_out;
	deflateEnd(&stream);
	return status == Z_STREAM_END ? length : 0;
}
