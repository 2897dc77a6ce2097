#!/bin/bash
# migref sim --shard: what GNU parallel makes of a swarm is what one process makes of it, byte for byte, or it is refused.
set -u
export LC_ALL=C
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
seeds=1..60
. tests/cli/expect.bash

command -v parallel >/dev/null || exit 77
"$MIGREF" sim --seeds $seeds >"$work/one"
status=$?
"$MIGREF" sim --seeds $seeds --json >"$work/one.json"
[ $? -eq $status ] || complain "with --json the exit status is another"
seq 4 | parallel --will-cite "$MIGREF" sim --seeds $seeds --shard {}/4 --json >"$work/shards"
[ "$(grep -c '"totals"' "$work/shards")" -eq 4 ] || complain "not four shards"

expect $status '^$' "$MIGREF" sim --merge "$work/shards"
cmp "$work/one" "$work/out" || complain "shards do not add up to one process"
expect $status '^$' "$MIGREF" sim --merge --json "$work/shards"
cmp "$work/one.json" "$work/out" || complain "shards do not add up to one process as JSON"
"$MIGREF" sim --merge - <"$work/shards" | cmp "$work/one" - || complain "standard input is merged to something else"

# Each shard alone is a part of the whole, and their sums can be added by anybody.
for i in 1 2 3 4; do
	"$MIGREF" sim --seeds $seeds --shard $i/4 --json >"$work/shard$i"
	"$MIGREF" sim --seeds $seeds --shard $i/4 >"$work/text"
	grep -qE "^migref sim: seeds 1 to 60, shard $i of 4" "$work/text" || complain "a shard does not say which it is"
	grep -qE 'never occurred.*not judged: a shard|every event occurred' "$work/text" || complain "a shard is judged by events"
done
expect $status '^$' "$MIGREF" sim --merge "$work/shard4" "$work/shard2" "$work/shard3" "$work/shard1"
cmp "$work/one" "$work/out" || complain "the order of shards matters"
sum='map(.totals // empty) | {runs: map(.runs) | add, faults: map(.faults) | add,
	events: map(.events | to_entries) | add | group_by(.key) | map({key: .[0].key, value: map(.value.times) | add}) |
	from_entries}'
[ "$(jq -cS -s "$sum" "$work"/shard[1-4])" = "$(jq -cS -s "$sum" "$work/one.json")" ] || complain "sums differ"
jq -e . <"$work/one.json" >/dev/null || complain "--json is no JSON"

# The merge of shards that are required to have seen everything is judged where none of them is.
for i in 1 2; do
	expect 0 '^$' "$MIGREF" sim --seeds 1..2 --shard $i/2 --require-all --json
	cat "$work/out" >>"$work/few"
done
expect 1 '^$' "$MIGREF" sim --merge "$work/few"
grep -q '^DOES NOT HOLD: .* events never occurred: ' "$work/out" || complain "two seeds cannot have seen every event"
[ "$(grep -cE '^ +[12]  ' "$work/out")" -eq 2 ] || complain "not two seeds"

# What is no whole swarm has no verdict.
expect 3 'found no result of seed 2$' "$MIGREF" sim --merge "$work"/shard[134]
expect 3 'found one result of seed 1 too many' "$MIGREF" sim --merge "$work"/shard[1234] "$work/shard1"
"$MIGREF" sim --seeds 1..8 --json >"$work/other"
expect 3 'other:1: expected a shard of the same swarm, found another' "$MIGREF" sim --merge "$work/shard1" "$work/other"
head -n 5 "$work/other" | cut -c -100 >"$work/cut"
expect 3 'cut:2: expected a line of migref sim --json' "$MIGREF" sim --merge "$work/cut"
tail -n +2 "$work/other" >"$work/headless"
expect 3 'headless:1: expected a line of migref sim --json that says what the swarm is' "$MIGREF" sim --merge "$work/headless"
expect 3 'expected lines of migref sim --json, found none' "$MIGREF" sim --merge /dev/null
expect 3 'nowhere: ' "$MIGREF" sim --merge "$work/nowhere"
sed 's/"outcome":"[a-z]*"/"outcome":"glorious"/' "$work/other" >"$work/odd"
expect 3 'odd:2: expected the result of a seed, found something else' "$MIGREF" sim --merge "$work/odd"
exit $failed
