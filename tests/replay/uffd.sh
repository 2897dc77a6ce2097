#!/bin/bash
# Recordings hold on real memory: threads raise the recorded faults, the kernel places the pages and is asked what it holds.
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/replay/altered.bash

recordings=vectors/recordings

refused() { # STATUS PATTERN OPTION...
	local wanted=$1 pattern=$2 output status
	shift 2
	output=$("$MIGREF" replay "$@" 2>&1)
	status=$?
	[ "$status" -eq "$wanted" ] || complain "$*: exit status $status instead of $wanted: $output"
	grep -qE -- "$pattern" <<<"$output" || complain "$*: does not say $pattern: $output"
}

refused 2 '--memory: expected simulated, uffd or uffd-shared, found paper' --memory paper $recordings/first-postcopy
refused 2 'requires an argument' $recordings/first-postcopy --memory
refused 2 'logs and --actions are for one RECORDING' --memory uffd --log "$work/log" \
	$recordings/first-postcopy $recordings/first-postcopy
refused 3 'expected a recording directory' --memory uffd Makefile

# The program says itself whether it may catch faults here.
output=$("$MIGREF" replay --memory uffd $recordings/first-postcopy 2>&1)
if [ $? -eq 3 ] && grep -q 'userfaultfd' <<<"$output"; then
	echo "skipped: $output"
	[ "$failed" -eq 0 ] || exit 1
	exit 77
fi

# Everything but the line about the kernel is as with simulated memory, and so are the actions.
holds() { # KIND RECORDING TEXT
	local kind=$1 recording=$2 text=$3 status
	"$MIGREF" replay "$recording" --actions "$work/simulated.actions" >"$work/simulated" 2>&1
	"$MIGREF" replay "$recording" --memory "$kind" --actions "$work/real.actions" >"$work/real" 2>&1
	status=$?
	if [ "$status" -eq 3 ] && grep -q 'not enough huge pages' "$work/real"; then
		echo "skipped: $(cat "$work/real")"
		return
	fi
	[ "$status" -eq 0 ] || complain "$recording, $kind: exit status $status: $(cat "$work/real")"
	grep -qE "^  kernel   $kind  $text" "$work/real" || complain "$recording: no '$text': $(grep kernel "$work/real")"
	grep -v '^  kernel ' "$work/real" | cmp - "$work/simulated" || complain "$recording, $kind: tells something else"
	cmp "$work/simulated.actions" "$work/real.actions" || complain "$recording, $kind: other actions"
}

holds uffd $recordings/first-postcopy '1 faults raised by 1 threads, 0 of pages already there, 3 pages placed by the kernel$'
holds uffd-shared $recordings/7.2-postcopy-preempt-small \
	'13 faults raised by 1 threads, 0 of pages already there, 244 pages placed by the kernel$'
holds uffd $recordings/9.2-postcopy '16 faults raised by 1 threads, .* 512 pages placed'
holds uffd $recordings/11.1-postcopy-recover '16 faults raised by 1 threads, .* 512 pages placed'
holds uffd $recordings/7.2-postcopy-hugetlb '2 faults raised by 2 threads, .* 1103 pages placed'
holds uffd-shared $recordings/7.2-precopy-xbzrle-small '0 faults raised by 0 threads, '

"$MIGREF" replay --json --memory uffd $recordings/first-postcopy |
	jq -es 'map(select(.comparison == "kernel")) == [{recording: "'$recordings'/first-postcopy", comparison: "kernel",
		identical: true, memory: "uffd", raised: 1, threads: 1, repeated: 0, present: 0, placed: 3, unserved: 0, text: ""}]
		and last.identical' >/dev/null || complain "--json does not tell of the kernel"
"$MIGREF" replay --memory simulated $recordings/first-postcopy | grep -q kernel && complain "simulated memory has a kernel"

# A recorded fault once more before its page came: the thread waits already, another one's happens, too. Both go on when
# the page is placed; the machine repeats its request, which was not recorded.
unpack $recordings/first-postcopy
log=$work/r/nondeterminism.jsonl
fault=$(grep -n '"fault":"pc.ram"' "$log" | cut -d: -f1)
[ -n "$fault" ] || complain "first-postcopy has no fault"
again() { # THREAD
	sed "$((fault + 2))a{\"fault\":\"pc.ram\",\"offset\":8192,\"thread\":$1}\n{\"step\":\"fault\",\"count\":2}" "$log" >"$work/log"
}
again 1
expect 'a fault told again' 1 'kernel   uffd  1 faults raised by 1 threads, 1 of threads that waited already, ' \
	--memory uffd --from-log "$work/log"
again 2
expect 'a fault of another thread' 1 'kernel   uffd  2 faults raised by 2 threads, 0 of pages already there, 3 pages placed' \
	--memory uffd --from-log "$work/log"

# A page that never comes, and one that is not the source's.
head -n "$fault" "$log" >"$work/log"
expect 'a log that ends with a fault' 1 'kernel   uffd  1 faults raised by 1 threads, .*; 1 waited in vain$' \
	--memory uffd --from-log "$work/log"
printf '\xff' | dd of="$work/r/source.ram" bs=1 seek=$((0x1800)) conv=notrunc status=none
expect 'a byte of source.ram' 1 '1 pages are not the source.s: 0x1000-0x1fff' --memory uffd
exit $failed
