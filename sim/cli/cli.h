/* cli.h: what the commands of `migref` share: exit statuses, options about streams, error lines. */
#ifndef MR_CLI_H
#define MR_CLI_H

#include <argp.h>

#include "sim/record/migration.h"

enum {
	STATUS_HOLDS = 0,   /* it holds: conformant, identical, done */
	STATUS_DIFFERS = 1, /* it does not hold */
	STATUS_USAGE = 2,
	STATUS_FAILED = 3, /* the input or the machine failed */
};

struct command {
	const char *name;
	const char *summary;
	int (*run)(int argc, char **argv);
};

int command_dump(int argc, char **argv);
int command_explain(int argc, char **argv);
int command_check(int argc, char **argv);
int command_extract(int argc, char **argv);
int command_replay(int argc, char **argv);
int command_describe(int argc, char **argv);
int command_report(int argc, char **argv);
int command_sim(int argc, char **argv);
int command_explore(int argc, char **argv);
int command_guest(int argc, char **argv);
int command_host(int argc, char **argv);
int command_record(int argc, char **argv);
int command_tap(int argc, char **argv);
int command_send(int argc, char **argv);
int command_receive(int argc, char **argv);
int command_interop(int argc, char **argv);

/* One line on standard error, with the program's name before it. */
void error_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Options --role, --as, --context, --page-size, --capabilities, --describe; `input` of the child parser is a struct
 * mr_stream_options. */
extern const struct argp_child stream_children[];

/* Takes a command's only argument, a `what`; a second one is an error of usage. */
void take_path(const struct argp_state *state, const char **path, const char *argument, const char *what);

/* A number without sign; NULL if there is none below 2^64, else what stands behind it. */
const char *read_number(const char *text, uint64_t *number);

/* Parses the options of one command: `name` is shown in usage lines. */
void parse_command(const struct argp *argp, int argc, char **argv, void *input);

/* STATUS_FAILED with a line if standard output could not take everything, else `status`. */
int finish_output(int status);

#endif
