/*
 * live_options.h: what the commands that stand on sockets read alike: addresses, releases, seconds, cuts. Each ends the
 * program, with the usage's status unless told otherwise, where the text is none.
 */
#ifndef MR_CLI_LIVE_OPTIONS_H
#define MR_CLI_LIVE_OPTIONS_H

#include <argp.h>
#include <stdint.h>

#include "sim/host/address.h"

/* Seconds, more than 0 and at most `most`. `name` is that of the option, here and below. */
double live_seconds(const char *name, const char *text, int most, const struct argp_state *state);
/* CHANNEL:DIRECTION:BYTE of --cut. */
void live_cut(const char *text, uint32_t *channel, bool *backward, uint64_t *byte, const struct argp_state *state);
/* A release from 2.5 to 11.1; the text itself. */
const char *live_release(const char *name, const char *text, const struct argp_state *state);
/* Names of --capabilities, separated by commas, each of which QEMU has: those of enum mr_capability. */
uint32_t live_capabilities(const char *list, const struct argp_state *state);
/* An address, to listen at or to connect to; NULL is an error, too. STATUS_FAILED if its host is not found. */
void live_address(struct mr_address *address, const char *name, const char *text, bool listens,
		  const struct argp_state *state);

#endif
