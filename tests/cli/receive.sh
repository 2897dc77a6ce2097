#!/bin/bash
# The destination of a live migration: recorded streams of real sources leave the memory that extract makes of them; a
# real QEMU migrates into it, in precopy and postcopy. Bad surroundings and sources are one clear line each.
set -u
export LC_ALL=C
. tests/cli/live.bash
recordings=vectors/recordings

at=(--listen "unix:$work/in")

# ---- What is said on the command line

expect 2 'expected --listen ADDRESS' "$MIGREF" receive
expect 2 'expected no argument, found x' "$MIGREF" receive "${at[@]}" x
expect 2 'expected unix:PATH or tcp:HOST:PORT' "$MIGREF" receive --listen fd:3
expect 2 'QEMU has no capability postcopy' "$MIGREF" receive "${at[@]}" --capabilities postcopy
expect 2 'expected none, zlib or zstd, found qpl' "$MIGREF" receive "${at[@]}" --multifd-compression qpl
expect 2 '--multifd-channels: expected a number up to' "$MIGREF" receive "${at[@]}" --multifd-channels 999
expect 2 '--source-qemu: expected a QEMU release' "$MIGREF" receive "${at[@]}" --source-qemu 1
expect 2 '--as: expected a QEMU release' "$MIGREF" receive "${at[@]}" --as 12.0
expect 2 'expected uffd, uffd-shared or simulated, found file' "$MIGREF" receive "${at[@]}" --memory file
expect 2 '--memory-max: expected bytes' "$MIGREF" receive "${at[@]}" --memory-max 4X
expect 2 '--memory-max: expected bytes' "$MIGREF" receive "${at[@]}" --memory-max 99999999T
expect 2 '--cut: expected CHANNEL:DIRECTION:BYTE' "$MIGREF" receive "${at[@]}" --cut 0:up:1
expect 2 '--idle: expected seconds' "$MIGREF" receive "${at[@]}" --idle 0

# ---- Bad surroundings

mkdir "$work/full"
touch "$work/full/file" "$work/used"
expect 3 'new or empty' "$MIGREF" receive "${at[@]}" -o "$work/full"
expect 3 'none/rec: No such file' "$MIGREF" receive "${at[@]}" -o "$work/none/rec"
expect 3 'cannot listen: Address already in use' "$MIGREF" receive --listen "unix:$work/used" -o "$work/rec"
[ -e "$work/rec" ] && complain "a directory is left where nothing is recorded"
expect 3 'nowhere: no such file' "$MIGREF" receive "${at[@]}" --devices "$work/nowhere"
expect 3 'No such file' "$MIGREF" receive "${at[@]}" --scenario "$work/nowhere"
expect 3 'no connection came: the time limit of 0.2 s' "$MIGREF" receive "${at[@]}" --time-limit 0.2
[ -e "$work/in" ] && complain "the socket's path is left"
expect 3 'no connection came' "$MIGREF" receive "${at[@]}" --time-limit 0.2 -o "$work/nobody"
[ -e "$work/nobody" ] && complain "a directory is left where nothing came"
expect 2 'a PORT of at most 65535' "$MIGREF" receive --listen tcp:localhost:99999
perl -e 'use IO::Socket::UNIX; IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die' "$work/gone"
expect 3 'Address already in use; nobody does there: remove it' "$MIGREF" receive --listen "unix:$work/gone"

# ---- Sources by the book: what real ones sent, once more

# Sends files, each on a connection of its own, to unix:PATH; the last argument may be -stall: does not hang up.
cat >"$work/source.pl" <<'END'
use IO::Socket::UNIX;
my ($path, @files) = @ARGV;
open STDERR, '>', '/dev/null';
my $stall = @files && $files[-1] eq '-stall' ? pop @files : 0;
my @ends = map { IO::Socket::UNIX->new(Peer => $path) or die "$path: $!" } @files;
$SIG{PIPE} = 'IGNORE';
for my $i (0 .. $#files) {
	my ($bytes, $at);
	next if fork;
	open my $in, '-|', 'zstd', '-qdcf', $files[$i] or die;
	while (sysread $in, $bytes, 65536) {
		$at = 0;
		while ($at < length $bytes) {
			$at += syswrite($ends[$i], $bytes, length($bytes) - $at, $at) || exit;
		}
	}
	shutdown $ends[$i], 1 unless $stall;
	exit;
}
sleep 10 if $stall;
for my $end (@ends) {
	my $bytes;
	1 while sysread $end, $bytes, 65536;
}
1 while wait > 0;
END

# NAME OPTIONS...: in the background, as a process `receiver`, at NAME.in.
start() {
	local name=$1
	shift
	"$MIGREF" receive --listen "unix:$work/$name.in" --time-limit 30 "$@" >"$work/$name.log" 2>"$work/$name.err" &
	receiver=$!
	processes+=("$receiver")
	await listening "$work/$name.log"
}

# NAME STATUS PATTERN: it ends so.
end() {
	local got
	for _ in $(seq 1000); do
		kill -0 "$receiver" 2>/dev/null || break
		sleep 0.02
	done
	kill -0 "$receiver" 2>/dev/null && complain "$1: it does not end"
	kill -9 "$receiver" 2>/dev/null
	wait "$receiver"
	got=$?
	[ $got -eq "$2" ] || complain "$1: expected status $2, found $got: $(cat "$work/$1.err")"
	[ -z "$3" ] || grep -qE -- "$3" "$work/$1.err" || complain "$1: expected $3, found: $(cat "$work/$1.err")"
	[ "$(wc -l <"$work/$1.err")" -le 1 ] || complain "$1: more than one line: $(cat "$work/$1.err")"
}

# RECORDING OPTIONS...: the memory is what extract makes of it, and the recording made of it replays.
again() {
	local name=$1 file
	local streams=("$recordings/$name"/ch*.fwd*)
	shift
	start "$name" -o "$work/$name" --ram "$work/$name.ram/" "$@"
	perl "$work/source.pl" "$work/$name.in" "${streams[@]}"
	end "$name" 0 ''
	"$MIGREF" extract "$recordings/$name" -o "$work/$name.extract" >"$work/out" 2>&1
	for file in "$work/$name.extract"/*; do
		cmp "$file" "$work/$name.ram/${file##*/}" || complain "$name: other memory in ${file##*/}"
	done
	"$MIGREF" check "$work/$name" >"$work/out" 2>&1 || complain "$name: check: $(tail -n 5 "$work/out")"
	"$MIGREF" replay --json "$work/$name" >"$work/out" 2>&1
	# the source had other requests then
	jq -es 'all(.[] | select(.comparison | test("^source|^all") | not); .identical != false)' "$work/out" \
		>/dev/null || complain "$name: replay: $(cat "$work/out")"
	rm -r "${work:?}/$name" "$work/$name.ram" "$work/$name.extract"
}

again 7.2-precopy-xbzrle-small --source-qemu 7.2
again 7.2-postcopy-preempt-small --source-qemu 7.2 --capabilities postcopy-preempt --memory simulated
again 7.2-multifd-zstd --source-qemu 7.2 --capabilities multifd --multifd-compression zstd

# A release that nobody told is not guessed when the recording replays.
start untold -o "$work/untold"
perl "$work/source.pl" "$work/untold.in" "$recordings/7.2-precopy-xbzrle-small/ch0.fwd.zst"
end untold 0 ''
"$MIGREF" replay "$work/untold" >"$work/out" 2>&1 || complain "untold: replay: $(cat "$work/out")"
grep -q '^  source  not compared: its release is not told' "$work/out" || complain "untold: $(cat "$work/out")"

# ---- Sources that are not

stream=$recordings/7.2-precopy-xbzrle-small/ch0.fwd.zst
head -c 100000 /dev/urandom >"$work/garbage"
start garbage -o "$work/garbage-rec" --json
perl "$work/source.pl" "$work/garbage.in" "$work/garbage"
end garbage 1 'connection 0 offset 0x0: STR-00[12]: expected'
jq -es '.[1].ended == "failed" and .[1].finding.offset == 0 and .[0].listening' "$work/garbage.log" >/dev/null ||
	complain "garbage: $(cat "$work/garbage.log")"
zstd -qdc "$work/garbage-rec/ch0.fwd.zst" | cmp - "$work/garbage" >/dev/null 2>"$work/err"
grep -q 'EOF on' "$work/err" && ! grep -q 'empty' "$work/err" || [ ! -s "$work/err" ] || complain "garbage: $(cat "$work/err")"

zstd -qdc "$stream" | head -c 100000 >"$work/half"
start half
perl "$work/source.pl" "$work/half.in" "$work/half"
end half 1 'STR-026: expected'
# before the blocks were listed there is no machine, and nothing that its replay could differ in
head -c 60 "$work/half" >"$work/early"
start early -o "$work/early-rec" --source-qemu 7.2
perl "$work/source.pl" "$work/early.in" "$work/early"
end early 1 'expected'
"$MIGREF" replay "$work/early-rec" >"$work/out" 2>&1 || complain "early: replay: $(cat "$work/out")"
grep -q '^  actions  not compared: the main channel lists no blocks' "$work/out" || complain "early: $(cat "$work/out")"

start stall --idle 0.3
perl "$work/source.pl" "$work/stall.in" "$work/half" -stall &
processes+=($!)
end stall 3 'nothing came for 0.3 s'
start large --memory-max 1M
perl "$work/source.pl" "$work/large.in" "$stream"
end large 3 'the source has [0-9]* MiB of memory, expected at most 1 MiB: raise --memory-max'
start strange
perl "$work/source.pl" "$work/strange.in" $recordings/7.2-multifd-zstd/ch0.fwd.zst $recordings/7.2-multifd-zstd/ch1.fwd.zst
end strange 1 'say --capabilities multifd'
start few --capabilities multifd --multifd-channels 3 --idle 0.3
perl "$work/source.pl" "$work/few.in" $recordings/7.2-multifd-zstd/ch[012].fwd.zst -stall &
processes+=($!)
end few 3 '2 of 3 multifd channels are there'
start signal
kill -TERM "$receiver"
end signal 3 'no connection came: ended by a signal'

# what is written goes nowhere
start ram --ram /dev/full
perl "$work/source.pl" "$work/ram.in" "$stream"
end ram 3 '/dev/full: '
mkdir "$work/disk"
if mount -t tmpfs -o size=128k none "$work/disk" 2>/dev/null; then
	start small -o "$work/disk/rec"
	perl "$work/source.pl" "$work/small.in" "$stream"
	end small 3 'No space left'
	grep -q completed "$work/small.log" || complain "disk: a full one keeps the migration from completing"
fi

# ---- Real QEMU

if ! command -v qemu-system-x86_64 >/dev/null; then
	[ $failed -eq 0 ] && echo "no qemu-system-x86_64" && exit 77
	exit 1
fi

head -c 4194304 /dev/urandom >"$work/memory"

# NAME CAPABILITIES POSTCOPY OPTIONS...: a guest with known memory migrates, and its recording replays at both ends.
migrate() {
	local name=$1 capabilities=$2 postcopy=$3 to monitor=$work/$1.src
	shift 3
	start "$name" -o "$work/$name" --ram "$work/$name.ram" --source-qemu 7.2 --capabilities "$capabilities" --json "$@"
	mkfifo "$monitor.in"
	qemu-system-x86_64 -accel tcg -machine pc-i440fx-7.2 -m 32 -nodefaults -display none -monitor stdio -S \
		-device "loader,file=$work/memory,addr=0x800000" <"$monitor.in" >"$monitor.out" 2>&1 &
	processes+=($!)
	exec {to}>"$monitor.in"
	for capability in ${capabilities//,/ }; do
		echo "migrate_set_capability $capability on" >&"$to"
	done
	[ "$postcopy" = yes ] && echo 'migrate_set_parameter max-bandwidth 4M' >&"$to"
	echo "migrate -d unix:$work/$name.in" >&"$to"
	[ "$postcopy" = yes ] && echo 'migrate_start_postcopy' >&"$to"
	for _ in $(seq 100); do
		echo 'info migrate' >&"$to"
		sleep 0.1
		grep -aqE 'Migration status: (completed|failed)' "$monitor.out" && break
	done
	grep -aq 'Migration status: completed' "$monitor.out" || complain "$name: $(tail -n 20 "$monitor.out")"
	echo quit >&"$to"
	exec {to}>&-
	end "$name" 0 ''
	tail -c +8388609 "$work/$name.ram" | head -c 4194304 | cmp - "$work/memory" || complain "$name: other memory"
	"$MIGREF" check "$work/$name" >"$work/out" 2>&1 || complain "$name: check: $(tail -n 5 "$work/out")"
	"$MIGREF" replay "$work/$name" >"$work/out" 2>&1 || complain "$name: replay: $(cat "$work/out")"
}

migrate precopy return-path no
migrate postcopy postcopy-ram yes
jq -es '.[1] | .mode == "postcopy" and .pages.placed > 0 and .requests.sent > 0 and
	.requests.answered == .requests.pages' "$work/postcopy.log" >/dev/null ||
	complain "postcopy: no page was requested: $(cat "$work/postcopy.log")"

exit $failed
