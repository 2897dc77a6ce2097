#!/bin/bash
# The simulator has postcopy's latency by its causes: a channel for what is asked for takes more than nine tenths of it.
set -u
export LC_ALL=C
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

complain() {
	echo "$1"
	failed=1
}

# SCENARIO [SED-COMMAND]: the mean latency of a fault in whole ns, of a guest of 1 GiB.
mean() {
	sed -e 's/^size = [^ ]*/size = 1G/' -e "${2:-}" "sim/scenarios/$1.ini" >"$work/$1.ini"
	"$MIGREF" sim "$work/$1.ini" --json >"$work/out" || complain "$1: fails: $(cat "$work/out")"
	jq 'if .outcome == "completed" and .faults.resolved > 50
	    then .faults.latency_sum / .faults.resolved | floor else 0 end' "$work/out"
}

command -v jq >/dev/null || exit 77
plain=$(mean latency-4k)
preempt=$(mean latency-4k-preempt)
[ "$plain" -gt 0 ] && [ "$preempt" -gt 0 ] || complain "expected migrations with faults, found none"
[ "$plain" -gt $((10 * preempt)) ] ||
	complain "expected more than tenfold, found $plain ns of plain postcopy and $preempt ns with preempt"
# 7.1's only thread sleeps while a buffer is full; a thread for urgent pages does not.
later=$(mean latency-4k-preempt 's/^\(source\|destination\) = [^ ]*/\1 = 8.2/')
[ "$later" -gt 0 ] && [ "$preempt" -gt $((2 * later)) ] ||
	complain "expected that 8.2 takes less than half of 7.1's time, found $later of $preempt ns"
# Buffers are the cause: with small ones plain postcopy is as fast.
small=$(mean latency-4k 's/^\(send\|receive\)-buffer = [^ ]*/\1-buffer = 256K/')
[ "$small" -gt 0 ] && [ "$small" -lt $((plain / 10)) ] ||
	complain "expected a tenth with buffers of 256K, found $small of $plain ns"
exit $failed
