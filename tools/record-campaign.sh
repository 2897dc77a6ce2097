#!/bin/bash
# Records real QEMU by every preset, some times under each accelerator, checks and replays each recording.
#
#   tools/record-campaign.sh [TIMES [PRESET...]]
#
# A recording passes if `migref record` ended as planned, `migref check` finds no rule broken, and `migref replay` holds.
# A preset that this QEMU or this host cannot do is left out, with the reason.
#
# Environment: MIGREF is the program; QEMU another one than qemu-system-x86_64; ACCELS the accelerators, of which kvm is
# left out where the host has none; KEEP=DIR keeps the recordings that fail; TABLE=FILE writes the figures as a page, too.
# A line for each preset and accelerator; the last line is `N passed, N failed`. Exit status 77 if there is no QEMU.

set -u
cd "$(dirname "$0")/.." || exit 2
migref=${MIGREF:-build/migref}
qemu=${QEMU:-qemu-system-x86_64}
accels=${ACCELS:-tcg kvm}
times=${1:-10}
case $times in
'' | *[!0-9]*)
    echo "usage: tools/record-campaign.sh [TIMES [PRESET...]]" >&2
    exit 2
    ;;
esac
[ $# -gt 0 ] && shift
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

if ! command -v "$qemu" >/dev/null; then
    echo "no program $qemu"
    exit 77
fi

presets() {
    "$migref" record --list-presets | awk '{ print $1 }'
}

# Sets `recorded`, `checked`, `replayed`: how many of them held; `reason` of the first that did not.
run_once() {
    local preset=$1 accel=$2 number=$3 recording=$work/recording status
    local line=$work/line
    rm -rf "$recording" "$work/check" "$work/replay"
    timeout 300 "$migref" record -o "$recording" --preset "$preset" --qemu "$qemu" --accel "$accel" >"$work/out" 2>"$line"
    status=$?
    if [ $status -ne 0 ] && grep -q 'is needed$\|is needed)$\|huge pages' "$line"; then
        skipped=$(sed 's/^migref: //' "$line")
        return
    fi
    [ $status -eq 0 ] && recorded=$((recorded + 1))
    if [ $status -eq 0 ] && "$migref" check "$recording" >"$work/check" 2>"$line"; then
        checked=$((checked + 1))
        if timeout 600 "$migref" replay "$recording" >"$work/replay" 2>"$line"; then
            replayed=$((replayed + 1))
            passed=$((passed + 1))
            return
        fi
    fi
    failed=$((failed + 1))
    [ -n "$reason" ] || reason=$(cat "$line" "$work/check" "$work/replay" 2>/dev/null | grep -m 1 'migref:\|differ\|invalid')
    if [ -n "${KEEP:-}" ] && [ -d "$recording" ]; then
        mkdir -p "$KEEP"
        rm -rf "$KEEP/$preset-$accel-$number"
        mv "$recording" "$KEEP/$preset-$accel-$number"
    fi
}

run_preset() {
    local preset=$1 accel=$2
    recorded=0 checked=0 replayed=0 reason= skipped=
    for ((number = 1; number <= times; number++)); do
        run_once "$preset" "$accel" "$number"
        [ -z "$skipped" ] || break
    done
    if [ -n "$skipped" ]; then
        printf '%-24s %-5s left out: %s\n' "$preset" "$accel" "$skipped"
    else
        printf '%-24s %-5s %8d %6d %7d  %s\n' "$preset" "$accel" "$recorded" "$checked" "$replayed" "$reason"
    fi
}

if [ -n "${TABLE:-}" ] && ! : >>"$TABLE"; then
    exit 2
fi

campaign() {
    printf '%-24s %-5s %8s %6s %7s  (of %d)\n' preset accel recorded check replay "$times"
    for preset in ${*:-$(presets)}; do
        for accel in $accels; do
            if [ "$accel" = kvm ] && ! [ -w /dev/kvm ]; then
                continue
            fi
            run_preset "$preset" "$accel"
        done
    done
    echo "$passed passed, $failed failed"
    [ $failed -eq 0 ]
}

set -o pipefail
campaign "$@" | tee "$work/rows"
status=$?
[ -z "${TABLE:-}" ] ||
    tools/record-table.sh "$("$qemu" --version | sed -n 's/.*version \([0-9.]*\).*/\1/p')" <"$work/rows" >"$TABLE"
exit $status
