/* options.c: how the sanitizers run in a fuzz target: each execution allocates little, so little has to be kept. */
#include "common.h"

const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "quarantine_size_mb=4:malloc_context_size=8";
}
