#!/bin/bash
# Every mode of migration between a real QEMU and an end of ours, both ways, under TCG; and what is said where none can be.
set -u
export LC_ALL=C
. tests/cli/live.bash
interop=("$MIGREF" interop)

expect 2 '--mode: found postcopi' "${interop[@]}" --mode precopy,postcopi
expect 2 '--accel: found xen' "${interop[@]}" --accel xen
expect 2 '--direction: found both' "${interop[@]}" --direction both
expect 2 '--memory: expected 16 to 2048, found 1' "${interop[@]}" --memory 1
expect 2 '--vcpus: expected 2 to 16, found 17' "${interop[@]}" --vcpus 17
expect 3 'no such program in PATH' "${interop[@]}" --accel tcg --qemu qemu-of-nobody
expect 3 'No such file' "${interop[@]}" --accel tcg --qemu "$work/qemu"
printf '#!/bin/sh\necho "qemu: this is no machine" >&2\nexit 5\n' >"$work/qemu"
chmod +x "$work/qemu"
expect 3 'this is no machine' "${interop[@]}" --accel tcg --qemu "$work/qemu"
expect 3 '/nowhere/table.md: No such file' "${interop[@]}" --markdown /nowhere/table.md
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
