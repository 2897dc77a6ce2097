/* page_size.h: the target page size of a lone stream, where only the end of its file tells it. */
#ifndef MR_RECORD_PAGE_SIZE_H
#define MR_RECORD_PAGE_SIZE_H

#include "sim/record/input.h"

/* Larger compressed files are not read twice, in bytes as they are stored. */
enum { MR_PAGE_SIZE_LOOK_MAX = 64 << 20 };

/*
 * What the description at the end of the file behind `input` says, in bytes; 0 if it cannot be had. `path` is what was
 * opened. A mapped file is looked at where it lies, a compressed one is decompressed a second time; of a pipe nothing
 * is read ahead, so that what is understood depends on no timing.
 */
uint32_t mr_look_for_page_size(const struct mr_input *input, const char *path);

#endif
