/*
 * method.h: what the multifd methods share among themselves: their table entries, limits and the order of filling
 * pages.
 */
#ifndef MR_WIRE_METHOD_H
#define MR_WIRE_METHOD_H

#include "migref.h"

extern const struct mr_multifd_method mr_method_none;
extern const struct mr_multifd_method mr_method_zlib;
extern const struct mr_multifd_method mr_method_zstd;
extern const struct mr_multifd_method mr_method_qpl;
extern const struct mr_multifd_method mr_method_uadk;
extern const struct mr_multifd_method mr_method_qatzip;

/* Bytes of a method's `found` text. */
enum { MR_METHOD_FOUND = 96 };

/* Target pages are powers of two from MR_PAGE_SIZE_MIN to MR_PAGE_SIZE_MAX. */
bool mr_method_page_size_ok(size_t page_size);
/* True if `count` pages are at most a packet's. */
bool mr_method_count_ok(size_t page_size, uint32_t count);
/*
 * Checks what any compressed payload must keep before its bytes are looked at: MFD-012 and MFD-016. MR_NO_RULE, or the
 * rule broken, with a few words in `found`. An empty payload is right only for no pages.
 */
enum mr_rule mr_method_check(size_t page_size, struct mr_bytes payload, uint32_t count, char found[MR_METHOD_FOUND]);
/*
 * Checks the lengths with which a qpl or uadk payload of `count` pages begins (MFD-028). False with a few words in
 * `found` if one is longer than a page or they do not fill the payload.
 */
bool mr_method_lengths_ok(size_t page_size, struct mr_bytes payload, uint32_t count, char found[MR_METHOD_FOUND]);
/*
 * How many pages from `pages[0]` on, at most `count` and at least 1, follow each other in memory. Filling such a run by
 * one call spares the decompressors a copy of their history for each page.
 */
uint32_t mr_method_run(uint8_t *const *pages, uint32_t count, size_t page_size);

#endif
