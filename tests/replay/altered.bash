# What the replay tests share: a copy of a recording that may be altered, and what its replay has to say.
# Whoever reads this has made the folder $work, and ends with the status $failed.

# shellcheck disable=SC2034
failed=0

complain() {
	echo "$1"
	failed=1
}

unpack() { # RECORDING: a copy with plain files
	rm -rf "$work/r"
	mkdir "$work/r"
	for file in "$1"/*; do
		case $file in
		*.zst) zstd -dqc "$file" >"$work/r/$(basename "$file" .zst)" ;;
		*) cp "$file" "$work/r/" ;;
		esac
	done
}

expect() { # WHAT STATUS TEXT [OPTION...]
	local what=$1 wanted=$2 text=$3 output status
	shift 3
	output=$("$MIGREF" replay "$work/r" "$@" 2>&1)
	status=$?
	[ "$status" -eq "$wanted" ] || complain "$what: exit status $status instead of $wanted: $output"
	grep -qE -- "$text" <<<"$output" || complain "$what: not named ($text): $output"
}
