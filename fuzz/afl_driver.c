/* afl_driver.c: runs a fuzz target under AFL++ in persistent mode, with the inputs in shared memory. */
#include "common.h"

#include <unistd.h>

enum { EXECUTIONS_PER_PROCESS = 100000 };

/* The declarations behind this name are AFL++'s, so they may warn. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
__AFL_FUZZ_INIT();

int main(void)
{
	const uint8_t *input;

	__AFL_INIT();
	input = __AFL_FUZZ_TESTCASE_BUF;
	while (__AFL_LOOP(EXECUTIONS_PER_PROCESS)) {
		const size_t length = (size_t)__AFL_FUZZ_TESTCASE_LEN;
		/* Of exactly this length, so that reading one byte too far is seen. */
		uint8_t *copy = malloc(length ? length : 1);

		if (!copy)
			return 1;
		memcpy(copy, input, length);
		LLVMFuzzerTestOneInput(copy, length);
		free(copy);
	}
	return 0;
}
#pragma GCC diagnostic pop
