#!/bin/bash
# Instructions that each decoder takes for a record, counted by callgrind and compared with instructions.txt.
#
# UPDATE=1 writes that file anew. Exit status 1 if a count is more than 3 % off; where counts mean nothing, it says so.
set -u
export LC_ALL=C
kept=tests/bench/instructions.txt
tolerance=3
failed=0

skip() {
	echo "skipped: $1"
	exit 0
}

compiler=$($CC --version | head -n 1)
[ "$(uname -m)" = x86_64 ] || skip "the counts are of x86-64, this is $(uname -m)"
[[ $compiler == gcc* && $($CC -dumpversion) == 12* ]] || skip "the counts are of gcc 12 -O2, this is $compiler"
command -v valgrind >/dev/null || skip 'valgrind is not installed'

count() { # PROGRAM KIND: instructions for one record, rounded
	local log records collected
	log=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect=count_decode \
		--toggle-collect=count_encode --toggle-collect=count_walk --toggle-collect=count_step "$BUILD_DIR/bench/$1" "$2" 2>&1)
	records=$(grep -E '^[0-9]+$' <<<"$log")
	collected=$(sed -n 's/.*Collected : \([0-9]*\).*/\1/p' <<<"$log")
	[ -n "$records" ] && echo $(((collected + records / 2) / records))
}

compare() { # PROGRAM KIND OLD NEW
	local change
	change=$(awk -v old="$3" -v new="$4" 'BEGIN { printf "%+.1f", 100 * (new - old) / old }')
	if awk -v change="$change" -v most=$tolerance 'BEGIN { exit !(change > most || change < -most) }'; then
		printf '%-20s %-16s %8d %8d  %6s %%  beyond %d %%\n' "$1" "$2" "$3" "$4" "$change" $tolerance
		failed=1
	else
		printf '%-20s %-16s %8d %8d  %6s %%\n' "$1" "$2" "$3" "$4" "$change"
	fi
}

new=$(mktemp)
trap 'rm -f "$new"' EXIT
[ -n "${UPDATE:-}" ] || printf '%-20s %-16s %8s %8s  %8s\n' program record kept now change
while read -r program kind old; do
	if [[ $program == \#* || -z $program ]]; then
		echo "$program${kind:+ $kind}${old:+ $old}" >>"$new"
		continue
	fi
	now=$(count "$program" "$kind")
	[ -n "$now" ] || { echo "$program $kind: it cannot be counted" >&2; exit 3; }
	printf '%-20s %-16s %8d\n' "$program" "$kind" "$now" >>"$new"
	[ -n "${UPDATE:-}" ] || compare "$program" "$kind" "$old" "$now"
done <$kept
[ -z "${UPDATE:-}" ] || cp "$new" $kept
exit $failed
