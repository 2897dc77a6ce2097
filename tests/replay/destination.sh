#!/bin/bash
# Each recording's destination holds, by a log that is derived, written and read; what is altered is found and named.
set -u
export LC_ALL=C
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/replay/altered.bash

# ---- Recordings as they are

folders=(vectors/recordings)
[ -d ../shared/recordings ] && folders+=(../shared/recordings)

# What a recording's replay must say beside its exit status.
compare() { # RECORDING STATUS
	local output status
	output=$("$MIGREF" replay "$1" --log "$work/log" --actions "$work/actions" 2>&1)
	status=$?
	[ "$status" -eq "$2" ] || complain "$1: exit status $status instead of $2: $output"
	if ls "$1"/dst.trace* >/dev/null 2>&1; then
		grep -q '^  actions  identical  [1-9]' <<<"$output" || complain "$1: actions: $output"
	fi
	grep -q '^  return path .*DIFFERS' <<<"$output" && complain "$1: return path: $output"
	ls "$1"/nondeterminism.jsonl* >/dev/null 2>&1 || grep -q '^  log .*; [0-9]* ties settled' <<<"$output" ||
		complain "$1: ties are not told: $output"
	if ls "$1"/ch*.ret* >/dev/null 2>&1; then
		grep -q '^  return path .*identical' <<<"$output" || complain "$1: no return path was compared"
	fi
	"$MIGREF" replay "$1" --from-log "$work/log" --actions "$work/again" >"$work/output" 2>&1
	status=$?
	[ "$status" -eq "$2" ] || complain "$1: exit status $status by the log: $(cat "$work/output")"
	cmp -s "$work/actions" "$work/again" || complain "$1: other actions by the log that was written"
	grep -q '^  log      given ' "$work/output" || complain "$1: the log was not used: $(cat "$work/output")"
}

for folder in "${folders[@]}"; do
	count=0
	for recording in "$folder"/*/; do
		recording=${recording%/}
		ls "$recording"/ch0.fwd* >/dev/null 2>&1 || continue
		count=$((count + 1))
		case $recording in
		*tcg-lost-writes | *multifd-hangs) compare "$recording" 1 ;;
		*) compare "$recording" 0 ;;
		esac
	done
	[ "$count" -ge 10 ] || complain "$folder: only $count recordings"
	echo "$folder: $count destinations replayed"
done

# ---- Without a trace, with a log beside it, strictly

# A log that was derived keeps LOG-001 LOG-002 LOG-003 LOG-004: it is read again, and runs the same machine.
for recording in 7.2-postcopy-preempt-small 11.1-postcopy-recover 9.2-multifd-zero-page; do
	unpack vectors/recordings/$recording
	expect "$recording" 0 'actions  identical' --log "$work/log"
	rm "$work/r/dst.trace"
	expect "$recording without its trace" 0 'actions  not compared: no dst.trace'
	cp "$work/log" "$work/r/nondeterminism.jsonl"
	expect "$recording with its log" 0 'log      given '
	head -n $(($(wc -l <"$work/log") / 2)) "$work/log" >"$work/r/nondeterminism.jsonl"
	expect "$recording with half its log" 1 'the destination did not finish'
done

# Receivers are told apart by what their initial packets say, not by which connection was accepted first.
unpack vectors/recordings/11.1-multifd-zlib
mv "$work/r/ch1.fwd" "$work/r/other"
mv "$work/r/ch2.fwd" "$work/r/ch1.fwd"
mv "$work/r/other" "$work/r/ch2.fwd"
expect "multifd channels in another order" 0 'actions  identical'

unpack vectors/recordings/7.2-postcopy-preempt-small

# A log that says something else than the recording, or does not fit the machine. Its second line opens connection 0.
"$MIGREF" replay "$work/r" --log "$work/log" >/dev/null
alter() { # WHAT STATUS TEXT SCRIPT: the log, changed by sed
	sed "$4" "$work/log" >"$work/altered"
	cmp -s "$work/log" "$work/altered" && complain "$1: the log was not changed"
	expect "$1" "$2" "$3" --from-log "$work/altered"
}
alter "a return path that breaks" 1 'return path  ch0.ret +DIFFERS    byte 0x14: ' '2a {"return-end":0,"bytes":20}'
alter "a connection that breaks" 1 'actions  DIFFERS    dst.trace:[0-9]+: main, ch0.fwd ' \
	'/"open":0/a {"end":0,"bytes":3000,"error":104}'
alter "a message that cannot be sent" 1 'return path  ch0.ret +DIFFERS    byte 0x7: ' \
	'/"open":0/a {"error":"main","errno":5}'
alter "a fault elsewhere" 1 'actions  DIFFERS    dst.trace:[0-9]+: fault' 's/"fault":"mem","offset":/&4096/'
# What is altered breaks LOG-001 LOG-003 LOG-004, each named.
alter "an actor that is not there" 1 'DOES NOT FIT  LOG-003: ' '/"open":0/a {"step":"fault","count":1}'
alter "an actor that does not wait" 1 'DOES NOT FIT  LOG-003: ' '/"open":1/a {"wait":"main"}'
alter "a fault that nobody catches" 1 'DOES NOT FIT  LOG-004: ' '/"open":0/a {"fault":"mem","offset":0,"thread":1}'
alter "another block" 3 'LOG-001' 's/"mem"/"men"/'

expect "no log where one was named" 3 'nowhere' --from-log "$work/nowhere"
"$MIGREF" replay "$work/r" "$work/r" --log "$work/log" >/dev/null 2>&1
[ $? -eq 2 ] || complain 'one log for two recordings is no error of usage'

# ---- Altered at random, yet the same each time

RANDOM=20
recording=vectors/recordings/7.2-postcopy-preempt-small
unpack $recording
mv "$work/r" "$work/whole"
cp -r "$work/whole" "$work/r"

poke() { # FILE OFFSET: the byte there is inverted
	local byte
	byte=$(od -An -tu1 -j "$2" -N 1 "$work/whole/$1" | tr -d ' ')
	cp "$work/whole/$1" "$work/r/$1"
	# shellcheck disable=SC2059
	printf "\\x$(printf %02x $((byte ^ 0xff)))" | dd of="$work/r/$1" bs=1 seek="$2" conv=notrunc status=none
}

pick() { # LIMIT: a number below it
	picked=$(((RANDOM << 15 | RANDOM) % $1))
}

found() { # WHAT TEXT: the replay does not hold, and says where
	local output status
	output=$("$MIGREF" replay "$work/r" 2>&1)
	status=$?
	[ "$status" -eq 1 ] || complain "$1: exit status $status instead of 1: $output"
	grep -qE -- "$2" <<<"$output" || complain "$1: not named ($2): $output"
}

# Bytes that the destination sent: the byte is named, or where the message that it spoils begins.
for _ in {1..20}; do
	pick "$(stat -c %s "$work/whole/ch0.ret")"
	poke ch0.ret $picked
	found "byte $picked of ch0.ret" "return path  ch0.ret +DIFFERS +byte 0x$(printf %x $picked):"
done
cp "$work/whole/ch0.ret" "$work/r"

# What the source sent: headers of sections, commands and pages. Each is a line of the trace, or breaks the stream.
"$MIGREF" dump "$work/whole/ch0.fwd" | grep -E '^[0-9a-f]+ [^ ]+ +(command|section-(start|part|end|full)|ram-page|ram-zero) ' |
	cut -d ' ' -f 1 >"$work/records"
for _ in {1..20}; do
	pick "$(wc -l <"$work/records")"
	offset=$((0x$(sed -n "$((picked + 1))p" "$work/records")))
	poke ch0.fwd $offset
	found "byte $offset of ch0.fwd" '^  (actions  DIFFERS    |return path .*DIFFERS|wire +ch0.fwd .*DIFFERS)'
done
cp "$work/whole/ch0.fwd" "$work/r"

# What the trace says: a character of a line's name, or of an argument that is compared.
names='(loadvm_process_command(_ping)?|migrate_(send_rp_message|set_state)|loadvm_handle_cmd_packaged)'
names+='|(ram_(discard_range|load_complete|load_postcopy_loop)|postcopy_(place_page|page_req_add|page_req_del))'
names+='|(qemu_loadvm_state_section(_command|_startfull)?)'
lines=$(grep -nE ":($names) " "$work/whole/dst.trace" | cut -d : -f 1)
for _ in {1..20}; do
	pick "$(wc -l <<<"$lines")"
	line=$(sed -n "$((picked + 1))p" <<<"$lines")
	text=$(sed -n "${line}p" "$work/whole/dst.trace")
	body=${text#*:}
	pick ${#body}
	character=${body:picked:1}
	other=$(tr '0-9a-z' '1-90b-za' <<<"$character")
	[ "$other" = "$character" ] && other=x
	awk -v line="$line" -v at=$((${#text} - ${#body} + picked)) -v other="$other" '
		NR == line { $0 = substr($0, 1, at) other substr($0, at + 2) }
		{ print }' "$work/whole/dst.trace" >"$work/r/dst.trace"
	cmp -s "$work/whole/dst.trace" "$work/r/dst.trace" && complain "line $line of the trace was not altered at $picked"
	found "line $line of the trace, character $picked, $character as $other" "dst.trace: ?(line )?$line\>"
done
cp "$work/whole/dst.trace" "$work/r"

for _ in {1..20}; do
	pick "$(stat -c %s "$work/whole/source.ram")"
	poke source.ram $picked
	page=$(printf '0x%x' $((picked / 4096 * 4096)))
	found "byte $picked of source.ram" "1 pages are not the source's: $page-"
done

exit $failed
