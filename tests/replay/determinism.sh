#!/bin/bash
# The same actions and the same logs of both ends, bit for bit: again, at another date and speed, under valgrind, by every compiler and sanitizer.
set -u
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

small=vectors/recordings/7.2-postcopy-preempt-small
recovery=vectors/recordings/11.1-postcopy-recover

outputs() { # RECORDING COMMAND...: a digest of what a replay of it says and writes
	local recording=$1
	shift
	rm -f "$work/log" "$work/source" "$work/actions"
	"$@" replay --log "$work/log" --source-log "$work/source" --actions "$work/actions" "$recording" >"$work/text" 2>&1 ||
		{ echo "status $?: $(head -3 "$work/text")"; return; }
	cat "$work/text" "$work/log" "$work/source" "$work/actions" | sha256sum
}

same() { # WHAT EXPECTED FOUND
	[ "$2" = "$3" ] || { echo "$1 differs: expected $2, found $3"; failed=1; }
}

expected_small=$(outputs "$small" "$MIGREF")
expected_recovery=$(outputs "$recovery" "$MIGREF")
same "a second run" "$expected_recovery" "$(outputs "$recovery" "$MIGREF")"
same "another environment" "$expected_recovery" "$(outputs "$recovery" env -i LC_ALL=de_DE.UTF-8 TZ=Asia/Kolkata "$MIGREF")"
if command -v faketime >/dev/null; then
	same "another date and speed" "$expected_recovery" \
		"$(outputs "$recovery" faketime -f '@2038-01-19 03:14:07 x1000' "$MIGREF")"
fi
if command -v valgrind >/dev/null; then
	same valgrind "$expected_small" "$(outputs "$small" valgrind -q --error-exitcode=9 "$MIGREF")"
fi
for variant in clang gcc-address-undefined clang-address-undefined; do
	program=$BUILD/variants/$variant/migref
	[ -x "$program" ] || continue
	same "$variant" "$expected_recovery" "$(outputs "$recovery" "$program")"
done

# The log alone, and the bytes: the same actions as from the trace.
"$MIGREF" replay --log "$work/first" --actions "$work/derived" "$recovery" >/dev/null
"$MIGREF" replay --from-log "$work/first" --actions "$work/replayed" "$recovery" >/dev/null
cmp "$work/derived" "$work/replayed" || { echo "a replay from its log differs"; failed=1; }
exit $failed
