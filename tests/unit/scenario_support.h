/* scenario_support.h: scenarios out of text, and whether two are the same. */
#ifndef TEST_SCENARIO_SUPPORT_H
#define TEST_SCENARIO_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/world/scenario_keys.h"

/* A folder for the files of a test, and a file in it that holds the text. The result stays until the next call. */
int scenario_make_folder(void **state);
int scenario_remove_folder(void **state);
const char *scenario_file(const char *name, const char *text, size_t length);
/* Reads a scenario that consists of this text; in `error` the file's name stands as FILE. */
int scenario_read_text(struct mr_scenario *scenario, const char *text, char error[512]);
/* All keys of all sections agree, and so do traces. */
void expect_same_scenario(const struct mr_scenario *a, const struct mr_scenario *b);
/* The scenario is written and read again into `again`, which is the caller's to clear. */
void scenario_round_trip(const struct mr_scenario *scenario, struct mr_scenario *again);

#endif
