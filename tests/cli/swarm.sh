#!/bin/bash
# A swarm of 300 migrations, each drawn from its seed: every property holds in all of them, every interesting event occurs
# in some, and the number of processes changes nothing.
set -u
export LC_ALL=C
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

complain() {
	echo "$1"
	failed=1
}

"$MIGREF" sim --seeds 1..300 --require-all >"$work/swarm" 2>"$work/errors"
status=$?
if [ $status -ne 0 ]; then
	complain "exit status $status"
	sed -n '/^  [A-Za-z]/p; /^[0-9]* runs/,$p' "$work/swarm"
	cat "$work/errors"
fi
[ -s "$work/errors" ] && complain "there is something on standard error"
[ "$(grep -cE '^ *[0-9]+  [A-Z.]{14} ' "$work/swarm")" -eq 300 ] || complain "not a line for each seed"
grep -q '^300 runs: .*, 0 violated' "$work/swarm" || complain "not 300 runs without a violation"

"$MIGREF" sim --seeds 1..40 --jobs 1 >"$work/1"
"$MIGREF" sim --seeds 1..40 --jobs 8 >"$work/8"
cmp "$work/1" "$work/8" || complain "the number of processes changes something"
# A seed's line is that of the large swarm, whatever else is run.
grep -E '^ *[0-9]+  [A-Z.]{14} ' "$work/1" >"$work/few"
grep -E '^ *[0-9]+  [A-Z.]{14} ' "$work/swarm" | head -n 40 | cmp - "$work/few" || complain "other seeds change a line"

# Scenarios that a swarm once found a bug by.
for scenario in "$(dirname "$0")"/regressions/*.ini; do
	"$MIGREF" sim "$scenario" >"$work/out" 2>&1 || complain "$scenario: $(head -n 1 "$work/out")"
done
exit $failed
