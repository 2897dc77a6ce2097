#!/bin/bash
# Instructions for each record, counted by callgrind: what regressions are judged by, since no clock is in it.

set -eu
program=$BUILD_DIR/bench/bench_instructions

if ! command -v valgrind >/dev/null; then
    echo "skipped: valgrind is not installed"
    exit 0
fi

printf '%-34s %12s\n' 'instructions a record' 'callgrind'
for kind in decode-page decode-zero decode-packet decode-message encode-page; do
    log=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect=count_decode \
        --toggle-collect=count_encode "$program" "$kind" 2>&1)
    records=$(grep -E '^[0-9]+$' <<<"$log")
    collected=$(sed -n 's/.*Collected : \([0-9]*\).*/\1/p' <<<"$log")
    printf '%-34s %12d\n' "${kind/-/ }" $((collected / records))
done
