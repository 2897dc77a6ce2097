#!/bin/bash
# What a user may get wrong: one clear line, an exit status that scripts can trust, nothing half-written.
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
recording=vectors/recordings/7.2-postcopy-preempt
. tests/cli/expect.bash

expect 2 'Usage: migref COMMAND' "$MIGREF"
expect 2 'no command is called jump' "$MIGREF" jump
# every command that there is; those that need nothing more do not complain
for command in $("$MIGREF" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p'); do
	[ "$command" = host ] || [ "$command" = interop ] || expect 2 "migref $command: expected " "$MIGREF" "$command"
	expect 0 '^$' "$MIGREF" "$command" --help
	grep -q "Usage: migref $command" "$work/out" || complain "$command --help does not show its usage"
	expect 2 'unrecognized option' "$MIGREF" "$command" --frobnicate x
	commands=$((${commands:-0} + 1))
done
[ "${commands:-0}" -ge 16 ] || complain "--help lists ${commands:-0} commands"
expect 3 'nowhere: no such file' "$MIGREF" dump "$work/nowhere"
expect 3 'nowhere: no such file' "$MIGREF" check "$work/nowhere"
expect 3 'expected a recording directory' "$MIGREF" replay Makefile
expect 3 'it has no manifest.json' "$MIGREF" replay "$work"
expect 2 'expected main, recovery' "$MIGREF" dump --role=first Makefile
expect 2 'expected a QEMU release' "$MIGREF" check --as=1.0 Makefile
expect 2 'expected a power of two' "$MIGREF" dump --page-size=5000 Makefile
expect 2 'no capability of the stream is called fly' "$MIGREF" dump --capabilities=xbzrle,fly Makefile
expect 2 'expected a STREAM or RECORDING and -o DIR' "$MIGREF" extract Makefile
expect 3 'STR-001.*expected 51 45 56 4d' "$MIGREF" dump Makefile
expect 1 '^$' "$MIGREF" check Makefile
grep -q '^Makefile: invalid (malformed)' "$work/out" || complain "check does not call a Makefile malformed"

# A stream that is cut: dump and extract give what came, and say where it ends.
zstd -dqc $recording/ch0.fwd.zst | head -c 1000000 >"$work/cut"
expect 3 'offset 0xf4240: STR-026 .*: expected .* more bytes of the record at .*, found end of stream' "$MIGREF" dump "$work/cut"
[ "$(grep -c ram-page "$work/out")" -gt 100 ] || complain "dump shows too little of a cut stream"
expect 3 'STR-026' "$MIGREF" extract "$work/cut" -o "$work/files"
[ -s "$work/files/mem" ] || complain "extract wrote nothing of a cut stream"
expect 1 '^$' "$MIGREF" check "$work/cut"

# Files, pipes and compressed files read alike.
zstd -dqc $recording/ch0.fwd.zst >"$work/whole"
"$MIGREF" dump "$work/whole" | sed 's/^[^ ]* //' >"$work/a"
"$MIGREF" dump - <"$work/whole" | sed 's/^[^ ]* //' >"$work/b"
cat "$work/whole" | "$MIGREF" dump --capabilities=postcopy-ram - | sed 's/^[^ ]* //' >"$work/c"
"$MIGREF" dump $recording/ch0.fwd.zst | sed 's/^[^ ]* //' >"$work/d"
for other in b c d; do
	cmp -s "$work/a" "$work/$other" || complain "a file and $other read differently"
done
head -c 5000 $recording/ch0.fwd.zst >"$work/short.zst"
expect 3 'short.zst: ' "$MIGREF" dump "$work/short.zst"

# JSON lines are JSON, and tile each channel.
"$MIGREF" dump --json $recording >"$work/json" || complain "dump --json failed"
jq -es 'group_by(.channel) | map(sort_by(.offset) | [.[0].offset, (. as $r | [range(1; length)] |
	all($r[.].offset == $r[. - 1].offset + $r[. - 1].length))]) | all(.[0] == 0 and .[1])' <"$work/json" >/dev/null ||
	complain "the records do not tile the channels"
"$MIGREF" check --json $recording | jq -es 'last.verdict == "acceptable" or last.verdict == "valid"' >/dev/null ||
	complain "check --json: no verdict"
"$MIGREF" replay --json $recording | jq -es 'last.identical' >/dev/null || complain "replay --json: not identical"

# extract: the files are the memory, and nothing else is left behind.
"$MIGREF" extract $recording -o "$work/memory" >"$work/list" || complain "extract failed"
zstd -dqc $recording/source.ram.zst | cmp -s - "$work/memory/mem" || complain "extract: mem is not the source's memory"
[ -f "$work/memory/_rom@etc_acpi_tables" ] || complain "extract: / does not become _"
[ -z "$(find "$work/memory" -name '*.part')" ] || complain "extract left a partial file"
touch "$work/file"
expect 3 'file: ' "$MIGREF" extract $recording -o "$work/file"
[ "$(id -u)" -eq 0 ] && [ -e /dev/full ] && { "$MIGREF" dump $recording >/dev/full 2>"$work/err"; [ $? -eq 3 ] ||
	complain "a full disk is not noticed"; }
exit $failed
