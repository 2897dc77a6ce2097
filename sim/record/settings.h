/* settings.h: whether the releases of a recording take the capabilities and parameters that its manifest names. */
#ifndef MR_RECORD_SETTINGS_H
#define MR_RECORD_SETTINGS_H

#include "ref/migref.h"
#include "sim/record/recording.h"

/* Stands for the manifest where a finding has the number of a channel. */
#define MR_SETTINGS_CHANNEL UINT32_MAX

/*
 * Reports what the source, and what the destination, would have refused, each at most once (CAP-001 to CAP-007). A
 * release that the manifest does not name, or that is not known, refuses nothing.
 */
void mr_settings_check(const struct mr_recording *recording, mr_report_function *report, void *argument);

#endif
