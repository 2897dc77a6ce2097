#!/bin/bash
# Every mode of migration between a real QEMU and an end of ours, both ways, under TCG; and what is said where none can be.
set -u
export LC_ALL=C
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

complain() {
	echo "$1"
	failed=1
}

# STATUS PATTERN ARGUMENT...: ends so, and says so on standard error.
expect() {
	local status=$1 pattern=$2
	shift 2
	timeout 20 "$MIGREF" interop "$@" >"$work/out" 2>"$work/err"
	local got=$?
	[ $got -eq "$status" ] || complain "interop $*: expected status $status, found $got: $(cat "$work/err")"
	grep -qE -- "$pattern" "$work/err" || complain "interop $*: expected $pattern, found: $(cat "$work/err")"
}

expect 2 '--mode: found postcopi' --mode precopy,postcopi
expect 2 '--accel: found xen' --accel xen
expect 2 '--direction: found both' --direction both
expect 2 '--memory: expected 16 to 2048, found 1' --memory 1
expect 2 '--vcpus: expected 2 to 16, found 17' --vcpus 17
expect 3 'no such program in PATH' --accel tcg --qemu qemu-of-nobody
expect 3 'No such file' --accel tcg --qemu "$work/qemu"
printf '#!/bin/sh\necho "qemu: this is no machine" >&2\nexit 5\n' >"$work/qemu"
chmod +x "$work/qemu"
expect 3 'this is no machine' --accel tcg --qemu "$work/qemu"
"$MIGREF" interop --list | grep -q '^postcopy ' || complain "--list: expected postcopy, found none"

command -v qemu-system-x86_64 >/dev/null || exit $((failed ? 1 : 77))
"$MIGREF" guest -o "$work/image" 2>/dev/null || exit $((failed ? 1 : 77))
for accel in ${INTEROP_ACCELS:-tcg}; do
	timeout 500 "$MIGREF" interop --accel "$accel" --markdown "$work/table.md" >"$work/out" 2>"$work/err"
	status=$?
	[ $status -eq 0 ] || complain "interop --accel $accel: expected status 0, found $status: $(cat "$work/out" "$work/err")"
	modes=$("$MIGREF" interop --list | wc -l)
	[ "$(grep -cE "^(receive|send) +$accel +[a-z-]+ +holds" "$work/out")" -eq $((2 * modes)) ] ||
		complain "interop --accel $accel: expected that $modes modes hold in both directions, found: $(cat "$work/out")"
	[ "$(grep -c '^| `' "$work/table.md")" -eq "$modes" ] || complain "expected a table of $modes modes: $(cat "$work/table.md")"
done
exit $failed
