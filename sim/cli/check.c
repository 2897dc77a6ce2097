/* check.c: `migref check`: the verdict on a stream or recording, and every deviation with its rule. */
#include "sim/cli/cli.h"
#include "sim/record/judge.h"
#include "sim/record/print.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct check_options {
	struct mr_stream_options stream;
	char **paths;
	int count;
	bool json, brief;
};

static const struct argp_option options[] = {
	{"json", 'j', NULL, 0, "one JSON object for each deviation, one for each verdict", 0},
	{"brief", 'b', NULL, 0, "one line for each rule that is broken: how often, and where first", 0},
	{NULL, 0, NULL, 0, NULL, 0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct check_options *check = state->input;

	(void)argument;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &check->stream;
		return 0;
	case 'j':
		check->json = true;
		return 0;
	case 'b':
		check->brief = true;
		return 0;
	case ARGP_KEY_ARGS:
		check->paths = state->argv + state->next;
		check->count = state->argc - state->next;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "expected a STREAM or RECORDING");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.args_doc = "STREAM|RECORDING...",
	.doc = "Judges migration streams by the rules of SPEC.md.\v"
	       "A stream is valid, acceptable (it breaks a rule, yet a conforming receiver may take it) or invalid: "
	       "malformed (it cannot "
	       "be read), state (a legal record at the wrong moment) or runtime (consistent, yet it cannot be carried "
	       "out). Reading stops "
	       "at the first malformed record of a channel.\n\n"
	       "Exit status 0 if all are valid or acceptable, 1 if one is invalid, 3 if one cannot be opened.",
	.children = stream_children,
};

static void print_verdict(const struct check_options *check, const char *path, const struct mr_judgement *judgement)
{
	const bool invalid = judgement->verdict > MR_ACCEPTABLE;
	const char *name = mr_verdict_name(judgement->verdict);

	if (!check->json) {
		printf("%s: %s%s%s%s", path, invalid ? "invalid" : name, invalid ? " (" : "", invalid ? name : "",
		       invalid ? ")" : "");
		if (judgement->count)
			printf(", %zu deviations of %zu rules", judgement->count, judgement->rule_count);
		putchar('\n');
		return;
	}
	fputs("{\"file\":", stdout);
	mr_print_json_string(stdout, (struct mr_bytes){(const uint8_t *)path, strlen(path)});
	printf(",\"verdict\":\"%s\",\"class\":", invalid ? "invalid" : name);
	printf(invalid ? "\"%s\"" : "null", name);
	printf(",\"deviations\":%zu,\"rules\":%zu}\n", judgement->count, judgement->rule_count);
}

static void print_brief(const struct check_options *check, const char *path, const struct mr_judgement *judgement)
{
	const struct mr_printer printer = {.out = stdout, .json = check->json};

	for (enum mr_rule rule = MR_NO_RULE + 1; rule < MR_RULE_COUNT; rule++) {
		const struct mr_finding *first = NULL;
		size_t count = 0;

		for (size_t i = 0; i < judgement->kept; i++) {
			if (judgement->findings[i].rule != rule)
				continue;
			first = first ? first : &judgement->findings[i];
			count++;
		}
		if (!first)
			continue;
		if (!check->json)
			printf("%s: %s: %zu times (%s): %s\n  first: ", path, mr_rule_id(rule), count,
			       mr_verdict_name(first->verdict), mr_rule_title(rule));
		mr_print_finding(&printer, path, mr_judgement_channel(judgement, first), first);
	}
}

static void print_findings(const struct check_options *check, const char *path, const struct mr_judgement *judgement)
{
	const struct mr_printer printer = {.out = stdout, .json = check->json};

	for (size_t i = 0; i < judgement->kept; i++) {
		const struct mr_finding *finding = &judgement->findings[i];

		mr_print_finding(&printer, path, mr_judgement_channel(judgement, finding), finding);
	}
	if (judgement->kept < judgement->count)
		error_line("%s: %zu more deviations are counted but not shown", path,
			   judgement->count - judgement->kept);
}

static int check_one(const struct check_options *check, const char *path)
{
	struct mr_judgement judgement;
	char error[512];
	int status;

	if (mr_judge(&judgement, path, &check->stream, check->json, error, sizeof(error)) < 0) {
		error_line("%s", error);
		return STATUS_FAILED;
	}
	(check->brief ? print_brief : print_findings)(check, path, &judgement);
	print_verdict(check, path, &judgement);
	status = judgement.verdict <= MR_ACCEPTABLE ? STATUS_HOLDS : STATUS_DIFFERS;
	mr_judgement_clear(&judgement);
	return status;
}

int command_check(int argc, char **argv)
{
	struct check_options check = {0};
	int worst = STATUS_HOLDS;

	parse_command(&argp, argc, argv, &check);
	for (int i = 0; i < check.count; i++) {
		const int status = check_one(&check, check.paths[i]);

		worst = status > worst ? status : worst;
	}
	return worst;
}
