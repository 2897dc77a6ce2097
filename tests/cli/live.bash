# What tests of commands that stand on sockets share: a folder, processes and a mount that are gone at the end, a command
# that ends with a status and says why, and the wait for a line. Whoever reads this ends with the status $failed.

# shellcheck disable=SC2034
failed=0
work=$(mktemp -d)
processes=()
leftovers=() # files elsewhere

finish() {
	for process in "${processes[@]}"; do
		kill -9 "$process" 2>/dev/null
	done
	wait 2>/dev/null
	umount "$work/disk" 2>/dev/null
	rm -rf "$work" "${leftovers[@]}"
}
trap finish EXIT

complain() {
	echo "$1"
	failed=1
}

# STATUS PATTERN COMMAND...: ends so within ${patience:-20} seconds, and says so on standard error.
expect() {
	local status=$1 pattern=$2
	shift 2
	timeout "${patience:-20}" "$@" >"$work/out" 2>"$work/err"
	local got=$?
	[ $got -eq "$status" ] || complain "$*: expected status $status, found $got: $(cat "$work/err")"
	grep -qE -- "$pattern" "$work/err" || complain "$*: expected $pattern, found: $(cat "$work/err")"
}

# PATTERN FILE: within ten seconds, a line of the file is so.
await() {
	for _ in $(seq 500); do
		grep -aqE -- "$1" "$2" 2>/dev/null && return 0
		sleep 0.02
	done
	complain "expected $1 in $2, found: $(tail -n 5 "$2")"
	return 1
}
