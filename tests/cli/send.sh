#!/bin/bash
# A source of a recording's machine into our own destination in every mode, and into a real QEMU, where the guest then
# runs on. What is recorded of it replays; bad input and bad surroundings are one clear line each.
set -u
export LC_ALL=C
. tests/cli/live.bash

machine=vectors/recordings/7.2-precopy-xbzrle-small
there=(--connect "unix:$work/there")
send=("$MIGREF" send --time-limit 30 --devices "$machine")

# ---- What is said on the command line

expect 2 'expected --connect ADDRESS and --devices RECORDING' "$MIGREF" send "${there[@]}"
expect 2 'expected --connect ADDRESS and --devices RECORDING' "$MIGREF" send --devices "$machine"
expect 2 'expected unix:PATH or tcp:HOST:PORT' "${send[@]}" --connect fd:3
expect 2 '--as: expected a QEMU release' "${send[@]}" "${there[@]}" --as 1.0
expect 2 'QEMU has no capability postcopy' "${send[@]}" "${there[@]}" --capabilities postcopy
expect 2 'without a real guest does not have x-colo' "${send[@]}" "${there[@]}" --capabilities x-colo
expect 2 'QEMU 7.2 refuses: CAP-002: .*postcopy-ram' "${send[@]}" "${there[@]}" --capabilities postcopy-preempt
expect 2 'QEMU 6.2 refuses: CAP-001' "${send[@]}" "${there[@]}" --as 6.2 --capabilities postcopy-ram,postcopy-preempt
expect 2 '--parameter: expected NAME=VALUE' "${send[@]}" "${there[@]}" --parameter max-bandwidth
expect 2 'QEMU 7.2 refuses: CAP-006' "${send[@]}" "${there[@]}" --parameter max-speed=3
expect 2 'QEMU 7.2 refuses: CAP-006' "${send[@]}" "${there[@]}" --multifd-channels 0
expect 2 'QEMU 7.2 refuses: CAP-006' "${send[@]}" "${there[@]}" --capabilities multifd --multifd-compression lzo
expect 2 'a switch to postcopy needs' "${send[@]}" "${there[@]}" --switch-after 10
expect 2 '--stale: expected 0 to 1000, found 1001' "${send[@]}" "${there[@]}" --stale 1001
expect 2 '--rewrites: expected 1 to 255, found 0' "${send[@]}" "${there[@]}" --rewrites 0
expect 2 '--cut: expected CHANNEL:DIRECTION:BYTE' "${send[@]}" "${there[@]}" --cut 0:up:1
expect 2 '--idle: expected seconds' "${send[@]}" "${there[@]}" --idle 0
expect 2 'expected no argument' "${send[@]}" "${there[@]}" more

# ---- Bad input and surroundings

expect 3 'nothing: No such file' "$MIGREF" send "${there[@]}" --devices "$work/nothing"
expect 3 'expected a recording, which is a directory' "$MIGREF" send "${there[@]}" --devices README.md
expect 3 'found no devices' "$MIGREF" send "${there[@]}" --devices vectors/recordings/6.2-to-9.2-multifd-hangs
head -c 8192 /dev/zero >"$work/short"
expect 3 'expected 4194304 bytes, as block mem has, found 8192' "${send[@]}" "${there[@]}" --ram "$work/short"
expect 3 'nothing: No such file' "${send[@]}" "${there[@]}" --ram "$work/nothing"
expect 3 'cannot connect: No such file' "${send[@]}" "${there[@]}" -o "$work/none"
[ -e "$work/none" ] && complain "a directory is left where nothing was sent"
expect 3 'tcp:127.0.0.1:1: cannot connect: Connection refused' "${send[@]}" --connect tcp:127.0.0.1:1
mkdir "$work/full"
touch "$work/full/file"
expect 3 'new or empty' "${send[@]}" "${there[@]}" -o "$work/full"
cp -r "$machine" "$work/half"
zstd -qdc "$machine/ch0.fwd.zst" | head -c 700000 | zstd -qf -o "$work/half/ch0.fwd.zst"
expect 3 'found (no devices|one that broke off)' "$MIGREF" send "${there[@]}" --devices "$work/half"

# ---- Into our own destination

zstd -qdc "$machine/source.ram.zst" >"$work/ram"

# NAME OPTIONS...: a destination; its options are in the array `receive`.
start_receive() {
	"$MIGREF" receive --source-qemu 7.2 --listen "unix:$work/$1" --ram "$work/$1.ram" --json --time-limit 30 \
		"${receive[@]}" >"$work/$1.log" 2>"$work/$1.err" &
	receiver=$!
	processes+=("$receiver")
	await listening "$work/$1.log"
}

# NAME OPTIONS...: the machine arrives, what is recorded holds, and the summary tells of it.
arrives() {
	local name=$1
	shift
	start_receive "$name"
	timeout 40 "${send[@]}" --connect "unix:$work/$name" -o "$work/$name.rec" --json "$@" \
		>"$work/$name.out" 2>"$work/$name.said" || complain "$name: $(cat "$work/$name.said")"
	wait "$receiver" || complain "$name: the destination: $(cat "$work/$name.err")"
	cmp "$work/ram" "$work/$name.ram" || complain "$name: other memory arrived"
	jq -e '.ended == "completed" and .status == "completed" and .pages >= 1154 and .bytes > 600000' "$work/$name.out" \
		>/dev/null || complain "$name: $(cat "$work/$name.out")"
	"$MIGREF" check "$work/$name.rec" >"$work/out" 2>&1 || complain "$name: check: $(tail -n 3 "$work/out")"
	"$MIGREF" replay "$work/$name.rec" >"$work/out" 2>&1 || complain "$name: replay: $(cat "$work/out")"
	grep -q '^  source .* identical' "$work/out" || complain "$name: no source was replayed: $(cat "$work/out")"
}

# NAME FILTER: the summary of a migration says so.
told() {
	jq -e "$2" "$work/$1.out" >/dev/null || complain "$1: expected $2, found $(cat "$work/$1.out")"
}

stale=(--stale 300 --rewrites 2 --max-bandwidth 8000000 --downtime-limit 5)
postcopy=(--stale 300 --max-bandwidth 2000000 --max-postcopy-bandwidth 3000000 --switch-passes 0)

receive=()
arrives precopy
arrives return-path --capabilities return-path --ram "$work/ram"
told return-path '.channels[0].return == 16'
arrives passes --capabilities return-path "${stale[@]}"
told passes '.passes > 2 and .pages > 1400'
receive=(--capabilities xbzrle)
arrives xbzrle --capabilities xbzrle,return-path "${stale[@]}"
receive=(--capabilities postcopy-ram)
arrives postcopy --capabilities postcopy-ram "${postcopy[@]}"
told postcopy '.requests > 0 and .recoveries == 0'
receive=(--capabilities postcopy-ram,postcopy-preempt)
arrives preempt --capabilities postcopy-ram,postcopy-preempt "${postcopy[@]}"
told preempt '[.channels[].role] == ["main", "preempt"]'
for method in none zlib zstd; do
	receive=(--capabilities multifd --multifd-channels 3 --multifd-compression $method)
	arrives multifd-$method --capabilities multifd,return-path --multifd-channels 3 --multifd-compression $method \
		"${stale[@]}"
	told multifd-$method '[.channels[].role] == ["main", "multifd", "multifd", "multifd"]'
done

# A break that never comes is told.
receive=()
start_receive no-cut
expect 1 '--cut: the byte never came' "${send[@]}" --connect "unix:$work/no-cut" --cut 0:fwd:99999999
wait "$receiver" || complain "no-cut: the destination: $(cat "$work/no-cut.err")"

# A break in both directions; the destination listens on at its address.
receive=(--capabilities postcopy-ram)
for cut in 0:fwd:500000 0:ret:40; do
	arrives "cut-${cut//:/-}" --capabilities postcopy-ram "${postcopy[@]}" --cut $cut --recover-after 50
	told "cut-${cut//:/-}" '.recoveries == 1 and .cut and ([.channels[].role] == ["main", "recovery"])'
done

# ---- Others that misbehave: one line, and what is recorded holds

# Takes connections at unix:PATH; FIRST: so many bytes are read, then SECOND is sent back, and it closes or waits.
cat >"$work/serve.pl" <<'END'
use IO::Socket::UNIX;
my ($path, $first, $second, $waits) = @ARGV;
my $listener = IO::Socket::UNIX->new(Local => $path, Listen => 1) or die "$path: $!";
my $end = $listener->accept;
my $bytes;
while ($first > 0 and my $got = sysread $end, $bytes, $first > 65536 ? 65536 : $first) {
	$first -= $got;
}
syswrite $end, pack('H*', $second);
sleep 60 if $waits;
END

# NAME STATUS PATTERN FIRST SECOND WAITS OPTIONS...
breaks() {
	local name=$1 status=$2 pattern=$3 first=$4 second=$5 waits=$6
	shift 6
	perl "$work/serve.pl" "$work/$name" "$first" "$second" "$waits" 2>/dev/null &
	processes+=($!)
	for _ in $(seq 200); do
		[ -S "$work/$name" ] && break
		sleep 0.02
	done
	expect "$status" "$pattern" "${send[@]}" --connect "unix:$work/$name" -o "$work/$name.rec" "$@"
	[ "$(wc -l <"$work/err")" -eq 1 ] || complain "$name: more than one line: $(cat "$work/err")"
	"$MIGREF" replay "$work/$name.rec" >"$work/out" 2>&1
	grep -q '^  source .* identical' "$work/out" || complain "$name: the source is not replayed: $(cat "$work/out")"
}

breaks closes 1 'the destination closed ch0 \(main\) in status active' 100000 '' ''
breaks closes-return 1 'the destination closed ch0' 100000 '' '' --capabilities return-path
breaks fails 1 'return path of ch0 at 0x0: .*SHUT' 100000 0001000400000001 '' --capabilities return-path
breaks nonsense 1 'return path of ch0 at 0x0' 100000 7f7f7f7f 1 --capabilities return-path
breaks silent 1 'sent nothing for 0.2 s' 100000000 '' 1 --capabilities return-path --idle 0.2
breaks stalls 1 'took nothing for 0.2 s: [0-9]+ bytes wait' 0 '' 1 --idle 0.2
breaks slow 1 'no end within the time limit of 0.3 s' 100000000 '' 1 --max-bandwidth 100000 --time-limit 0.3

# somebody ends it
perl "$work/serve.pl" "$work/told" 0 '' 1 2>/dev/null &
processes+=($!)
for _ in $(seq 200); do
	[ -S "$work/told" ] && break
	sleep 0.02
done
expect 1 'interrupted in status active, with [0-9]+ pages not yet sent' \
	timeout --preserve-status -s INT 0.5 "${send[@]}" --connect "unix:$work/told" -o "$work/told.rec"
"$MIGREF" replay "$work/told.rec" 2>&1 | grep -q '^  source .* identical' || complain "told: the source is not replayed"

# a disk that is full: the machine arrives all the same
mkdir "$work/disk"
if mount -t tmpfs -o size=64k none "$work/disk" 2>/dev/null; then
	receive=()
	start_receive disk-full
	expect 3 'No space left' "${send[@]}" --connect "unix:$work/disk-full" -o "$work/disk/rec"
	wait "$receiver"
	cmp "$work/ram" "$work/disk-full.ram" || complain "a full disk keeps memory from arriving"
	[ -e "$work/disk/rec/manifest.json" ] && complain "a recording that is not whole has a manifest"
fi

# ---- Into a real QEMU

if ! command -v qemu-system-x86_64 >/dev/null; then
	[ $failed -eq 0 ] && echo "no qemu-system-x86_64" && exit 77
	exit 1
fi

# Faults of a file are only caught where that lies in memory.
memory=$(mktemp -d -p /dev/shm)
leftovers+=("$memory")
"$MIGREF" guest -o "$work/guest.img" --pages 512 --vcpu all:random

# NAME ARGUMENTS...: a guest with its memory in the file $memory/NAME.mem, its monitor at NAME.in.
start_qemu() {
	local name=$1
	shift
	mkfifo "$work/$name.in"
	qemu-system-x86_64 -accel tcg -machine pc-i440fx-7.2,memory-backend=mem -m 16 -nodefaults -vga none \
		-display none -monitor stdio -bios "$work/guest.img" \
		-object "memory-backend-file,id=mem,share=on,mem-path=$memory/$name.mem,size=16M" "$@" \
		<"$work/$name.in" >"$work/$name.out" 2>&1 &
	processes+=($!)
	exec {to}>"$work/$name.in"
}

# NAME CAPABILITIES: a QEMU listens there; what to say to it is in `to`.
start_destination() {
	start_qemu "$1" -incoming defer
	for capability in ${2//,/ }; do
		echo "migrate_set_capability $capability on" >&"$to"
	done
	echo "migrate_incoming unix:$work/$1.socket" >&"$to"
	for _ in $(seq 200); do
		[ -S "$work/$1.socket" ] && break
		sleep 0.02
	done
}

# The guest has touched memory, and stands: under TCG, QEMU before 9.0 loses writes of precopy.
start_qemu source
source=$to
for _ in $(seq 200); do
	"$MIGREF" guest "$memory/source.mem" 2>/dev/null | grep -q '^running' && break
	sleep 0.05
done
echo stop >&"$source"
start_destination first ''
first=$to
"$MIGREF" tap --listen "unix:$work/tap" --connect "unix:$work/first.socket" -o "$work/guest" --source-qemu 7.2 \
	--destination-qemu 7.2 --idle 0.2 --time-limit 30 >"$work/tap.log" 2>&1 &
tapper=$!
processes+=("$tapper")
await listening "$work/tap.log"
echo "migrate -d unix:$work/tap" >&"$source"
wait "$tapper" || complain "tap: $(cat "$work/tap.log")"
echo quit | tee "/dev/fd/$source" >"/dev/fd/$first"

# FILE: touches of the guest's first vCPU; nothing if memory is not as predicted.
touches() {
	"$MIGREF" guest "$1" 2>/dev/null >"$work/judged" && sed -n 's/^vCPU 0: .* \([0-9]*\) touches.*/\1/p' "$work/judged"
}

# NAME CAPABILITIES OPTIONS...: the guest arrives there, and goes on.
runs_on() {
	local name=$1 capabilities=$2 before after
	shift 2
	start_destination "$name" "$capabilities"
	timeout 40 "$MIGREF" send --devices "$work/guest" --connect "unix:$work/$name.socket" --time-limit 30 \
		--capabilities "$capabilities" "$@" >"$work/out" 2>&1 ||
		complain "$name: $(cat "$work/out"; tail -n 3 "$work/$name.out" | tail -c 300)"
	echo stop >&"$to"
	await 'stop' "$work/$name.out"
	sleep 0.3
	before=$(touches "$memory/$name.mem")
	echo cont >&"$to"
	sleep 0.3
	echo stop >&"$to"
	sleep 0.3
	after=$(touches "$memory/$name.mem")
	[ -n "$before" ] || complain "$name: memory is not as predicted at first: $(cat "$work/judged")"
	[ -n "$after" ] || complain "$name: memory is not as predicted: $(cat "$work/judged")"
	[ "${after:-0}" -gt "${before:-0}" ] || complain "$name: the guest stands at $before touches"
	echo quit >&"$to"
}

runs_on precopy-guest return-path --stale 300
runs_on postcopy-guest postcopy-ram,postcopy-preempt --switch-passes 0 --stale 300

exit $failed
