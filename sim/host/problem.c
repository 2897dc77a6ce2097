/* problem.c: why the host refused something, in one line that says what the user can do. */
#include "sim/host/problem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int mr_host_fail(struct mr_host_problem *problem, int error, const char *format, ...)
{
	va_list arguments;
	const char *reason = strerrordesc_np(error);
	size_t length;

	if (!problem)
		return -error;
	problem->error = error;
	va_start(arguments, format);
	vsnprintf(problem->text, sizeof(problem->text), format, arguments);
	va_end(arguments);
	length = strlen(problem->text);
	snprintf(problem->text + length, sizeof(problem->text) - length, ": %s", reason ? reason : "unknown error");
	return -error;
}
