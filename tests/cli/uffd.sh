#!/bin/bash
# Real memory behind userfaultfd: runs replay bit for bit, an end that is killed is told by the other, bad surroundings
# are one clear line each.
set -u
export LC_ALL=C
failed=0
work=$(mktemp -d)
trap 'umount "$work/disk" 2>/dev/null; rm -rf "$work"' EXIT

complain() {
	echo "$1"
	failed=1
}

# STATUS PATTERN COMMAND...: ends so, and says so on standard error.
expect() {
	local status=$1 pattern=$2
	shift 2
	"$@" >"$work/out" 2>"$work/err"
	local got=$?
	[ $got -eq "$status" ] || complain "$*: expected status $status, found $got: $(cat "$work/err")"
	grep -qE -- "$pattern" "$work/err" || complain "$*: expected $pattern, found: $(cat "$work/err")"
}

# ---- What is said on the command line

expect 2 '--memory: expected uffd or uffd-shared, found ram' "$MIGREF" sim sim/scenarios/postcopy.ini --memory ram
expect 2 '--seeds goes with neither' "$MIGREF" sim --seeds 1..2 --memory uffd
expect 2 '--shared-client goes with --memory' "$MIGREF" sim sim/scenarios/postcopy.ini --shared-client
expect 2 'no argument' "$MIGREF" host here

if ! "$MIGREF" host >"$work/host"; then
	grep -A 1 '^  no   missing pages' "$work/host" | sed -n 2p
	[ $failed -eq 0 ] && exit 77
	exit 1
fi
"$MIGREF" host --json | jq -e '.anonymous.postcopy == true' >/dev/null || complain "host --json: says something else"

# ---- Runs, each replayed

MIGREF=$MIGREF tools/uffd-campaign.sh 1 20 >"$work/campaign" || complain "$(cat "$work/campaign")"
tail -n 1 "$work/campaign"

# ---- An end is killed

cat >"$work/slow.ini" <<'END'
[guest]
vcpus = 2

[block mem]
size = 64M

[workload load]
vcpus = 0-1
pattern = random
interval = 200us
writes = 500

[migration]
capabilities = postcopy-ram, return-path
max-bandwidth = unlimited
max-postcopy-bandwidth = 4MiB
switch-passes = 0
downtime-limit = 1ms
time-limit = 60s
END

# The processes of a run, in the order in which they began: its own, the destination, the source.
kill_end() {
	local run
	"$MIGREF" sim "$work/slow.ini" --memory uffd -o "$work/killed" >"$work/out" 2>"$work/err" &
	run=$!
	sleep 2
	kill -9 "$(pgrep -P $run | sed -n "$1p")"
	wait $run
	[ $? -eq 3 ] || complain "an end was killed: expected status 3"
	[ ! -e "$work/killed/manifest.json" ] || complain "an end was killed: expected no manifest, found one"
	rm -rf "$work/killed"
}

kill_end 1
grep -q "source: the destination's process is gone in status postcopy-.*the guest ran there and is lost" "$work/err" ||
	complain "the destination was killed: $(cat "$work/err")"
kill_end 2
grep -q 'source: its process was ended by signal 9' "$work/err" || complain "the source was killed: $(cat "$work/err")"
grep -qE "destination: (the source's process is gone|.*expected .*found)" "$work/err" ||
	complain "the source was killed, the destination says: $(cat "$work/err")"

# ---- What cannot be had

variant() {
	sed "$1" "$work/slow.ini" >"$work/variant.ini"
}

variant 's/^size = 64M/size = 64M\npage-size = 8K/'
expect 3 'block mem.*expected pages of 4 KiB, 2 MiB or 1 GiB' "$MIGREF" sim "$work/variant.ini" --memory uffd
# The pool is everybody's: more pages than it can have, instead of none in it.
pool=$(cat /proc/sys/vm/nr_hugepages 2>/dev/null)
variant "s/^size = 64M/size = $(((${pool:-0} + 1000) * 2))M\npage-size = 2M/"
expect 3 'block mem.*huge pages' "$MIGREF" sim "$work/variant.ini" --memory uffd
variant 's/^size = 64M/size = 64M/;$a\\n[fault wire]\nkind = stall\nat = 5ms'
expect 3 'fault wire.*expected a cut at a byte' "$MIGREF" sim "$work/variant.ini" --memory uffd
variant '$a\\n[choices]\nturn = 5'
expect 3 'choices.*expected none' "$MIGREF" sim "$work/variant.ini" --memory uffd
expect 3 'block mem.*expected shared memory for a client' \
	"$MIGREF" sim "$work/slow.ini" --memory uffd --shared-client
few_files() (
	ulimit -n 8
	"$MIGREF" sim "$work/slow.ini" --memory uffd
)
expect 3 'Too many open files' few_files
few_pages() (
	ulimit -v 100000
	"$MIGREF" sim "$work/slow.ini" --memory uffd
)
# A sanitizer takes more address space than that for itself.
[ -n "${SANITIZED:-}" ] || expect 3 'memory' few_pages
mkdir "$work/there" "$work/disk"
touch "$work/there/kept"
expect 3 'there: ' "$MIGREF" sim "$work/slow.ini" --memory uffd -o "$work/there"
if mount -t tmpfs -o size=1M none "$work/disk" 2>/dev/null; then
	variant 's/4MiB/unlimited/'
	expect 3 'No space left' "$MIGREF" sim "$work/variant.ini" --memory uffd -o "$work/disk/r"
	[ ! -e "$work/disk/r/manifest.json" ] || complain "a full disk: expected no manifest, found one"
fi
exit $failed
