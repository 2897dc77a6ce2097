# What tests of the command line share: a command that ends with a status, and says why in one line.
# Whoever reads this has made the folder $work, and ends with the status $failed.

# shellcheck disable=SC2034,SC2154
failed=0

complain() {
	echo "$1"
	failed=1
}

# STATUS PATTERN COMMAND...: what it prints is in $work/out then. Wrong usage may take more than a line, and so may what
# tells of several things at once, for which several_lines=yes.
expect() {
	local wanted=$1 pattern=$2 output status
	shift 2
	output=$("$@" 2>&1 >"$work/out")
	status=$?
	[ "$status" -eq "$wanted" ] || complain "$*: exit status $status instead of $wanted: $output"
	grep -qE -- "$pattern" <<<"$output" || complain "$*: does not say $pattern: $output"
	[ "$wanted" -eq 2 ] || [ "${several_lines:-no}" = yes ] || [ "$(wc -l <<<"$output")" -eq 1 ] || complain "$*: more than one line: $output"
}
