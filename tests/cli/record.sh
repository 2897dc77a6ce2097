#!/bin/bash
# Real QEMUs, recorded by presets: what was recorded is read, checked and replayed. Bad programs, directories and
# settings are one clear line each; whatever dies on the way, nothing is left running and the recording can be read.
set -u
export LC_ALL=C
. tests/cli/live.bash
mkdir "$work/tmp"
export TMPDIR=$work/tmp
patience=60

# WHAT: nothing of it is left: no QEMU that has a file of ours, no file but the recordings'.
expect_nothing_left() {
	[ -z "$(ls "$TMPDIR")" ] || complain "$1: expected no files in $TMPDIR, found $(ls "$TMPDIR")"
	for process in /proc/[0-9]*; do
		if tr '\0' ' ' 2>/dev/null <"$process/cmdline" | grep -q -- "-bios $TMPDIR"; then
			complain "$1: expected no QEMU, found process ${process#/proc/}"
		fi
	done
}

record=("$MIGREF" record --accel tcg --time-limit 40)

# ---- What is said on the command line

expect 2 'expected -o DIR' "$MIGREF" record --preset precopy
expect 2 'expected --preset MODE' "$MIGREF" record -o "$work/none"
expect 2 'no preset is called postcpy; --list-presets' "$MIGREF" record -o "$work/none" --preset postcpy
settings=("$MIGREF" record -o "$work/none" --preset precopy)
expect 2 'QEMU has no capability postcopy$' "${settings[@]}" --capability postcopy
expect 2 'xbzrle: expected on or off, found maybe' "${settings[@]}" --capability xbzrle=maybe
expect 2 'expected NAME=VALUE, found x' "${settings[@]}" --parameter x
expect 2 'QEMU has no migration parameter speed' "${settings[@]}" --parameter speed=1
expect 2 'max-bandwidth: expected a number, found fast' "${settings[@]}" --bandwidth fast
expect 2 '--cut: expected CHANNEL:DIRECTION:BYTE' "${settings[@]}" --cut 0:up:1
expect 2 'a cut since the switch to postcopy needs --switch-after' "${settings[@]}" --cut 0:fwd:+1
expect 2 '--accel: expected tcg, kvm or auto' "${settings[@]}" --accel hvf
expect 2 '--backend: expected file, anon or hugetlb' "${settings[@]}" --backend tape
expect 2 '--vcpus: expected a number from 1 to 255, found 0' "${settings[@]}" --vcpus 0
expect 2 '--switch-after: expected a number' "${settings[@]}" --switch-after soon
expect 2 'no key is called speed' "${settings[@]}" --guest-vcpu all:random,speed=1
expect 2 'guest: the region is not whole pages' "${settings[@]}" --guest-base 4096
expect 2 'neither postcopy nor connections to cut' "$MIGREF" record -o "$work/none" --preset mapped-ram --cut 0:fwd:9
[ -e "$work/none" ] && complain "a directory was made for a command that was refused"

"$MIGREF" record --list-presets >"$work/presets"
for preset in precopy xbzrle postcopy preempt recover recover-return multifd-zstd hugetlb mapped-ram; do
	grep -q "^$preset  *[a-z].*(.*)$" "$work/presets" || complain "--list-presets: expected a line about $preset"
done
"$MIGREF" record --list-presets --json | jq -se '
	(.[] | select(.preset == "mapped-ram") | .since == "9.0" and .capabilities["mapped-ram"]) and
	(.[] | select(.preset == "compress") | .until == "9.0" and .parameters["compress-level"] == 1)' >/dev/null ||
	complain "--list-presets --json: expected the releases of mapped-ram and compress"

# ---- Programs that are no QEMU

expect 3 'source: nosuchqemu: no such program in PATH' "${record[@]}" -o "$work/none" --preset precopy --qemu nosuchqemu
expect 3 "source: $work/q: No such file" "${record[@]}" -o "$work/none" --preset precopy --qemu "$work/q"
expect 3 'expected a program that can be executed' "${record[@]}" -o "$work/none" --preset precopy --qemu /etc/passwd
expect 3 'source: QEMU ended with exit status 1$' "${record[@]}" -o "$work/none" --preset precopy --qemu /bin/false
printf '#!/bin/sh\necho no luck today >&2\nexit 7\n' >"$work/dies"
printf '#!/bin/sh\nsleep 1000\n' >"$work/stalls"
chmod +x "$work/dies" "$work/stalls"
expect 3 'source: QEMU ended with exit status 7: no luck today' "${record[@]}" -o "$work/none" --preset precopy \
	--qemu "$work/dies"
expect 3 'its monitor did not greet within 1 s' "$MIGREF" record --time-limit 1 -o "$work/none" --preset precopy \
	--qemu "$work/stalls"
[ -e "$work/none" ] && complain "a directory is left of what could not begin"
expect_nothing_left 'programs that are no QEMU'

if ! command -v qemu-system-x86_64 >/dev/null; then
	[ $failed -eq 0 ] && echo "the packages have no qemu-system-x86_64"
	exit $((failed ? 1 : 77))
fi
release=$(qemu-system-x86_64 --version | sed -n 's/^QEMU emulator version \([0-9]*\).*/\1/p')
if [ "$release" -lt 9 ]; then
	expect 3 'QEMU .* has no capability mapped-ram: QEMU 9.0 or later is needed' \
		"${record[@]}" -o "$work/none" --preset mapped-ram
else
	expect 3 'has no capability compress: QEMU 9.0 or earlier is needed' "${record[@]}" -o "$work/none" --preset compress
fi
expect 3 'source: QEMU ended with exit status 1: unsupported machine type' "${record[@]}" -o "$work/none" \
	--preset precopy --machine pc-nosuch
expect 3 'destination: QEMU ended with exit status 1: .*nonsense' "${record[@]}" -o "$work/none" \
	--preset precopy --destination-args -nonsense
expect 3 'expected 50000 free huge pages of 2 MiB, found|the kernel has no huge pages' "${record[@]}" -o "$work/none" \
	--preset hugetlb --memory 100000
[ -e "$work/none" ] && complain "a directory is left of what could not begin"
mkdir "$work/used"
touch "$work/used/file"
expect 3 'expected a directory that is new or empty, found files' "${record[@]}" -o "$work/used" --preset precopy

# ---- Recorded and replayed

# PRESET OPTION...: recorded as planned, nothing wrong in it, replayed.
expect_recorded() {
	local preset=$1 recording=$work/$1
	shift
	"${record[@]}" -o "$recording" --preset "$preset" --json "$@" >"$work/$preset.json" 2>"$work/err" ||
		complain "$preset: expected to be recorded as planned, found: $(cat "$work/err")"
	"$MIGREF" check "$recording" >"$work/out" 2>&1 || complain "$preset: check: $(tail -n 3 "$work/out")"
	"$MIGREF" replay "$recording" >"$work/out" 2>&1 || complain "$preset: replay: $(grep -m 3 DIFFERS "$work/out")"
	jq -e '.ended == "as planned" and .status == "completed" and .memory == "equal"' "$work/$preset.json" >/dev/null ||
		complain "$preset: expected equal memory, found: $(cat "$work/$preset.json")"
}

expect_recorded precopy --guest-seed 9 --capability xbzrle
jq -e '.producer == "migref record 0.1.0" and .preset == "precopy" and .accel == "tcg" and .memory_mib == 16 and
	(.capabilities | sort) == ["return-path", "xbzrle"] and .parameters["max-bandwidth"] == 6000000 and
	.guest.seed == 9 and .source.status == "completed" and .destination.status == "completed" and
	.destination_ram_equal and (.machine | startswith("pc-i440fx-")) and .host_page_size == 4096' \
	"$work/precopy/manifest.json" >/dev/null ||
	complain "precopy: expected a whole manifest, found: $(cat "$work/precopy/manifest.json")"
for file in ch0.fwd ch0.ret src.trace dst.trace source.ram timeline.jsonl; do
	[ -e "$work/precopy/$file.zst" ] || complain "precopy: expected $file.zst"
done
expect_recorded postcopy --vcpus 2 --machine q35
jq -e '.requests > 0' "$work/postcopy.json" >/dev/null || complain "postcopy: expected requests"
expect_recorded recover-return
jq -e '.recoveries == 1 and (.channels | length) == 2' "$work/recover-return.json" >/dev/null ||
	complain "recover-return: expected a recovery, found: $(cat "$work/recover-return.json")"
expect_nothing_left 'recorded'

# ---- What is not as planned

expect 1 'precopy ended before the switch to postcopy' "${record[@]}" -o "$work/early" --preset postcopy \
	--switch-after 30000
"$MIGREF" check "$work/early" >"$work/out" 2>&1 || complain "early: check: $(tail -n 3 "$work/out")"
expect 1 'the time limit of 1.5 s is over: the migration has not ended' "$MIGREF" record --accel tcg --time-limit 1.5 \
	-o "$work/late" --preset precopy --bandwidth 100000
jq -e '.status == "active" and (.error | startswith("the time limit"))' "$work/late/manifest.json" >/dev/null ||
	complain "late: expected the reason in the manifest"

# PRESET SIGNAL WHOM: while it migrates. Sets `status`.
disturb() {
	local children
	"${record[@]}" -o "$work/$3" --preset precopy --bandwidth 500000 >"$work/out" 2>"$work/err" &
	recorder=$!
	processes=("$recorder")
	for _ in $(seq 500); do
		[ -e "$work/$3/ch0.fwd.zst" ] && break
		sleep 0.02
	done
	sleep 0.4
	children=($(cat "/proc/$recorder/task/$recorder/children"))
	case $1 in
	source) kill -"$2" "${children[0]}" ;;
	destination) kill -"$2" "${children[1]}" ;;
	recorder) kill -"$2" "$recorder" ;;
	esac
	wait "$recorder" 2>/dev/null
	status=$?
	processes=()
}

disturb destination KILL no-destination
[ $status -eq 1 ] || complain "a destination that is killed: expected status 1, found $status"
grep -q 'destination: .*QEMU was killed by signal 9 (Killed)' "$work/err" ||
	complain "a destination that is killed: found $(cat "$work/err")"
disturb source ABRT no-source
[ $status -eq 1 ] || complain "a source that is killed: expected status 1, found $status"
grep -q 'source: .*QEMU was killed by signal 6 (Aborted)' "$work/err" ||
	complain "a source that is killed: found $(cat "$work/err")"
disturb recorder TERM interrupted
[ $status -eq 1 ] || complain "SIGTERM: expected status 1, found $status: $(cat "$work/err")"
grep -q 'interrupted' "$work/err" || complain "SIGTERM: found $(cat "$work/err")"
for recording in no-destination no-source interrupted; do
	"$MIGREF" dump "$work/$recording/ch0.fwd.zst" >"$work/out" 2>/dev/null
	[ "$(wc -l <"$work/out")" -gt 100 ] || complain "$recording: expected a recording up to there"
	jq -e .error "$work/$recording/manifest.json" >/dev/null || complain "$recording: expected the reason in the manifest"
done
disturb recorder KILL killed
[ $status -eq 137 ] || complain "SIGKILL: expected status 137, found $status"
sleep 0.3
rm -rf "$TMPDIR"/*
expect_nothing_left 'what is not as planned'

mkdir "$work/disk"
if mount -t tmpfs -o size=600k tmpfs "$work/disk" 2>/dev/null; then
	expect 3 'disk/recording/.*: No space left on device' "${record[@]}" -o "$work/disk/recording" --preset precopy
fi
expect_nothing_left 'a full disk'
exit $failed
