#!/bin/bash
# Recordings of migrations that broke and recovered: those of migref tap have no traces, so that what both ends did is
# known by the bytes alone. In each of them something that one end had sent never crossed the tap: pages, requests, a PONG.
set -u
export LC_ALL=C
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# RECORDING PATTERN...: the replay holds, and says so.
expect() {
	local recording=tests/replay/tapped/$1 status
	shift
	timeout 60 "$MIGREF" replay "$recording" >"$work/out" 2>&1
	status=$?
	[ $status -eq 0 ] || { echo "$recording: status $status: $(cat "$work/out")" && failed=1; }
	for pattern in "$@"; do
		grep -qE -- "$pattern" "$work/out" || { echo "$recording: expected $pattern: $(cat "$work/out")" && failed=1; }
	done
}

# the PONG behind POSTCOPY_RUN was lost: the destination pauses all the same
expect preempt-cut 'ch0.ret +identical +24 bytes; cut: [0-9]+ more were sent' 'source  ch2.fwd   recovery identical'

# a request was passed on in part, others not at all; urgent pages went out behind the last page of the main channel,
# and the source answered into the void before it noticed
expect preempt-return-cut 'ch0.ret +identical +128 bytes; cut: [0-9]+ more were sent' \
	'return path  ch2.ret       identical' 'source  ch1.fwd   preempt  identical' 'source  ch3.fwd   preempt  identical'

# the same of plain postcopy
expect postcopy-return-cut 'ch0.ret +identical +111 bytes; cut: [0-9]+ more were sent' \
	'source  ch1.fwd   recovery identical'

# with traces, as migref record makes them: a request was cut inside its bytes, and was made before the pause
expect recorded-return-cut 'return path  ch0.ret +identical +129 bytes; cut: 3 more were sent' 'actions  identical' \
	'source  ch1.fwd   recovery identical'
expect recorded-preempt-cut 'return path  ch0.ret +identical +113 bytes; cut: 3 more were sent' 'actions  identical' \
	'source  ch3.fwd   preempt  identical'

# several vCPUs: behind the end of the recorded bytes the source answered requests with zero pages, which only its trace
# tells; none of them waits when it recovers
expect recorded-answers-lost 'actions  identical' 'source  ch2.fwd   recovery identical' \
	'source  ch3.fwd   preempt  identical'

# a request that waited when the connection broke is answered behind the recovery, and asked for once more (REC-008)
expect recorded-answers-kept 'source  ch2.fwd   recovery identical' 'source  ch3.fwd   preempt  identical'

# a fault that was taken before the pause, though its line stands behind it; its request failed, and was made anew (REC-003)
expect recorded-late-fault 'return path  ch1.ret +identical' 'actions  identical' 'source  ch1.fwd   recovery identical'

# one that the handler took while the return path was given up, and slept with: put into a trace, with a page that the
# preempt loader tells late
cp -r tests/replay/tapped/recorded-answers-kept "$work/kept"
zstd -dq --rm "$work/kept/dst.trace.zst"
awk '
	{ line[NR] = $0; who[NR] = $0; sub(/@.*/, "", who[NR]) }
	/_fault_thread_request / && !fault { fault = $0; sub(/^[^:]*:/, "", fault); handler = who[NR] }
	/:postcopy_pause_fault_thread / && !parked { parked = NR }
	/:postcopy_pause_fast_load / && !fast { fast = NR }
	/:postcopy_pause_incoming $/ && !pause { pause = NR; time = $0; sub(/^[^@]*@/, "", time); sub(/:.*/, "", time) }
	END {
		for (placed = fast - 1; who[placed] != who[fast]; placed--)
			;
		for (i = 1; i <= NR; i++) {
			if (i != parked && i != placed && i != fast)
				print line[i]
			if (i == pause) {
				print handler "@" time ":" fault
				print handler "@" time ":postcopy_pause_fault_thread "
				print line[placed]
				print line[fast]
			}
		}
	}' "$work/kept/dst.trace" >"$work/trace"
mv "$work/trace" "$work/kept/dst.trace"
timeout 60 "$MIGREF" replay "$work/kept" >"$work/out" 2>&1 || { echo "a kept fault: $(cat "$work/out")" && failed=1; }

# a request failed before the pause, and its page came while the handler slept: it is never repeated (REC-009)
expect recorded-refused 'return path  ch1.ret +identical' 'actions  identical'

# one thread sends all (7.2 with preempt): several urgent pages of zeros in a row, whose place only the trace tells
expect recorded-urgent-zero 'source  ch0.fwd   main     identical' 'source  ch1.fwd   preempt  identical'

# a huge page that is interrupted three times: for another one, for nothing, and for itself (SRC-015); also by its bytes
expect recorded-broken-huge 'source  ch0.fwd   main     identical' 'source  ch1.fwd   preempt  identical'
cp -r tests/replay/tapped/recorded-broken-huge "$work/untraced"
rm "$work"/untraced/*.trace.zst
timeout 60 "$MIGREF" replay "$work/untraced" >"$work/out" 2>&1 || { echo "untraced: $(cat "$work/out")" && failed=1; }

# precopy that broke within its list of blocks, within a word, within a page (STR-026, PC-044)
expect recorded-precopy-cut-list 'actions  identical' 'source  not compared: the main channel ends within its list'
expect recorded-precopy-cut-word 'actions  identical' 'source  ch0.fwd   main     identical'
expect recorded-precopy-cut-page 'actions  identical' 'source  ch0.fwd   main     identical'

# a stream that was cut behind its recording: what its source would have gone on with is not sought without end
cp -r vectors/recordings/9.2-postcopy "$work/cut"
[ -f "$work/cut/ch0.fwd.zst" ] && zstd -dq --rm "$work/cut/ch0.fwd.zst"
truncate -s $(($(stat -c %s "$work/cut/ch0.fwd") * 4 / 10)) "$work/cut/ch0.fwd"
timeout 15 "$MIGREF" replay "$work/cut" >"$work/out" 2>&1
[ $? -lt 124 ] || { echo "a cut stream: its replay does not end" && failed=1; }

exit $failed
