/* report.c: `migref report`: one HTML page about a recorded migration. */
#include "sim/cli/cli.h"
#include "sim/record/report_page.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct report_options {
	const char *path;
	const char *out;
};

static const struct argp_option options[] = {
	{"output", 'o', "FILE", 0, "the page to write", 0},
	{NULL, 0, NULL, 0, NULL, 0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct report_options *report = state->input;

	switch (key) {
	case 'o':
		report->out = argument;
		return 0;
	case ARGP_KEY_ARG:
		take_path(state, &report->path, argument, "RECORDING");
		return 0;
	case ARGP_KEY_END:
		if (!report->path)
			argp_error(state, "expected a RECORDING");
		if (!report->out)
			argp_error(state, "expected -o FILE");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.args_doc = "RECORDING",
	.doc = "Writes one HTML page about a recorded migration.\v"
	       "The page shows how the migration ended, bytes of all channels and statuses of both ends over time, the "
	       "pages of guest memory as they came, the guest's faults and how long each waited, blocktime, what "
	       "migref replay compares and what migref check finds. It is one file that needs nothing from anywhere "
	       "else, in light and dark; the same recording gives the same bytes. What cannot be told for lack of a "
	       "trace or timeline is named.\n\n"
	       "Exit status 0 if all is well; 1 if the recording is cut or malformed, breaks rules or does not replay: "
	       "the page says what; 3 if the recording cannot be opened or the page not be written.",
};

/* A device or pipe would be replaced by the page instead of taking it. */
static bool may_write(const char *path)
{
	struct stat status;

	if (stat(path, &status) < 0 || S_ISREG(status.st_mode))
		return true;
	error_line("%s: expected a name for a regular file, found %s", path,
		   S_ISDIR(status.st_mode) ? "a directory" : "something else");
	return false;
}

/* What was written so far is kept from the eyes of others, and goes if it cannot be finished. */
static int write_page(const char *path, const struct mr_report *report)
{
	const size_t size = strlen(path) + sizeof(".XXXXXX");
	char *temporary = malloc(size);
	const mode_t mask = umask(0);
	FILE *out = NULL;
	int file = -1, failure = 0;

	umask(mask);
	if (temporary) {
		snprintf(temporary, size, "%s.XXXXXX", path);
		file = mkstemp(temporary);
		out = file < 0 ? NULL : fdopen(file, "w");
	}
	if (out) {
		mr_report_page(out, report);
		if (fflush(out) != 0 || ferror(out) || fchmod(file, 0666 & ~mask) < 0)
			failure = errno ? errno : EIO;
		if (fclose(out) != 0 && !failure)
			failure = errno;
		if (!failure && rename(temporary, path) < 0)
			failure = errno;
	} else {
		failure = errno;
		if (file >= 0)
			close(file);
	}
	if (failure && file >= 0)
		unlink(temporary);
	free(temporary);
	if (!failure)
		return 0;
	error_line("%s: %s", path, strerror(failure));
	return -1;
}

/* Several parts of a report may meet the same. */
static bool is_said(const struct mr_report *report, size_t error)
{
	for (size_t i = 0; i < error; i++)
		if (strcmp(report->errors[i], report->errors[error]) == 0)
			return true;
	return false;
}

int command_report(int argc, char **argv)
{
	struct report_options options_given = {0};
	struct mr_report report;
	char error[512];
	int status;

	parse_command(&argp, argc, argv, &options_given);
	if (!may_write(options_given.out))
		return STATUS_FAILED;
	if (mr_report_collect(&report, options_given.path, error, sizeof(error)) < 0) {
		error_line("%s", error);
		return STATUS_FAILED;
	}
	status = report.well ? STATUS_HOLDS : STATUS_DIFFERS;
	if (write_page(options_given.out, &report) < 0)
		status = STATUS_FAILED;
	for (size_t i = 0; i < report.error_count && status == STATUS_DIFFERS; i++)
		if (!is_said(&report, i))
			error_line("%s: %s", options_given.path, report.errors[i]);
	mr_report_clear(&report);
	return status;
}
