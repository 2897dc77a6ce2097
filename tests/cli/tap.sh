#!/bin/bash
# The tap between two real QEMUs: what crosses it becomes a recording that is read, checked and replayed; redacted ones
# hold none of the guest's pages. Bad surroundings and ends that go away are one clear line each, and nothing hangs.
set -u
export LC_ALL=C
. tests/cli/live.bash

tap=("$MIGREF" tap --time-limit 30 --idle 0.2)

# ---- What is said on the command line

addresses=(--listen "unix:$work/t" --connect "unix:$work/d")
expect 2 'expected -o DIR' "$MIGREF" tap "${addresses[@]}"
expect 2 'expected --connect ADDRESS' "$MIGREF" tap --listen "unix:$work/t" -o "$work/none"
expect 2 'expected unix:PATH or tcp:HOST:PORT' "$MIGREF" tap --listen fd:3 --connect "unix:$work/d" -o "$work/none"
expect 2 'a HOST with colons in brackets' "$MIGREF" tap --listen tcp:::1:5000 --connect "unix:$work/d" -o "$work/none"
expect 2 'expected tcp:HOST:PORT' "$MIGREF" tap --listen tcp:localhost --connect "unix:$work/d" -o "$work/none"
expect 2 'a path of 1 to 107 bytes, found 200' "$MIGREF" tap --listen "unix:$(printf '%200s' '' | tr ' ' x)" \
	--connect "unix:$work/d" -o "$work/none"
expect 2 '--cut: expected CHANNEL:DIRECTION:BYTE' "$MIGREF" tap "${addresses[@]}" -o "$work/none" --cut 0:up:1
expect 2 '--idle: expected seconds' "$MIGREF" tap "${addresses[@]}" -o "$work/none" --idle 0
expect 2 'no capability postcopy' "$MIGREF" tap "${addresses[@]}" -o "$work/none" --capabilities postcopy
expect 2 '--source-qemu: expected a QEMU release' "$MIGREF" tap "${addresses[@]}" -o "$work/none" --source-qemu 1
expect 3 'the capability compress' "$MIGREF" tap "${addresses[@]}" -o "$work/none" --redact --capabilities compress
[ -e "$work/none" ] && complain "a directory was made where nothing was begun"

# ---- Bad surroundings

mkdir "$work/full"
touch "$work/full/file"
expect 3 'new or empty' "${tap[@]}" "${addresses[@]}" -o "$work/full"
expect 3 'none/rec: No such file' "${tap[@]}" "${addresses[@]}" -o "$work/none/rec"
touch "$work/used"
expect 3 'cannot listen: Address already in use' "${tap[@]}" --listen "unix:$work/used" --connect "unix:$work/d" \
	-o "$work/used-rec"
[ -e "$work/used-rec" ] && complain "a directory is left where nothing is recorded"
expect 3 'no connection came' "${tap[@]}" "${addresses[@]}" -o "$work/nobody" --time-limit 0.2
[ -e "$work/t" ] && complain "the socket's path is left"

# ---- Ends without QEMU: any bytes, passed on as they are

# NAME OPTIONS...: a tap in the background, as a process `tapper`.
start_tap() {
	local name=$1
	shift
	"${tap[@]}" --listen "unix:$work/$name.t" --connect "unix:$work/$name.d" -o "$work/$name" "$@" \
		>"$work/$name.log" 2>"$work/$name.err" &
	tapper=$!
	processes+=("$tapper")
	await 'listening' "$work/$name.log"
}

# NAME STATUS PATTERN: the tap ends so.
end_tap() {
	local got
	for _ in $(seq 500); do
		kill -0 "$tapper" 2>/dev/null || break
		sleep 0.02
	done
	kill -0 "$tapper" 2>/dev/null && complain "$1: the tap does not end"
	kill -9 "$tapper" 2>/dev/null
	wait "$tapper"
	got=$?
	[ $got -eq "$2" ] || complain "$1: expected status $2, found $got: $(cat "$work/$1.err")"
	[ -z "$3" ] || grep -qE -- "$3" "$work/$1.err" || complain "$1: expected $3, found: $(cat "$work/$1.err")"
}

# Takes one connection at unix:PATH. copy FILE and echo: all that comes; head: 100000 bytes; stall: nothing.
cat >"$work/serve.pl" <<'END'
use IO::Socket::UNIX;
my ($path, $how, $file) = @ARGV;
my $listener = IO::Socket::UNIX->new(Local => $path, Listen => 1) or die "$path: $!";
my $end = $listener->accept;
my ($left, $bytes) = (100000, '');
open my $out, '>', $file or die if $how eq 'copy';
sleep 60 if $how eq 'stall';
while ($left > 0 and sysread $end, $bytes, 65536) {
	syswrite $end, $bytes if $how eq 'echo';
	syswrite $out, $bytes if $how eq 'copy';
	$left -= length $bytes if $how eq 'head';
}
syswrite $end, "end\n" if $how eq 'echo';
END

# Sends standard input to unix:PATH or tcp:HOST:PORT, and ends that direction; prints what comes back meanwhile.
cat >"$work/send.pl" <<'END'
use IO::Socket::UNIX;
use IO::Socket::INET;
my ($kind, $rest) = split /:/, $ARGV[0], 2;
my $end = $kind eq 'unix' ? IO::Socket::UNIX->new(Peer => $rest) : IO::Socket::INET->new(PeerAddr => $rest);
my $bytes;
$end or die "$ARGV[0]: $!";
$SIG{PIPE} = 'IGNORE';
if (fork == 0) {
	while (sysread STDIN, $bytes, 65536) {
		syswrite($end, $bytes) or exit;
	}
	shutdown $end, 1;
	exit;
}
syswrite STDOUT, $bytes while sysread $end, $bytes, 65536;
wait;
END

# NAME HOW...: a destination for the tap of this name.
serve() {
	perl "$work/serve.pl" "$work/$1.d" "${@:2}" 2>"$work/$1.serve" &
	processes+=($!)
	for _ in $(seq 100); do
		[ -S "$work/$1.d" ] && break
		sleep 0.02
	done
}

# ADDRESS: a source that sends what is in the file `bytes`.
send() {
	timeout 20 perl "$work/send.pl" "$1" <"$work/bytes" 2>/dev/null
}

head -c 3000000 /dev/urandom >"$work/bytes"

# both directions at once, more than all buffers hold; half-closed
start_tap both
serve both echo
send "unix:$work/both.t" >"$work/back"
end_tap both 0 ''
{ cat "$work/bytes"; echo end; } | cmp - "$work/back" || complain "both: other bytes came back"
zstd -qdc "$work/both/ch0.fwd.zst" | cmp - "$work/bytes" || complain "both: other bytes were recorded"
zstd -qdc "$work/both/ch0.ret.zst" | cmp - "$work/back" || complain "both: other bytes were recorded of the return"
jq -e --arg sum "$(sha256sum <"$work/bytes" | cut -d ' ' -f 1)" '.status == "unknown" and
	.channels[0].role == "main" and .channels[0].forward == {"bytes": 3000000, "sha256": $sum}' \
	"$work/both/manifest.json" >/dev/null || complain "both: $(cat "$work/both/manifest.json")"

# a destination that takes nothing holds its sender up, until somebody ends it
start_tap stalled
serve stalled stall
send "unix:$work/stalled.t" &
processes+=($!)
sleep 0.5
kill -TERM "$tapper"
end_tap stalled 0 ''
[ "$(jq -r .status "$work/stalled/manifest.json")" = cut ] || complain "stalled: not told to be cut"
zstd -qdc "$work/stalled/timeline.jsonl.zst" | grep -q '"ev": "cut"' || complain "stalled: no cut in the timeline"
size=$(zstd -qdc "$work/stalled/ch0.fwd.zst" | wc -c)
[ "$size" -gt 0 ] || complain "stalled: nothing was recorded"
[ "$size" -lt 2000000 ] || complain "stalled: $size bytes were taken for nobody"

# the same until the time limit
start_tap limit --time-limit 2 --json
serve limit stall
send "unix:$work/limit.t" &
processes+=($!)
end_tap limit 3 '1 connections were open at the time limit of 2 s'
jq -es '.[1].ended == "time limit" and .[1].open == 1 and .[0].listening' "$work/limit.log" >/dev/null ||
	complain "limit: $(cat "$work/limit.log")"

# a destination that goes away in the middle, and one that is not there
start_tap gone
serve gone head
send "unix:$work/gone.t"
end_tap gone 0 ''
start_tap absent
send "unix:$work/absent.t"
await 'cannot connect: No such file' "$work/absent.err"
kill "$tapper"
end_tap absent 3 'no connection came'

# by TCP, and cut
start_tap cut --listen tcp:127.0.0.1:0 --cut 0:fwd:1234567
serve cut copy "$work/arrived"
send "$(sed -n 's/listening at //p' "$work/cut.log")"
end_tap cut 0 ''
head -c 1234567 "$work/bytes" | cmp - "$work/arrived" || complain "cut: not at its byte"
zstd -qdc "$work/cut/ch0.fwd.zst" | cmp - "$work/arrived" || complain "cut: other bytes were recorded"

# bytes that are no stream are passed on, and not recorded where they are to be redacted
start_tap wild --redact
serve wild copy "$work/arrived"
send "unix:$work/wild.t"
end_tap wild 3 'ch0.fwd: .*STR-001'
cmp "$work/bytes" "$work/arrived" || complain "wild: other bytes arrived"
[ "$(zstd -qdc "$work/wild/ch0.fwd.zst" | wc -c)" -eq 0 ] || complain "wild: content is recorded"
[ "$(jq -c .status "$work/wild/manifest.json")" = '"cut"' ] || complain "wild: not told to be cut"

# a disk that is full
mkdir "$work/disk"
if mount -t tmpfs -o size=256k none "$work/disk" 2>/dev/null; then
	start_tap small -o "$work/disk/rec"
	serve small copy "$work/arrived"
	send "unix:$work/small.t"
	end_tap small 3 'ch0.fwd.zst: No space left'
	cmp "$work/bytes" "$work/arrived" || complain "disk: a full one keeps bytes from arriving"
	[ "$(wc -l <"$work/small.err")" -eq 1 ] || complain "disk: more than one line: $(cat "$work/small.err")"
fi

# ---- Real QEMU

if ! command -v qemu-system-x86_64 >/dev/null; then
	[ $failed -eq 0 ] && echo "no qemu-system-x86_64" && exit 77
	exit 1
fi

for i in $(seq 1024); do
	head -c 4072 /dev/urandom
	printf 'THIS IS OF THE GUEST %3d' $((i % 1000))
done | head -c 4194304 >"$work/memory"

# NAME END ARGUMENTS...: a small guest with known memory, its monitor at NAME.END.in.
start_qemu() {
	local monitor="$work/$1.$2"
	shift 2
	mkfifo "$monitor.in"
	qemu-system-x86_64 -accel tcg -machine pc-i440fx-7.2 -m 32 -nodefaults -display none -monitor stdio "$@" \
		<"$monitor.in" >"$monitor.out" 2>&1 &
	processes+=($!)
	exec {to}>"$monitor.in"
}

# NAME CAPABILITIES POSTCOPY TAP_OPTIONS...: a migration through the tap.
migrate() {
	local name=$1 capabilities=$2 postcopy=$3 source destination to
	shift 3
	start_qemu "$name" src -device "loader,file=$work/memory,addr=0x800000"
	source=$to
	start_qemu "$name" dst -incoming defer
	destination=$to
	for capability in ${capabilities//,/ }; do
		echo "migrate_set_capability $capability on" | tee "/dev/fd/$source" >"/dev/fd/$destination"
	done
	start_tap "$name" --capabilities "$capabilities" --source-qemu 7.2 --destination-qemu 7.2 "$@"
	echo "migrate_incoming unix:$work/$name.d" >&"$destination"
	for _ in $(seq 100); do
		[ -S "$work/$name.d" ] && break
		sleep 0.05
	done
	[ "$postcopy" = yes ] && echo 'migrate_set_parameter max-bandwidth 4M' >&"$source"
	echo "migrate -d unix:$work/$name.t" >&"$source"
	[ "$postcopy" = yes ] && echo 'migrate_start_postcopy' >&"$source"
	for _ in $(seq 100); do
		echo 'info migrate' >&"$source"
		sleep 0.1
		grep -aqE 'Migration status: (completed|failed)' "$work/$name.src.out" && break
	done
	grep -aq 'Migration status: completed' "$work/$name.src.out" || complain "$name: $(tail -n 20 "$work/$name.src.out")"
	echo quit >&"$source"
	echo quit >&"$destination"
	exec {source}>&- {destination}>&-
	end_tap "$name" 0 ''
}

# NAME: what the recording says is consistent, and the reference does the same.
examine() {
	"$MIGREF" check "$work/$1" >"$work/out" 2>&1 || complain "$1: check: $(tail -n 5 "$work/out")"
	"$MIGREF" replay "$work/$1" >"$work/out" 2>&1 || complain "$1: replay: $(cat "$work/out")"
	"$MIGREF" report "$work/$1" -o "$work/page.html" 2>"$work/err" || complain "$1: report: $(cat "$work/err")"
}

holds_marker() {
	for file in "$work/$1"/ch*.zst; do
		zstd -qdc "$file"
	done | grep -aq 'THIS IS OF THE GUEST'
}

migrate precopy '' no
examine precopy
holds_marker precopy || complain "precopy: the guest's memory is not recorded"

migrate preempt postcopy-ram,postcopy-preempt yes --redact
grep -q "pages are redacted, the state of devices and vCPUs is not" "$work/preempt.log" ||
	complain "preempt: not told what is not redacted: $(cat "$work/preempt.log")"
examine preempt
holds_marker preempt && complain "preempt: the guest's memory is recorded"
[ "$(jq -c '[.channels[].role]' "$work/preempt/manifest.json")" = '["main","preempt"]' ] ||
	complain "preempt: roles: $(cat "$work/preempt/manifest.json")"

exit $failed
