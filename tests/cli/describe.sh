#!/bin/bash
# Device sections are opened to the last byte, by the stream's own description or another's; layouts are compared.
set -u
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
own=vectors/recordings/7.2-precopy-xbzrle-small
postcopy=vectors/recordings/7.2-postcopy-preempt

complain() {
	echo "$1"
	failed=1
}

expect() { # STATUS PATTERN COMMAND...: output and errors together
	local wanted=$1 pattern=$2 status
	shift 2
	"$@" >"$work/out" 2>&1
	status=$?
	[ "$status" -eq "$wanted" ] || complain "$*: exit status $status instead of $wanted: $(tail -n 2 "$work/out")"
	grep -qE -- "$pattern" "$work/out" || complain "$*: does not say $pattern"
}

# STREAM [OPTION...]: every device section has fields, and nothing is wrong with them.
opened() {
	local stream=$1
	shift
	"$MIGREF" dump --json "$@" "$stream" >"$work/json" 2>"$work/err" || complain "$stream: not readable"
	jq -es 'map(select(.kind == "section-data")) | length > 0 and all(has("device") and (has("device_findings") | not)
		and .fields.delimited_by == "description" and (.device | has("(rest)") | not))' <"$work/json" >/dev/null ||
		complain "$stream: a device section is not opened completely"
}

# A precopy stream by itself; its description, saved, for a postcopy stream of the same release.
opened "$own"
"$MIGREF" describe "$own" -o "$work/saved" || complain "describe -o failed"
opened "$postcopy" --describe="$work/saved"
opened "$postcopy" --describe="$own"
"$MIGREF" dump --json --data "$own" | jq -j 'select(.kind == "vmdescription").fields.json' | cmp -s - "$work/saved" ||
	complain "what is saved is not the description of the stream"
"$MIGREF" extract "$postcopy" --describe="$own" -o "$work/memory" >/dev/null || complain "extract --describe failed"
"$MIGREF" check "$postcopy" --describe="$own" | grep -q 'acceptable\|valid' || complain "check --describe failed"

# As text: names, indices, subsections; and the short form.
"$MIGREF" dump "$own" >"$work/text"
grep -q '^ *env.eip=0x[0-9a-f]*$' "$work/text" || complain "dump shows no register"
grep -q '^ *env.segs\[5\] segment:$' "$work/text" || complain "dump shows no struct"
"$MIGREF" dump --no-devices "$own" | grep -q 'env' && complain "--no-devices shows fields"
"$MIGREF" dump --no-devices "$own" | cmp -s - <(grep -v '^ ' "$work/text") ||
	complain "--no-devices changes other lines"

# The layout: devices, fields; as JSON one object for each device.
expect 0 '^cpu/0 version 12, [0-9]* bytes$' "$MIGREF" describe "$own"
grep -q '^  env.regs\[16\] uint64, 8 bytes each$' "$work/out" || complain "describe shows no array"
"$MIGREF" describe --json "$own" | jq -es 'length == 32 and all(.size == ([.fields[]? | .size * (.count // 1)] +
	[.subsections[]?.size] | add // 0))' >/dev/null || complain "describe --json: sizes do not add up"

# Comparing.
expect 0 '^0 differences' "$MIGREF" describe --diff "$own" "$work/saved"
sed 's/"vmsd_name": "cpu", "version": 12/"vmsd_name": "cpu", "version": 13/
	s/"name": "env.eip", "type": "uint64"/"name": "env.eip", "type": "int64"/
	s/{"name": "env.eflags",/{"name": "new", "type": "uint8", "size": 1}, &/
	s/"name": "halted"/"name": "stopped"/' "$work/saved" >"$work/other"
expect 1 "^cpu/0: version 12 in A, 13 in B: A's receiver refuses B's$" \
	"$MIGREF" describe --diff "$work/saved" "$work/other"
for line in 'cpu/0: env.eip: uint64, 8 bytes in A, int64, 8 bytes in B' 'cpu/0: new: only in B: uint8, 1 bytes' \
	'cpu_common/0: halted: only in A: uint32, 4 bytes' 'cpu_common/0: stopped: only in B: uint32, 4 bytes' \
	"A's receiver refuses B: 1 devices of a newer version" "B's receiver refuses no device of A for a newer version"; do
	grep -qxF "$line" "$work/out" || complain "describe --diff does not say: $line"
done
"$MIGREF" describe --diff --json "$work/saved" "$work/other" |
	jq -es 'last | .a_refuses_b and (.b_refuses_a | not) and .differences == 6' >/dev/null ||
	complain "describe --diff --json"

# What a user may get wrong.
expect 2 'expected a STREAM' "$MIGREF" describe
expect 2 'expected two STREAMs' "$MIGREF" describe --diff "$own"
expect 2 'one STREAM at a time' "$MIGREF" describe a b c
expect 2 'saves one description' "$MIGREF" describe --diff -o x "$own" "$own"
expect 0 'Usage: migref describe' "$MIGREF" describe --help
expect 3 'nowhere: no such file' "$MIGREF" describe "$work/nowhere"
expect 3 'expected a description, or a stream that ends with one: found none' "$MIGREF" describe "$postcopy"
expect 3 'nowhere: no such file' "$MIGREF" dump --describe="$work/nowhere" "$postcopy"
expect 3 'x/y: No such file' "$MIGREF" describe "$own" -o "$work/x/y"
head -c 1000 "$work/saved" >"$work/cut"
expect 3 'cut: ' "$MIGREF" describe "$work/cut"

# Every recording at hand: precopy by its own description, postcopy by that of the same release.
shared=../shared/recordings
for recording in "$shared"/*precopy* "$shared"/*switchover* "$shared"/*multifd*; do
	case $recording in
	*mapped* | *hangs | *postcopy* | "$shared/*"*) continue ;;
	esac
	opened "$recording"
	expect 0 ': (valid|acceptable)' "$MIGREF" check -b "$recording"
	grep -q 'DEV-\|STR-02[23]' "$work/out" && complain "$recording: its description does not fit"
done
for release in 7.2 11.1; do
	for recording in "$shared/$release"-*postcopy*; do
		case $recording in
		# two processors, which the description does not know
		*-smp | *-fast | "$shared/$release-*"*) continue ;;
		esac
		opened "$recording" --describe="$shared/$release-precopy"
	done
done
exit $failed
