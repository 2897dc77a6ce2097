#!/bin/bash
# migref explain: every field of every vector has a meaning and a rule, every byte is told once, and so is every action.
set -u
export LC_ALL=C
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
first=vectors/recordings/first-postcopy

complain() {
	echo "$1"
	failed=1
}

expect() { # STATUS PATTERN COMMAND...
	local wanted=$1 pattern=$2 output status
	shift 2
	output=$("$@" 2>&1 >"$work/out")
	status=$?
	[ "$status" -eq "$wanted" ] || complain "$*: exit status $status instead of $wanted: $output"
	grep -qE -- "$pattern" <<<"$output" || complain "$*: does not say $pattern: $output"
	[ "$wanted" -eq 2 ] || [ "$(grep -c . <<<"$output")" -le 1 ] || complain "$*: more than one line of error: $output"
}

# What has no meaning or no rule, as kind and field.
meaningless() {
	jq -r 'select(.record) | .record as $record | (select(.meaning and .rule | not) | $record),
		(.fields[] | select(.meaning and .rule | not) | "\($record) \(.name)")' "$1" | sort -u
}

for vector in vectors/*/*.json; do
	"$MIGREF" explain --json "$vector" >>"$work/json" 2>/dev/null
	status=$?
	[ $status -eq 0 ] || [ $status -eq 3 ] || complain "$vector: exit status $status"
	"$MIGREF" explain "$vector" >"$work/out" 2>/dev/null
	[ $? -eq $status ] || complain "$vector: text and JSON end differently"
done
missing=$(meaningless "$work/json")
[ -z "$missing" ] || complain "without meaning or rule: $missing"
kinds=$(jq -r 'select(.record) | .record' "$work/json" | sort -u | wc -l)
[ "$kinds" -eq 29 ] || complain "$kinds record kinds were explained, not all"

# The fields that have bytes tile their record, and the records their channel.
jq -es 'map(select(.record)) | all(.[]; . as $record | [.fields[] | select(.length > 0)] |
	reduce .[] as $field ($record.offset; if . == $field.offset then . + $field.length else -1 end)
	== $record.offset + $record.length)' "$work/json" >/dev/null || complain 'the fields do not tile the records'
for recording in vectors/recordings/*/; do
	for steps in '' --steps; do
		# shellcheck disable=SC2086
		"$MIGREF" explain --json $steps "$recording" >"$work/told" 2>/dev/null
		jq -r 'select(.record) | "\(.channel) \(.offset) \(.length)"' "$work/told" | sort >"$work/told.records"
		"$MIGREF" dump --json "$recording" 2>/dev/null |
			jq -r '"\(.channel) \(.offset) \(.length)"' | sort >"$work/dump.records"
		cmp -s "$work/told.records" "$work/dump.records" || complain "$recording $steps: not each record once"
	done
	missing=$(jq -r 'select(.action and (.meaning and .rule | not)) | .action' "$work/told" | sort -u)
	[ -z "$missing" ] || complain "$recording: actions without meaning or rule: $missing"
done

# The actions are those of the replay, in its order.
"$MIGREF" replay --actions "$work/actions" $first >/dev/null || complain "$first does not hold"
"$MIGREF" explain --steps --json $first >"$work/told" || complain "$first is not explained"
cmp -s <(jq -r '"\(.actor) \(.action)"' "$work/actions") \
	<(jq -r 'select(.action) | "\(.actor) \(.action)"' "$work/told") || complain 'other actions than those of replay'
[ "$(jq -r 'select(.pages[0].offset == 8192) | .pages[0].thread' "$work/told" | sort -u)" = 1 ] ||
	complain 'nobody waits for the page that is asked for'
"$MIGREF" explain --steps $first >"$work/text" || complain "$first is not explained as text"
grep -q 'PONG' "$work/text" || complain 'the text lacks an answer'
grep -q '1 page waited for: pc.ram 0x2000 by thread 1' "$work/text" ||
	complain 'the text lacks a state'

# Cut and malformed input: all up to there, then one line.
head -c 4000 $first/ch0.fwd >"$work/cut.fwd"
expect 3 'STR-026.*expected .* more bytes' "$MIGREF" explain --as=7.2 "$work/cut.fwd"
[ "$(grep -c '^stream ' "$work/out")" -eq 11 ] || complain "of a cut stream $(grep -c '^stream ' "$work/out") records"
{ head -c 8 $first/ch0.fwd && printf 'zzzz'; } >"$work/bad"
expect 3 'STR-003' "$MIGREF" explain "$work/bad"
grep -q 'file-header' "$work/out" || complain 'nothing before the malformed place'
expect 3 'STR-001' "$MIGREF" explain Makefile
cp -r $first "$work/damaged"
head -c 8000 $first/ch0.fwd >"$work/damaged/ch0.fwd"
expect 3 'ch0.fwd: .*STR-026' "$MIGREF" explain --steps "$work/damaged"
grep -q 'POSTCOPY_LISTEN' "$work/out" || complain 'a damaged recording: nothing up to the damage'

rm "$work/damaged/nondeterminism.jsonl"
cp $first/ch0.fwd "$work/damaged/"
printf '\7' | dd of="$work/damaged/ch0.ret" bs=1 seek=15 conv=notrunc status=none
expect 1 'something else than was recorded' "$MIGREF" explain --steps "$work/damaged"

expect 3 'expected a recording with connections' "$MIGREF" explain --steps $first/ch0.fwd
expect 3 'no such file' "$MIGREF" explain "$work/nowhere"
expect 2 'expected a STREAM or RECORDING' "$MIGREF" explain
expect 2 'one STREAM or RECORDING' "$MIGREF" explain a b
expect 0 '^$' "$MIGREF" explain --help
grep -q 'docs/first-postcopy.md' "$work/out" || complain '--help does not say where to begin'
exit $failed
