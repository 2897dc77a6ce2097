#!/bin/bash
# Each recording's source writes its streams again, by a log that is derived, written and read; what is altered is named.
set -u
export LC_ALL=C
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/replay/altered.bash

# ---- Recordings as they are

folders=(vectors/recordings)
[ -d ../shared/recordings ] && folders+=(../shared/recordings)

# Every stream is identical, by the derived log and by the same log read again, which is then written as it was.
compare() { # RECORDING
	local output streams share
	streams=$(find "$1" -name 'ch*.fwd*' | wc -l)
	output=$("$MIGREF" replay "$1" --source-log "$work/log" 2>&1)
	[ "$(grep -c '^  source  ch.* identical' <<<"$output")" -eq "$streams" ] || complain "$1: $output"
	# What brings its log has nothing derived.
	grep -q '^ *log: given' <<<"$output" && share=100 ||
		share=$(sed -n 's/^ *\([0-9.]*\) % of the decisions on the order of pages.*/\1/p' <<<"$output")
	[ -n "$share" ] || complain "$1: no decisions are told"
	# Where all pages go by one channel, nearly all of their order is the machine's own; four pages are too few to say so.
	case $1 in
	*preempt* | *multifd* | *first-postcopy) ;;
	*) awk -v share="$share" 'BEGIN { exit share < 99 }' || complain "$1: $share % of the order of pages" ;;
	esac
	output=$("$MIGREF" replay "$1" --from-source-log "$work/log" --source-log "$work/again" 2>&1)
	[ "$(grep -c '^  source  ch.* identical' <<<"$output")" -eq "$streams" ] || complain "$1: by its log: $output"
	cmp -s "$work/log" "$work/again" || complain "$1: another log was written than was read"
}

for folder in "${folders[@]}"; do
	count=0
	for recording in "$folder"/*/; do
		recording=${recording%/}
		ls "$recording"/ch0.fwd* >/dev/null 2>&1 || continue
		case $recording in
		*-compress) continue ;;
		esac
		count=$((count + 1))
		compare "$recording"
	done
	[ "$count" -ge 10 ] || complain "$folder: only $count recordings"
	echo "$folder: $count sources replayed"
done

# ---- Figures: what query-migrate told at the end, where nothing was lost on the way

for recording in 7.2-postcopy-hugetlb 7.2-postcopy-preempt 7.2-multifd-zstd 9.2-multifd-zero-page 11.1-multifd-zlib; do
	"$MIGREF" replay vectors/recordings/$recording | grep -q 'figures of query-migrate: \([0-9]*\) of \1 the same$' ||
		complain "$recording: other figures"
done

# ---- Without a trace

for recording in 7.2-postcopy-preempt-small 7.2-postcopy-hugetlb 7.2-multifd-zstd 9.2-postcopy 11.1-postcopy-recover; do
	unpack vectors/recordings/$recording
	rm "$work/r/src.trace"
	expect "$recording without its trace" 0 'for lack of src.trace'
done

# ---- Without a log: a source that gives back what it has sent, between two pages

sed 's/^capabilities = .*/capabilities = postcopy-ram, release-ram/; s/256M/8M/' sim/scenarios/postcopy.ini >"$work/release.ini"
"$MIGREF" sim "$work/release.ini" --seed 3 -o "$work/release" >/dev/null || complain "release-ram: no recording"
rm "$work/release/source-nondeterminism.jsonl"*
"$MIGREF" replay "$work/release" >"$work/out" 2>&1
grep -q 'source  ch0.fwd   main     identical' "$work/out" || complain "release-ram: $(grep 'source ' "$work/out")"

# ---- Altered

unpack vectors/recordings/7.2-postcopy-preempt-small
"$MIGREF" replay "$work/r" --source-log "$work/log" >/dev/null
alter() { # WHAT STATUS TEXT SCRIPT: the log, changed by sed
	sed "$4" "$work/log" >"$work/altered"
	cmp -s "$work/log" "$work/altered" && complain "$1: the log was not changed"
	expect "$1" "$2" "$3" --from-source-log "$work/altered"
}
alter "pages that were not dirtied" 1 'machine: ' '/"dirty"/d'
alter "a section that ends early" 1 'source  ch0.fwd +main +DIFFERS' '0,/"choose":"section-ends","answer":0/s/"answer":0/"answer":1/'
alter "an actor without work" 1 'DOES NOT FIT  record [0-9]+: ' '2i {"step":"return","count":1}'
alter "a command that is refused" 1 'DOES NOT FIT  record [0-9]+: recover is refused' '2i {"command":"recover"}'
alter "another block" 3 'expected a block, found mem' 's/"name":"mem"/"name":"men"/'
alter "no actor" 3 'expected an actor, found nobody' 's/"step":"migration"/"step":"nobody"/'
alter "no choice" 3 'expected a choice, found chance' 's/"choose":"turn"/"choose":"chance"/'
expect "no log where one was named" 3 'nowhere' --from-source-log "$work/nowhere"

# A byte of a page is the guest's, and changes nothing; one of a record's head is the source's.
offset=$((0x$("$MIGREF" dump "$work/r/ch0.fwd" | grep ' ram-zero ' | head -n 1 | cut -d ' ' -f 1)))
printf '\001' | dd of="$work/r/ch0.fwd" bs=1 seek=$((offset + 8)) conv=notrunc status=none
expect "a zero page with another fill" 1 'recorded: 01 .*in ram-zero'

unpack vectors/recordings/7.2-postcopy-preempt-small
sed -i '0,/savevm_section_start ram, section_id/s//savevm_section_start ram: section_id/' "$work/r/src.trace"
expect "a trace that cannot be read" 1 'src.trace: line [0-9]+: expected '

exit "$failed"
