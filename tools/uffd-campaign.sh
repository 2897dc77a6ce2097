#!/bin/bash
# Migrates on real memory behind userfaultfd, seed by seed, replays each recording, and compares.
#
#   tools/uffd-campaign.sh [FIRST [LAST]]
#
# A seed decides on memory kind, vCPUs, pattern, releases, mode (postcopy, preempt, multifd with postcopy), a process
# that shares the memory, and a cut at a random byte of either direction, with recovery. In each run the guest must
# lose no write, and the recording must replay: the same forward streams, return paths, actions and memory.
#
# Environment: MIGREF is the program; KEEP=DIR keeps scenario and recording of what fails. A line for each run; the last
# line is `N passed, N failed`. Exit status 77 if this host has no userfaultfd for us, with the reason.

set -u
cd "$(dirname "$0")/.." || exit 2
migref=${MIGREF:-build/migref}
first=${1:-1} last=${2:-200}
case $first$last in
*[!0-9]*)
    echo "usage: tools/uffd-campaign.sh [FIRST [LAST]]" >&2
    exit 2
    ;;
esac
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

if ! "$migref" host >"$work/host"; then
    grep -A 1 '^  no   missing pages' "$work/host" | sed -n 2p
    exit 77
fi

# A number below $1 that goes by the seed and by what it is for.
draw() {
    local hash
    hash=$(printf '%s' "$seed $2" | cksum)
    echo $((${hash%% *} % $1))
}

# One of the words behind the first, which is what they are for.
pick() {
    local use=$1
    shift
    local number
    number=$(draw $# "$use")
    echo "${@:$((number + 1)):1}"
}

free_huge_pages() {
    cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages 2>/dev/null || echo 0
}

# Sets memory, page, client, mode and cut of the seed.
decide() {
    memory=uffd page=4K client=
    case $(draw 4 memory) in
    1) memory=uffd-shared ;;
    2) memory=uffd-shared client=--shared-client ;;
    3) if [ "$(free_huge_pages)" -ge 60 ]; then page=2M; fi ;;
    esac
    mode=$(pick mode plain preempt multifd)
    cut=none
    # Recovery and multifd exclude each other.
    [ "$mode" = multifd ] || cut=$(pick cut none none forward backward)
}

write_pattern() {
    local pattern
    pattern=$(pick pattern random zipf sequential stack bursts strided)
    echo "pattern = $pattern"
    case $pattern in
    stack) echo "working-set = 1024" ;;
    bursts) printf 'burst = 50\npause = 100\n' ;;
    strided) echo "stride = 7" ;;
    esac
}

write_migration() {
    local capabilities=postcopy-ram,\ return-path releases=(7.2 8.2 9.2 11.1) passes
    # Older releases refuse multifd with postcopy.
    [ "$mode" = multifd ] && releases=(11.1)
    passes=$(draw 2 passes)
    case $mode in
    preempt) capabilities+=", postcopy-preempt" ;;
    multifd) capabilities+=", multifd" ;;
    esac
    [ "$(draw 2 blocktime)" -eq 0 ] || capabilities+=", postcopy-blocktime"
    # So that most bytes are those of postcopy, and few cuts come before it.
    [ "$cut" = none ] || passes=0
    cat <<END
[migration]
capabilities = $capabilities
source = $(pick source "${releases[@]}")
destination = $(pick destination "${releases[@]}")
max-bandwidth = $(pick bandwidth unlimited 100MiB 400MiB)
switch-passes = $passes
downtime-limit = 1ms
run-after = 20ms
time-limit = 60s
recover-after = 5ms
END
    [ "$mode" = multifd ] && echo "multifd-channels = $((1 + $(draw 4 channels)))"
    # QEMU never shuts the preempt channel once a client has waited for a page (REQ-011).
    [ "$mode" = preempt ] && [ -n "$client" ] && echo 'strict = yes'
}

write_cut() {
    local at
    case $cut in
    forward) at=$((2000000 + $(draw 30000000 at))) ;;
    backward) at=$((20 + $(draw 3000 at))) ;;
    *) return ;;
    esac
    printf '[fault cut]\nkind = cut\nchannel = main\ndirection = %s\nat = byte %d\n' "$cut" "$at"
}

write_scenario() {
    local vcpus
    vcpus=$((1 + $(draw 8 vcpus)))
    cat <<END
[scenario]
seed = $seed

[guest]
vcpus = $vcpus
devices = $((1 + $(draw 3 devices)))
device-touches = $(draw 20 touches)

[block mem]
size = $(pick size 16M 32M 48M)
page-size = $page

[block rom]
size = 256K

[workload load]
block = mem
vcpus = 0-$((vcpus - 1))
interval = $(pick interval 20us 50us 200us)
writes = $(pick writes 100 500 1000)
$(write_pattern)

$(write_migration)

$(write_cut)
END
}

figure() {
    sed -n "s/^  $1 *\\([0-9]*\\) .*/\\1/p" "$work/out"
}

keep() {
    [ -n "${KEEP:-}" ] || return
    mkdir -p "$KEEP"
    rm -rf "${KEEP:?}/$seed"
    cp "$work/s.ini" "$KEEP/$seed.ini"
    [ ! -d "$work/r" ] || cp -r "$work/r" "$KEEP/$seed"
}

run_seed() {
    local start=$SECONDS status stage=run what
    decide
    write_scenario >"$work/s.ini"
    rm -rf "$work/r"
    # shellcheck disable=SC2086
    timeout 120 "$migref" sim "$work/s.ini" --memory "$memory" $client -o "$work/r" >"$work/out" 2>&1
    status=$?
    if [ "$status" -eq 0 ]; then
        stage=replay
        timeout 300 "$migref" replay "$work/r" >>"$work/out" 2>&1
        status=$?
    fi
    what="$memory${client:+ with a client}, $page, $mode, cut: $cut"
    if [ "$status" -eq 0 ]; then
        passed=$((passed + 1))
        printf 'ok   %4d  %s: %s, %s faults, %s recoveries, %d s\n' "$seed" "$what" \
            "$(sed -n 's/^.*: \([a-z]*\) on real memory.*/\1/p' "$work/out")" "$(figure faults)" \
            "$(figure recoveries)" $((SECONDS - start))
        return
    fi
    failed=$((failed + 1))
    printf 'FAIL %4d  %s: %s ended with status %d\n' "$seed" "$what" "$stage" "$status"
    tail -n 15 "$work/out" | sed 's/^/     | /'
    keep
}

for ((seed = first; seed <= last; seed++)); do
    run_seed
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
