#!/bin/bash
# migref explore: a small world is exhausted, with the same figures each time; planted bugs are found, with a way there
# that is a recording; a limit is no success; what a user may get wrong gives one line.
set -u
export LC_ALL=C
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/cli/expect.bash

# One page and one cut, in postcopy.
small=$work/small.ini
cat >"$small" <<'END'
[guest]
devices = 1
device-bytes = 8
[block mem]
size = 4K
[workload reader]
pattern = sequential
writes = 0
[migration]
capabilities = postcopy-ram
[fault cut]
kind = cut
at = switch + 1ms
END
sed '/^\[fault/,$d' "$small" >"$work/uncut.ini"

# ---- Exhausted

expect 0 '^$' "$MIGREF" explore "$small"
head -n 1 "$work/out" | grep -q 'small.ini: exhausted, every property holds$' || complain "small.ini is not exhausted"
for line in '  states      [0-9,]+, [0-9]+ moves deep; [0-9,]+ transitions' '  time        [0-9.]+ s, [0-9,]+ states a second, ' \
	'  ends  +[0-9,]+  completed ' ' +[0-9,]+  paused ' '  events      completed [0-9,]+, .*recovered [0-9,]+'; do
	grep -qE "^$line" "$work/out" || complain "nothing says $line: $(cat "$work/out")"
done
grep -q '1 cut, 1 recovery, 0 writes, 2 messages under way$' "$work/out" || complain "what is explored is not told"
"$MIGREF" explore "$small" | grep -v '^  time ' | cmp - <(grep -v '^  time ' "$work/out") || complain "other figures again"
same() { # WHAT PROGRAM...
	local what=$1
	shift
	"$@" explore "$work/uncut.ini" --json | jq -c 'del(.time)' | cmp - "$work/uncut.json" || complain "$what: other figures"
}
"$MIGREF" explore "$work/uncut.ini" --json | jq -c 'del(.time)' >"$work/uncut.json"
same 'another environment' env -i LC_ALL=de_DE.UTF-8 TZ=Asia/Kolkata "$MIGREF"
for other in "$BUILD_DIR"/variants/*/migref; do
	[ -x "$other" ] || continue
	[ -z "$(find ref sim -name '*.[chd]*' -newer "$other" -print -quit)" ] || continue
	same "$other" "$other"
done
jq -e '.outcome == "exhausted" and .violation == null and .states == .visited and .ends.completed > 0 and .events.fault > 0 and
	.options == {"writes": 0, "recoveries": 0, "in_flight": 2, "full": false, "ends": false, "canary": "none"}' \
	"$work/uncut.json" >/dev/null || complain "--json does not tell what was exhausted: $(cat "$work/uncut.json")"
"$MIGREF" explore "$work/uncut.ini" --json | jq -e '.time.states_a_second > 0' >/dev/null || complain "--json tells no rate"
expect 0 '^$' "$MIGREF" explore "$work/uncut.ini" --full --ends
head -n 1 "$work/out" | grep -q 'holds, and from every state there is a way to an end$' || complain "--ends is not told"
[ "$(jq .states "$work/uncut.json")" -lt "$(awk '/^  states / { gsub(",", ""); print $2 }' "$work/out")" ] ||
	complain "--full visits no more states"
expect 0 '^$' "$MIGREF" explore "$work/uncut.ini" -o "$work/nothing"
[ ! -e "$work/nothing" ] || complain "there is a recording of no violation"

# ---- Planted bugs

# The writer's machines are those of the way, so a replay holds, up to where a planted bug changed what was sent.
found() { # CANARY PROPERTY REPLAY SCENARIO
	local name=$1
	expect 1 '^$' "$MIGREF" explore "$4" --canary "$name" -o "$work/$name"
	head -n 1 "$work/out" | grep -qE ": VIOLATED $2 after [0-9]+ moves: " ||
		complain "$name: not found as $2: $(head -n 1 "$work/out")"
	grep -q '^     1  source migration: status setup$' "$work/out" || complain "$name: the way is not told"
	"$MIGREF" replay "$work/$name" >"$work/replay"
	[ $? -eq "$3" ] || complain "$name: replay: $(grep -m 3 -E 'holds|DIFFERS|HOLD|FIT' "$work/replay")"
	"$MIGREF" check "$work/$name" >"$work/check" || complain "$name: check: $(cat "$work/check")"
	"$MIGREF" report "$work/$name" -o "$work/$name.html" >/dev/null || [ $? -eq 1 ] || complain "$name: no report"
}
found lost-write stale-discarded 0 "$work/uncut.ini"
found lost-wake resolved 0 "$work/uncut.ini"
found guest-runs one-guest 0 "$small"
found wrong-content content 0 "$small"
found lost-bitmap placed-once 1 "$small"
grep -q 'source  ch1.fwd   recovery DIFFERS' "$work/replay" || complain "lost-bitmap: the replay differs elsewhere"
grep -qE '^ +[0-9]+  the main connection breaks$' "$work/out" || complain "lost-bitmap: no cut on the way"
expect 1 '^$' "$MIGREF" explore "$work/uncut.ini" --canary lost-wake --json
jq -e '.outcome == "violated" and .violation.property == "resolved" and (.violation.path | length) >= .violation.moves and
	(.violation.path | index("vCPU 0 touches mem 0x0, which is missing"))' "$work/out" >/dev/null ||
	complain "--json does not tell a violation"
rm -rf "$work/again"
"$MIGREF" explore "$work/uncut.ini" --canary lost-wake -o "$work/again" >"$work/out"
diff -r "$work/lost-wake" "$work/again" || complain "another recording of the same way"

# ---- What fails

expect 3 'small.ini: not exhausted: the limit of 1,000 states is reached, [0-9]+ of them are not visited; nothing is proved$' \
	"$MIGREF" explore "$small" --states 1000
head -n 1 "$work/out" | grep -q 'small.ini: not exhausted: ' || complain "a limit is not told"
expect 3 'not exhausted: the limit of 4.00 MiB of memory is reached' "$MIGREF" explore "$small" --memory 4M
"$MIGREF" explore "$small" --states 10 --json 2>/dev/null | jq -e '.outcome == "limited" and .states == 10' >/dev/null ||
	complain "--json does not tell a limit"
touch "$work/file"
expect 3 'file: ' "$MIGREF" explore "$work/uncut.ini" --canary lost-wake -o "$work/file"
expect 3 'lost-wake: expected a directory that is new or empty' \
	"$MIGREF" explore "$work/uncut.ini" --canary lost-wake -o "$work/lost-wake"
expect 3 'nowhere: ' "$MIGREF" explore "$work/nowhere"
sed 's/size = 4K/size = 5/' "$small" >"$work/bad.ini"
expect 3 'bad.ini:5: expected ' "$MIGREF" explore "$work/bad.ini"
sed 's/size = 4K/size = 68K/' "$small" >"$work/large.ini"
expect 3 'large.ini: expected at most 16 pages of guest memory, found 17$' "$MIGREF" explore "$work/large.ini"
expect 3 'multifd.ini: ' "$MIGREF" explore sim/scenarios/multifd.ini
[ -e /dev/full ] && { "$MIGREF" explore "$work/uncut.ini" >/dev/full 2>"$work/err"; [ $? -eq 3 ] ||
	complain "a full disk is not noticed"; }

# ---- What a user may get wrong

expect 2 'expected a SCENARIO' "$MIGREF" explore
expect 2 'one SCENARIO at a time' "$MIGREF" explore a b
expect 2 '--canary: expected lost-write, .*, found tweety' "$MIGREF" explore "$small" --canary tweety
expect 2 '--canary: expected lost-write' "$MIGREF" explore "$small" --canary none
expect 2 '--writes: expected a number from 0 to 12, found 13' "$MIGREF" explore "$small" --writes 13
expect 2 '--recoveries: expected a number from 0 to 3, found -1' "$MIGREF" explore "$small" --recoveries=-1
expect 2 '--states: expected a number from 1 to 4294967294, found 0' "$MIGREF" explore "$small" --states 0
expect 2 '--in-flight: expected 0, or a number from 2' "$MIGREF" explore "$small" --in-flight 1
expect 2 '--memory: expected a size' "$MIGREF" explore "$small" --memory 5X
expect 2 '--memory: expected a size' "$MIGREF" explore "$small" --memory 99999999999T
expect 2 'unrecognized option' "$MIGREF" explore --frobnicate
expect 0 '^$' "$MIGREF" explore --help
grep -q '^Usage: migref explore \[OPTION...\] SCENARIO$' "$work/out" || complain "--help does not show its usage"
exit $failed
