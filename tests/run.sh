#!/bin/bash
# Runs the test programs named on the command line and ends with `N passed, N failed`.
#
#   tests/run.sh KIND:LABEL:PROGRAM...
#
# KIND says how PROGRAM reports its cases:
#   unit      a cmocka program; every test case counts
#   valgrind  the same under valgrind; an error or a leak is one more failure
#   shell     a script; exit status 0 passes, 77 is skipped, anything else fails
#   fuzz      a libFuzzer target, run for FUZZ_SECONDS (default 10) on its seeds and its corpus
#   afl       an AFL++ target, run for AFL_SECONDS (default 10) on the seeds that tools/fuzz-seeds.sh wrote
#   regress   a fuzz target without a fuzzer, run once on its seeds and its corpus
# LABEL only appears in the report. Environment: BUILD (default build) is where results and corpora
# go, TEST_JOBS (default: processors) how many run at once, TEST_TIMEOUT the seconds each may take.

set -u
cd "$(dirname "$0")/.." || exit 2
BUILD=${BUILD:-build}
export BUILD

# The directories in the tree that hold inputs for a fuzz target.
fuzz_inputs() {
    local directory
    for directory in "fuzz/seeds/$1" "fuzz/corpus/$1"; do
        [ -d "$directory" ] && echo "$directory"
    done
}

run_fuzz() {
    local program=$1 name corpus options
    name=$(basename "$program")
    corpus=$BUILD/fuzz/corpus/$name
    mkdir -p "$corpus" "$BUILD/fuzz/crashes"
    options=(-max_total_time="${FUZZ_SECONDS:-10}" -timeout=10 -max_len=1024 -print_final_stats=1
             -artifact_prefix="$BUILD/fuzz/crashes/$name-")
    # A packet of small pages lists its offsets in more than a kibibyte.
    [ "$name" = fuzz_multifd ] && options+=(-max_len=2048)
    [ -f "fuzz/$name.dict" ] && options+=(-dict="fuzz/$name.dict")
    mapfile -t inputs < <(fuzz_inputs "$name")
    "$program" "${options[@]}" "$corpus" "${inputs[@]}"
}

run_regress() {
    local name
    name=fuzz_${1##*/regress_}
    mapfile -t inputs < <(fuzz_inputs "$name")
    "$1" "${inputs[@]}"
}

# Passes unless something crashed or hung, or nothing ran.
run_afl() {
    local program=$1 name out options found
    name=fuzz_${program##*/afl_}
    out=$BUILD/fuzz/afl/$name
    rm -rf "$out"
    options=(-i "$BUILD/fuzz/seeds/$name" -o "$out" -V "${AFL_SECONDS:-10}" -t 1000 -m none -G 2048)
    [ -f "fuzz/$name.dict" ] && options+=(-x "fuzz/$name.dict")
    mkdir -p "$out"
    AFL_NO_UI=1 AFL_SKIP_CPUFREQ=1 AFL_NO_AFFINITY=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 \
        afl-fuzz "${options[@]}" -- "$program" || return 1
    grep -aE '^(execs_done|execs_per_sec|edges_found|bitmap_cvg|saved_crashes|saved_hangs) ' "$out/default/fuzzer_stats"
    found=$(find "$out/default/crashes" "$out/default/hangs" -name 'id*')
    [ -z "$found" ]
}

run_program() {
    case $1 in
    valgrind) valgrind --error-exitcode=9 --leak-check=full -q "$2" ;;
    fuzz) run_fuzz "$2" ;;
    afl) run_afl "$2" ;;
    regress) run_regress "$2" ;;
    *) "$2" ;;
    esac
}

# Prints "passed failed skipped" for a finished program: its kind, exit status and output file.
count_cases() {
    local kind=$1 status=$2 log=$3 passed=0 failed=0 skipped=0
    if [ "$kind" = unit ] || [ "$kind" = valgrind ]; then
        passed=$(grep -acE '^ok [0-9]+ - ' "$log")
        failed=$(grep -acE '^not ok [0-9]+ - ' "$log")
        skipped=$(grep -acE '^(not )?ok [0-9]+ # SKIP' "$log")
        # A crash or a sanitizer's exit leaves no line of its own, and no case at all tests nothing.
        if [ "$failed" -eq 0 ]; then
            if [ "$status" -ne 0 ] || [ $((passed + skipped)) -eq 0 ]; then
                failed=1
            fi
        fi
    elif [ "$status" -eq 0 ]; then
        passed=1
    elif [ "$kind" = shell ] && [ "$status" -eq 77 ]; then
        skipped=1
    else
        failed=1
    fi
    echo "$passed $failed $skipped"
}

# The two ends of a long output: a sanitizer explains at the start, a summary stands at the end.
show_output() {
    if [ "$(wc -l <"$1")" -le 100 ]; then
        cat "$1"
    else
        head -n 60 "$1"
        echo '[...]'
        tail -n 30 "$1"
    fi | sed 's/^/     | /'
}

# One program: its report line on standard output; its tally and its output into files.
run_one() {
    local results=$1 word=$2 kind label program log passed failed skipped status verdict seconds
    IFS=: read -r kind label program <<<"$word"
    log=$results/$(tr -c 'A-Za-z0-9\n' _ <<<"$word")
    seconds=$SECONDS
    export -f run_program run_fuzz run_afl run_regress fuzz_inputs
    CMOCKA_MESSAGE_OUTPUT=TAP timeout -k 10 "${TEST_TIMEOUT:-900}" \
        bash -c 'run_program "$@"' run "$kind" "$program" >"$log.log" 2>&1 </dev/null
    status=$?
    read -r passed failed skipped <<<"$(count_cases "$kind" "$status" "$log.log")"
    echo "$passed $failed $skipped" >"$log.tally"
    verdict=ok
    [ "$skipped" -gt 0 ] && [ "$passed" -eq 0 ] && verdict=skip
    [ "$failed" -gt 0 ] && verdict=FAIL
    # The report is one write, so that programs running side by side do not mix their output.
    printf '%s\n' "$(
        printf '%-4s %-22s %-28s %4d passed' "$verdict" "$label" "$(basename "$program")" "$passed"
        [ "$failed" -gt 0 ] && printf ', %d failed (exit status %d)' "$failed" "$status"
        [ "$skipped" -gt 0 ] && printf ', %d skipped' "$skipped"
        printf ', %d s\n' $((SECONDS - seconds))
        if [ "$verdict" != ok ]; then
            show_output "$log.log"
        fi
    )"
}

if [ "${1:-}" = --one ]; then
    run_one "$2" "$3"
    exit 0
fi

mkdir -p "$BUILD"
results=$(mktemp -d "$BUILD/results.XXXXXX") || exit 2
trap 'rm -rf "$results"' EXIT
printf '%s\0' "$@" | xargs -0 -r -n 1 -P "${TEST_JOBS:-$(nproc)}" tests/run.sh --one "$results"

passed=0 failed=0 skipped=0
for word in "$@"; do
    tally=$results/$(tr -c 'A-Za-z0-9\n' _ <<<"$word").tally
    # A program whose runner itself was killed has no tally: that is a failure, not a gap.
    read -r p f s 2>/dev/null <"$tally" || { p=0 f=1 s=0; }
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
summary="$passed passed, $failed failed"
[ "$skipped" -gt 0 ] && summary="$summary, $skipped skipped"
echo "$summary"
[ "$failed" -eq 0 ]
