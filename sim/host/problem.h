/* problem.h: why the host refused something, in one line that says what the user can do. */
#ifndef MR_HOST_PROBLEM_H
#define MR_HOST_PROBLEM_H

/* Filled when a function fails; a caller that wants no text passes NULL instead. */
struct mr_host_problem {
	int error; /* errno */
	char text[240];
};

/* Fills the problem, if there is one, with the line and, behind a colon, what the errno says. Returns -error. */
int mr_host_fail(struct mr_host_problem *problem, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
