/* settings.h: the parameters of the bootable test guest, each by name and as text, as users and presets give them. */
#ifndef MR_GUEST_SETTINGS_H
#define MR_GUEST_SETTINGS_H

#include "sim/guest/predict.h"

/*
 * Sets one: "seed", "vcpus", "base", "pages", "block" and "filled" are numbers; "shares" is four of them, for a
 * thousand pages, separated by commas; "vcpu" is WHICH:PATTERN,KEY=NUMBER..., with WHICH a number or "all", and a
 * pattern and keys of migref-scenario(5). False with one line if the text is none for it; together they may still make
 * no sense.
 */
bool mr_guest_set(struct mr_guest_parameters *parameters, const char *name, const char *text,
		  char error[MR_GUEST_LINE]);

#endif
