#!/bin/bash
# Hostile files: whatever they are, the program ends soon, in little memory, with one clear line and a status to trust.
set -u
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

complain() {
	echo "$1"
	failed=1
}

bytes() { # HEX...: these bytes
	printf "$(tr -d ' ' <<<"$*" | sed 's/../\\x&/g')"
}

# Runs within 2 GiB of address space and 10 seconds; sanitizers need more than all of that for themselves.
limited() {
	(
		[ -n "${HOSTILE_UNLIMITED:-}" ] || ulimit -v 2097152
		exec timeout 10 "$@"
	)
}

# STATUS LINES PATTERN COMMAND...: this status, so many lines on standard error, the pattern in them, nothing unprintable.
expect() {
	local wanted=$1 lines=$2 pattern=$3 status found
	shift 3
	limited "$MIGREF" "$@" >"$work/out" 2>"$work/err" </dev/null
	status=$?
	found=$(wc -l <"$work/err")
	[ "$status" -eq "$wanted" ] || complain "$*: exit status $status instead of $wanted: $(head -n 3 "$work/err")"
	[ "$found" -eq "$lines" ] || complain "$*: $found lines on standard error instead of $lines: $(head -n 3 "$work/err")"
	[ "$lines" -eq 0 ] || grep -qE -- "$pattern" "$work/err" || complain "$*: does not say $pattern: $(head -n 3 "$work/err")"
	if LC_ALL=C grep -qP '[\x00-\x08\x0b-\x1f\x7f]' "$work/out" "$work/err"; then
		complain "$*: control characters in the output"
	fi
}

# dump and extract refuse the stream with one line, check calls it invalid and is silent.
expect_refusal() { # PATTERN FILE
	expect 3 1 "$1" dump "$2"
	expect 3 1 "$1" extract "$2" -o "$work/refused"
	expect 1 0 '' check "$2"
	grep -qE -- "$1" "$work/out" || complain "check $2: does not say $1"
}

header='5145564d 00000003 07 00000002 7063'
start='01 00000002 03 72616d 00000000 00000004'
finish='0000000000000010 7e 00000002'

# ---- No streams

: >"$work/empty"
expect_refusal 'offset 0x0: STR-026 .*found end of stream' "$work/empty"
bytes ffd8ffe000104a464946 >"$work/picture.jpg"
expect_refusal 'offset 0x0: STR-001 .*found ff d8 ff e0' "$work/picture.jpg"
bytes 5145564d 00000002 >"$work/old"
expect_refusal 'offset 0x4: STR-002 .*expected 3, found 2' "$work/old"
head -c 100000 /dev/zero >"$work/zeros"
expect_refusal 'offset 0x0: STR-001' "$work/zeros"
mkdir "$work/folder"
for command in dump check replay 'extract -o /nonexistent'; do
	expect 3 1 'folder: expected a recording directory' $command "$work/folder"
done

# ---- Compressed files: what comes out of them may have no end

if command -v zstd >/dev/null; then
	head -c 256M /dev/zero | zstd -q >"$work/zeros.zst"
	for ((i = 0; i < 40; i++)); do cat "$work/zeros.zst"; done >"$work/bomb.zst"
	[ "$(wc -c <"$work/bomb.zst")" -lt 1000000 ] || complain "the bomb is too large to be one"
	expect_refusal 'offset 0x0: STR-001' "$work/bomb.zst"
	{
		bytes "$header 04 00000000 01 61 0000000000000000" | zstd -q
		cat "$work/zeros.zst" "$work/zeros.zst"
	} >"$work/body.zst"
	expect 3 1 'STR-026' dump "$work/body.zst"
	expect 1 0 '' check "$work/body.zst"
	{ bytes "$header 00 06 03ffffff"; head -c 64M /dev/zero | tr '\0' '['; } | zstd -q >"$work/description.zst"
	expect 0 0 '' check "$work/description.zst"
	head -c 1000 "$work/bomb.zst" >"$work/cut.zst"
	expect 3 1 'STR-001|expected the rest of a zstd frame' dump "$work/cut.zst"
	bytes 28b52ffd 00f8 ffffff >"$work/window.zst"
	expect 3 1 'window.zst: not readable as zstd' dump "$work/window.zst"
	bytes 28b52ffd >"$work/magic.zst"
	expect 3 1 'magic.zst: cut: ends at byte 4' dump "$work/magic.zst"
fi

# ---- Blocks that no machine has

block() { # LENGTH, PAGES...: a block m of this length, and what comes behind the list
	bytes "$header $start ${1%?}4 01 6d $1 $finish 02 00000002 $2 $finish 00"
}
block 1000000000000000 '0000000000000002 01 6d 00' >"$work/blocks-2-60"
expect 3 1 'STR-027: no memory for a block of 0x1000000000000000 bytes' extract "$work/blocks-2-60" -o "$work/memory"
expect 0 0 '' check "$work/blocks-2-60"
block 8000000000000000 '0000000000000002 01 6d 00' >"$work/blocks-2-63"
expect 3 1 'STR-027: .* block of 0x8000000000000000 bytes' extract "$work/blocks-2-63" -o "$work/memory"
block 0000010000000000 '0000000000000002 01 6d 00' >"$work/blocks-2-40"
expect 0 0 '' check "$work/blocks-2-40"
block 0000000000001000 '7ffffffffffff002 01 6d 00 fffffffffffff022 00 0000000000001022 00' >"$work/beyond"
expect 3 1 'RAM-010: 0x7ffffffffffff000 is outside block m \(and 2 more\)' extract "$work/beyond" -o "$work/memory"

# Four thousand discards, each of a whole block of 2^33 bytes.
{
	bytes "$header 08 0003 0010 0000000000001000 0000000000001000 $start 0000000200000004 01 6d 0000000200000000 $finish"
	bytes "08 0006 fa04 00 01 6d 00"
	range=$(bytes '0000000000000000 0000000200000000' | base64)
	for ((i = 0; i < 4000; i++)); do echo "$range"; done | base64 -d
	bytes 00
} >"$work/discards"
expect 0 0 '' check --brief "$work/discards"
HOSTILE_UNLIMITED=1 expect 0 0 '' extract "$work/discards" -o "$work/memory"

# ---- Names

escape='0a 1b5d303b7a072f2e2e2f'
bytes "$header $start 0000000000002004 $escape 0000000000001000 02 2e2e 0000000000001000 $finish" \
	"02 00000002 0000000000000002 $escape 00 0000000000007022 00 0000000000000002 05 1b5b33316d 00 $finish 00" >"$work/names"
expect 0 0 '' dump "$work/names"
expect 0 0 '' dump --json "$work/names"
jq -e . <"$work/out" >/dev/null || complain "dump --json: names make it no JSON"
expect 1 0 '' check "$work/names"
expect 3 1 'is outside block' extract "$work/names" -o "$work/inside"
[ ! -e "$work/etc" ] && [ "$(find "$work/inside" -type f | wc -l)" -eq 2 ] || complain "extract: files elsewhere or none"
[ -f "$work/inside/_." ] && [ -f "$work/inside/_]0;z__.._" ] || complain "extract: names are not what they should be"
bytes "$header 01 00000002 05 1b5b324a0a 00000000 00000001" | cat - "$work/zeros" >"$work/section"
expect 3 1 'STR-' dump "$work/section"
expect 1 0 '' check "$work/section"
bytes '5145564d 00000003 07 00000004 1b5b324a' 00 >"$work/machine"
expect 0 0 '' dump "$work/machine"
printf '\033[31m' >"$work/"$'\033[31mred'
expect 3 1 'STR-001' dump "$work/"$'\033[31mred'

# ---- Recordings

recording() { # MANIFEST: a recording with a good channel and this manifest
	rm -rf "$work/recording"
	mkdir "$work/recording"
	printf '%s' "$1" >"$work/recording/manifest.json"
	bytes "$header 00" >"$work/recording/ch0.fwd"
}
refuse_manifest() { # PATTERN MANIFEST
	recording "$2"
	expect 3 1 "$1" check "$work/recording"
	expect 3 1 "$1" replay "$work/recording"
}
good='"format":1,"source_qemu":"7.2","destination_qemu":"7.2","status":"completed"'
refuse_manifest 'not JSON' ''
refuse_manifest 'not JSON' '{'
refuse_manifest 'not JSON: maximum parsing depth' "$(head -c 100000 /dev/zero | tr '\0' '[')"
refuse_manifest 'not JSON: .*depth' "{$good,\"x\":$(for ((i = 0; i < 10000; i++)); do printf '{"a":'; done)"
refuse_manifest 'expected a JSON object, found an array' '[]'
refuse_manifest 'format: expected 1, found 2' "{${good/:1/:2}}"
refuse_manifest 'format: expected a whole number, found a string' "{${good/:1/:\"1\"}}"
refuse_manifest 'format: ' "{${good/:1/:-1}}"
refuse_manifest 'not JSON|format: ' "{${good/:1/:99999999999999999999}}"
refuse_manifest 'source_qemu: expected a string, found a number' "{${good/:\"7.2\"/:7}}"
refuse_manifest 'capabilities: expected an array, found an object' "{$good,\"capabilities\":{}}"
refuse_manifest 'capabilities\[0\]: expected a string, found an array' "{$good,\"capabilities\":[[]]}"
refuse_manifest 'parameters: expected an object' "{$good,\"parameters\":[]}"
refuse_manifest 'parameters.multifd-channels: expected a whole number' "{$good,\"parameters\":{\"multifd-channels\":\"2\"}}"
refuse_manifest 'memory_mib: expected 0 to' "{$good,\"memory_mib\":-1}"
refuse_manifest 'not JSON: duplicate object key' "{$good,\"status\":\"failed\"}"
refuse_manifest 'expected at most .* capabilities|capabilities: expected at most' \
	"{$good,\"capabilities\":[$(for ((i = 0; i < 5000; i++)); do printf '"xbzrle",'; done)\"xbzrle\"]}"
recording "{$good}"
expect 0 0 '' check "$work/recording"
: >"$work/recording/ch999999999999999999999.fwd"
expect 3 1 'expected at most .* channels, found ch9+.fwd' check "$work/recording"

# Channels that are no files.
recording "{$good}"
rm "$work/recording/ch0.fwd"
mkdir "$work/recording/ch0.fwd"
expect 3 1 'ch0.fwd: ' check "$work/recording"
recording "{$good}"
ln -s ch0.fwd "$work/recording/ch1.fwd"
ln -s loop.fwd "$work/recording/loop.fwd"
ln -s loop.fwd "$work/recording/ch2.fwd"
expect 3 1 'ch2.fwd: ' check "$work/recording"

# A pipe that nobody writes to is waited for, as any pipe; one whose writer goes away has ended.
mkfifo "$work/pipe"
limited timeout 1 "$MIGREF" dump "$work/pipe" >"$work/out" 2>"$work/err"
[ $? -eq 124 ] || complain "a pipe without a writer: not waited for"
[ ! -s "$work/err" ] || complain "a pipe without a writer: $(head -n 1 "$work/err")"
: >"$work/pipe" &
expect 3 1 'offset 0x0: STR-026' dump "$work/pipe"
wait
exit $failed
