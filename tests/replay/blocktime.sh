#!/bin/bash
# How long vCPUs waited, as the machine counts it by the derived log, is what QEMU told; what is altered is found.
set -u
export LC_ALL=C
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/replay/altered.bash

folders=(vectors/recordings)
[ -d ../shared/recordings ] && folders+=(../shared/recordings)
count=0
exact=('.destination["postcopy-latency"]' '.destination["postcopy-non-vcpu-latency"]'
	'.destination["postcopy-vcpu-blocktime"][0]' '.destination["postcopy-vcpu-latency"][0]'
	'.destination["postcopy-latency-dist"][0]' '.destination["postcopy-latency-dist"][23]')

alter() { # WHAT FILTER TEXT: the manifest, changed by jq
	cp "$work/manifest" "$work/r/manifest.json"
	jq "$2" "$work/manifest" >"$work/r/manifest.json"
	expect "$1" 1 "$3"
	cp "$work/manifest" "$work/r/manifest.json"
}

for folder in "${folders[@]}"; do
	for recording in "$folder"/*/; do
		recording=${recording%/}
		manifest=$recording/manifest.json
		[ "$(jq '.destination["postcopy-blocktime"]?' "$manifest" 2>/dev/null || echo null)" != null ] || continue
		count=$((count + 1))
		unpack "$recording"
		cp "$work/r/manifest.json" "$work/manifest"
		expect "$recording" 0 '^  blocktime  (identical|holds) ' --log "$work/log"
		expect "$recording by its log" 0 '^  blocktime  (identical|holds) ' --from-log "$work/log"
		alter "$recording, another total" '.destination["postcopy-blocktime"] += 1000' \
			'^  blocktime  DIFFERS    postcopy-blocktime: QEMU told '
		alter "$recording, one vCPU more" '.destination["postcopy-vcpu-blocktime"] += [0]' \
			'^  blocktime  DIFFERS    postcopy-vcpu-blocktime: expected [0-9]+ figures'
		alter "$recording, no number" '.destination["postcopy-vcpu-blocktime"][0] = "1"' \
			'^  blocktime  DIFFERS    postcopy-vcpu-blocktime\[0\]: expected a number'
		if jq -e '.destination["postcopy-latency"]' "$work/manifest" >/dev/null; then
			for figure in "${exact[@]}"; do
				alter "$recording, $figure" "$figure += 1" '^  blocktime  DIFFERS    postcopy-'
			done
			# One that ran on real memory has no trace.
			[ -e "$work/r/dst.trace" ] || continue
			cp "$work/r/dst.trace" "$work/trace"
			sed -i '0,/blocktime_begin/s/\(blocktime_begin addr: [0-9a-fx]*, time: \)[0-9]*/\11/' "$work/r/dst.trace"
			expect "$recording, another time in the trace" 1 '^  blocktime  DIFFERS    postcopy-'
			cp "$work/trace" "$work/r/dst.trace"
		fi
		grep -v '"time"\|"vcpu":' "$work/log" >"$work/timeless"
		expect "$recording without times" 0 '^  blocktime  not compared: the log tells no times' --from-log "$work/timeless"
		rm "$work/r/dst.trace"
		expect "$recording without its trace" 0 '^  blocktime  not compared: the log tells no times'
	done
done
[ "$count" -ge 1 ] || complain "expected a recording with blocktime, found none"
echo "$count recordings with blocktime"

# The last recording once more: a log whose clock or threads are others tells other figures; a vCPU too many is none.
sed 's/"thread":/&1/' "$work/log" | grep -v '"vcpu":' >"$work/altered"
expect 'threads of no vCPU' 1 '^  blocktime  DIFFERS ' --from-log "$work/altered"
sed '/"vcpu":0/s/:0/:4095/' "$work/log" >"$work/altered"
expect 'a vCPU too many' 3 'LOG-002: vcpu: expected 0 to ' --from-log "$work/altered"

# Up to 10.0 a wait begins with the fault. One that led to no request is put into the trace around the end of a wait for
# its page: behind it, where the page is received already, or before it, where the wait ends at once.
unpack vectors/recordings/7.2-postcopy-preempt
trace=$work/r/dst.trace
cp "$trace" "$work/trace"
microseconds() { # SECONDS.MICROSECONDS
	echo $((${1%.*} * 1000000 + 10#${1#*.}))
}

[[ $(grep -m1 'fault_thread_request' "$trace") =~ ^([0-9]+)@([0-9.]+):.*HVA=(0x[0-9a-f]+)\ .*offset=(0x[0-9a-f]+)\ pid=([0-9]+) ]]
thread=${BASH_REMATCH[1]} first=$(microseconds "${BASH_REMATCH[2]}") base=$((BASH_REMATCH[3] - BASH_REMATCH[4]))
pid=${BASH_REMATCH[5]}
[[ $(grep -m1 'blocktime_begin' "$trace") =~ time:\ ([0-9]+), ]]
begin=${BASH_REMATCH[1]}
number=$(grep -n 'mark_postcopy_blocktime_end' "$trace" | sed -n 300p | cut -d: -f1)
[[ $(sed -n "${number}p" "$trace") =~ @([0-9.]+):.*addr:\ (0x[0-9a-f]+),\ dd:\ (0x[0-9a-f]+), ]]
clock=${BASH_REMATCH[1]} address=${BASH_REMATCH[2]} pointer=${BASH_REMATCH[3]}
begin=$((begin + ($(microseconds "$clock") - first) / 1000))

insert() { # LINE TIME RECEIVED: behind which line, what the begin tells
	cat >"$work/lines" <<LINES
$thread@$clock:postcopy_ram_fault_thread_request Request for HVA=$address rb=mem offset=$(printf '0x%x' $((address - base))) pid=$pid
$thread@$clock:mark_postcopy_blocktime_begin addr: $address, dd: $pointer, time: $2, cpu: 0, already_received: $3
LINES
	sed "$1r $work/lines" "$work/trace" >"$trace"
}

faults=$(grep -c 'blocktime_begin' "$work/trace")
insert "$number" 0 1
expect 'a fault behind its mark' 0 "^  blocktime  holds .* $((faults + 1)) faults"
insert "$((number - 1))" "$begin" 0
expect 'a fault before its mark' 0 "^  blocktime  holds .* $((faults + 1)) faults"
insert "$((number - 1))" "$((begin - 200))" 0
expect 'a fault long before its mark' 1 '^  blocktime  DIFFERS    postcopy-blocktime: '
# A thread that is no vCPU's waits for nothing that is counted: the only line about it says so.
pid=1
insert "$number" 0 1
sed -i "s/mark_postcopy_blocktime_begin addr: $address,.*already_received: 1/get_mem_fault_cpu_index cpu: -1, pid: $pid/" "$trace"
expect 'a fault of nobody' 0 "^  blocktime  holds .* $faults faults"

# The end of a wait whose line comes late, behind the next fault of the vCPU: its time says that it was counted before.
awk '
	{ line[NR] = $0 }
	END {
		for (i = 1; i <= NR; i++) {
			if (line[i] ~ /mark_postcopy_blocktime_end .*affected_cpu: [1-9]/)
				for (j = i + 1; j < i + 30 && !moved[j]; j++)
					if (line[j] ~ /fault_thread_request/ && line[j + 1] ~ /mark_postcopy_blocktime_begin/) {
						print line[j]
						print line[j + 1]
						moved[j] = moved[j + 1] = 1
						break
					}
			if (!moved[i])
				print line[i]
		}
	}' "$work/trace" >"$trace"
cmp -s "$work/trace" "$trace" && complain 'late ends of waits: no line was moved'
expect 'late ends of waits' 0 "^  blocktime  holds .* $faults faults"
exit $failed
