/*
 * program.h: a command of ours as a process of its own, as a user would run it: what it prints and how it ends.
 *
 * It dies with the thread that started it, at the latest, and leaves no file behind.
 */
#ifndef MR_HOST_PROGRAM_H
#define MR_HOST_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <jansson.h>

struct mr_program;

/* Starts the program at `arguments[0]`; NULL stands behind the last. 0, or -1 with one line in `error`. */
int mr_program_start(struct mr_program **result, char *const *arguments, char *error, size_t error_size);
/* Whether it has ended; then `*status` is its exit status, or 128 and the signal that ended it. */
bool mr_program_has_ended(struct mr_program *program, int *status);
/* The last line of its standard output that is a JSON object, which the caller releases; NULL: there is none. */
json_t *mr_program_answer(const struct mr_program *program);
/* The last line that it wrote to standard error; empty: none. */
void mr_program_complaint(const struct mr_program *program, char *line, size_t size);
pid_t mr_program_pid(const struct mr_program *program);
/* Ends it, by SIGTERM first, by force some seconds later; nothing waits if it has ended. NULL is allowed. */
void mr_program_stop(struct mr_program *program);

#endif
