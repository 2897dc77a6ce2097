#!/bin/bash
# Every recording holds: bytes of every channel written again, memory rebuilt. Two are known not to, and must say why.
set -u
failed=0

# The directories of recordings: the project's own, and the whole collection where it lies beside the project.
folders=(vectors/recordings)
[ -d ../shared/recordings ] && folders+=(../shared/recordings)

complain() {
	echo "$1"
	failed=1
}

expect() { # RECORDING STATUS [TEXT...]
	local recording=$1 wanted=$2 output status text
	shift 2
	output=$("$MIGREF" replay "$recording" 2>&1)
	status=$?
	[ "$status" -eq "$wanted" ] || complain "$recording: exit status $status instead of $wanted: $output"
	for text in "$@"; do
		grep -qF -- "$text" <<<"$output" || complain "$recording: the replay does not say: $text"
	done
	if grep -q '^  wire .*DIFFERS' <<<"$output"; then
		complain "$recording: bytes differ: $output"
	fi
	grep -q '^  wire .*identical' <<<"$output" || complain "$recording: no channel was compared"
	grep -q '^  memory .*compared with source' <<<"$output" || complain "$recording: memory was not compared"
}

for folder in "${folders[@]}"; do
	count=0
	for recording in "$folder"/*/; do
		recording=${recording%/}
		ls "$recording"/ch0.fwd* >/dev/null 2>&1 || continue
		count=$((count + 1))
		case $recording in
		*tcg-lost-writes)
			expect "$recording" 1 "99 pages are not the source's: 0x100000-0x162fff" ;;
		*multifd-hangs)
			expect "$recording" 1 "573 pages never came and are not zero at the source: 0x0-0xfff " \
				"pc.bios            64 of 64 pages never came" ;;
		*recover)
			expect "$recording" 0 "; cut: " "recovery identical" ;;
		*)
			expect "$recording" 0 ;;
		esac
	done
	[ "$count" -ge 10 ] || complain "$folder: only $count recordings"
	echo "$folder: $count recordings replayed"
done
exit $failed
