#!/bin/bash
# No date, speed, locale or environment reaches an output: the same bytes at another time, slow and fast.
set -u
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

outputs() { # PREFIX...: a digest of everything that the program says of two recordings
	local recording
	for recording in vectors/recordings/11.1-multifd-zlib vectors/recordings/7.2-postcopy-preempt; do
		"$@" "$MIGREF" dump --json --all "$recording"
		"$@" "$MIGREF" check "$recording"
		"$@" "$MIGREF" replay --json "$recording"
	done 2>&1 | sha256sum
}

command -v faketime >/dev/null || exit 77
first=$(outputs)
[ "$first" = "$(outputs)" ] || { echo "a second run differs"; failed=1; }
[ "$first" = "$(outputs faketime -f '@2038-01-19 03:14:07 x1000')" ] || { echo "another date and speed differ"; failed=1; }
[ "$first" = "$(outputs env -i LC_ALL=de_DE.UTF-8 TZ=Asia/Kolkata)" ] || { echo "another environment differs"; failed=1; }
exit $failed
