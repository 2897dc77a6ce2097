#!/bin/bash
# migref sim: one seed gives one run, whatever the time, the environment and the compiler; what it records replays; bad
# input and a full disk give one line.
set -u
export LC_ALL=C
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/cli/expect.bash

# ---- One seed, one run

small=$work/small.ini
cat >"$small" <<'END'
[guest]
vcpus = 2
[block mem]
size = 1M
[workload writer]
vcpus = 0-1
pattern = random
interval = 20us
[link]
bandwidth = 1Gbit
[migration]
capabilities = postcopy-ram, return-path
switch-passes = 1
END

same() { # WHAT COMMAND...: the run of small.ini is what it was
	local what=$1
	shift
	rm -rf "$work/again"
	"$@" "$MIGREF" sim "$small" --seed 7 -o "$work/again" >"$work/again.txt" 2>"$work/again.err" ||
		complain "$what: fails: $(head -n 3 "$work/again.err")"
	cmp "$work/first.txt" "$work/again.txt" || complain "$what: another summary"
	diff -r "$work/first" "$work/again" || complain "$what: another recording"
}

"$MIGREF" sim "$small" --seed 7 -o "$work/first" >"$work/first.txt" || complain "small.ini fails"
grep -q ': completed$' "$work/first.txt" || complain "small.ini does not complete"
[ -s "$work/first/ch0.fwd" ] || [ -s "$work/first/ch0.fwd.zst" ] || complain "no stream was recorded"
same 'a second run'
same 'another environment' env -i LC_ALL=de_DE.UTF-8 TZ=Asia/Kolkata
command -v faketime >/dev/null && same 'another date and speed' faketime -f '@2038-01-19 03:14:07 x1000'
command -v valgrind >/dev/null && same valgrind valgrind --error-exitcode=9 --leak-check=full -q
"$MIGREF" sim "$small" --seed 8 | tail -n 1 | cmp -s - <(tail -n 1 "$work/first.txt") && complain "another seed, the same run"

# Other compilers' programs, unless they are older than the sources.
for other in "$BUILD_DIR"/variants/*/migref; do
	[ -x "$other" ] || continue
	[ -z "$(find ref sim -name '*.[chd]*' -newer "$other" -print -quit)" ] || continue
	(MIGREF=$other same "$other"; exit $failed) || failed=1
	"$MIGREF" sim --seeds 1..20 >"$work/ours"
	"$other" sim --seeds 1..20 | cmp "$work/ours" - || complain "$other: another swarm"
done

# ---- Every scenario of the library, with less memory than it has there

# A sixteenth of what is in MiB; GiB become MiB.
smaller='/^(size|start|length|page-size) = [0-9]+[MGT]/ {
	unit = substr($3, length($3))
	number = $3 + 0
	if (unit == "T")
		number *= 16
	else if (unit == "M" && $1 != "page-size")
		number /= 16
	$3 = number "M"
}
{ print }'
check='length == 1 and (.[0] | (.digest as $digest | $text | endswith($digest)) and .violation == null and .outcome == "completed" and
	.streams_judged and (.faults | (.latency | add) == .resolved and .resolved <= .faults) and (.bytes | .forward ==
	.pages + .zero_pages + .differences + .packets + .headers + .discards + .devices))'
for scenario in sim/scenarios/*.ini; do
	name=$(basename "$scenario" .ini)
	awk "$smaller" "$scenario" >"$work/$name.ini"
	"$MIGREF" sim "$work/$name.ini" -o "$work/$name" >"$work/$name.txt" || complain "$name: $(head -n 1 "$work/$name.txt")"
	"$MIGREF" replay "$work/$name" >"$work/replay" || complain "$name: $(grep -m 3 -E 'DIFFERS|HOLD|FIT' "$work/replay")"
	"$MIGREF" sim "$work/$name.ini" --json >"$work/json" || complain "$name: --json fails"
	jq -es --arg text "$(tail -n 1 "$work/$name.txt")" "$check" <"$work/json" >/dev/null || complain "$name: --json is wrong"
	"$MIGREF" sim "$work/$name.ini" --print >"$work/print.ini"
	[ "$("$MIGREF" sim "$work/print.ini" | tail -n 1)" = "$(tail -n 1 "$work/$name.txt")" ] ||
		complain "$name: what --print gives runs otherwise"
	rm -rf "${work:?}/$name"
done

# ---- Seeds that draw their scenario

for seed in 1 17 170; do
	"$MIGREF" sim --seed $seed --print >"$work/seed.ini" || complain "seed $seed cannot be printed"
	"$MIGREF" sim --seed $seed >"$work/drawn"
	[ "$("$MIGREF" sim "$work/seed.ini" | tail -n 1)" = "$(tail -n 1 "$work/drawn")" ] ||
		complain "seed $seed: what --print gives runs otherwise"
	"$MIGREF" sim --seeds $seed..$seed | grep -q "$(awk 'END { print $NF }' "$work/drawn")\$" ||
		complain "seed $seed: a swarm runs it otherwise"
done
for seed in {1..20}; do
	rm -rf "$work/drawn"
	"$MIGREF" sim --seed "$seed" -o "$work/drawn" >"$work/out" || continue
	"$MIGREF" replay "$work/drawn" >"$work/replay" ||
		complain "seed $seed: $(grep -m 3 -E 'DIFFERS|HOLD|FIT' "$work/replay")"
done
expect 0 '^$' "$MIGREF" sim "$small" --seeds 5..8
[ "$(grep -cE '^ +[5-8]  ' "$work/out")" -eq 4 ] || complain "a swarm of one scenario has no line for each seed"
grep -q 'not judged: one scenario' "$work/out" || complain "a swarm of one scenario is judged by events"
expect 1 '^$' "$MIGREF" sim "$small" --seeds 5..6 --require-all
grep -q '^DOES NOT HOLD: .* events never occurred' "$work/out" || complain "--require-all requires nothing"

# ---- What fails

# A run that may not last is one that does not hold.
sed 's/^switch-passes/time-limit = 2ms\n&/; s/vcpus = 2/&\ndevices = 3/' "$small" >"$work/short.ini"
expect 1 '^$' "$MIGREF" sim "$work/short.ini" --seed 3
head -n 1 "$work/out" | grep -qE 'short\.ini, seed 3: VIOLATED over at [0-9]+\.[0-9]{3} ms: ' ||
	complain "a violation is not told: $(head -n 1 "$work/out")"
again=$(sed -n 's/^  again  *migref //p' "$work/out")
[ "$again" = "sim $work/short.ini --seed 3" ] || complain "the command that does it again is $again"
cp "$work/out" "$work/violated"
# shellcheck disable=SC2086
"$MIGREF" $again | cmp -s - "$work/violated" || complain "the command does not do it again"
"$MIGREF" sim "$work/short.ini" --seed 3 --json |
	jq -e '.outcome == "violated" and .violation.property == "over" and .violation.time > 0 and (.streams_judged | not)' \
		>/dev/null || complain "--json does not tell a violation"
expect 1 '^$' "$MIGREF" sim "$work/short.ini" --seeds 3..6 --failures "$work/failures"
[ "$(grep -c '^  VIOLATED: over at ' "$work/out")" -eq 4 ] || complain "not every seed that fails is told"
grep -qF "  again: migref sim $work/short.ini --seed 6" "$work/out" || complain "a swarm does not say how to do it again"
[ "$(ls "$work/failures")" = 'short-3.ini
short-4.ini' ] || complain "not the first two seeds are simplified"
grep -qE "simplified in [1-9][0-9]* steps of [0-9]+ tries: migref sim $work/failures/short-3.ini\$" "$work/out" ||
	complain "the simplified scenario is not told"
expect 1 '^$' "$MIGREF" sim "$work/failures/short-3.ini"
head -n 1 "$work/out" | grep -q 'short-3.ini, seed 3: VIOLATED over' || complain "the simplified scenario does not fail alike"
[ "$(wc -l <"$work/failures/short-3.ini")" -lt "$(wc -l <"$work/short.ini")" ] || complain "it is not simpler"
"$MIGREF" sim "$work/short.ini" --seeds 3..6 >"$work/out"
[ "$(grep -c '; a file with the following fails alike:$' "$work/out")" -eq 2 ] || complain "no scenario is printed"

# A run that is killed is the failure of its seed; the others go on.
sed 's/size = 1M/size = 4G/; s/1Gbit/100Gbit/' "$small" >"$work/slow.ini"
"$MIGREF" sim "$work/slow.ini" --seeds 1..2 --jobs 1 >"$work/killed" 2>"$work/errors" &
swarm=$!
for ((i = 0; i < 100; i++)); do
	child=$(ps -o pid= --ppid $swarm | head -n 1)
	[ -z "$child" ] || break
	sleep 0.1
done
kill -SEGV "$child"
wait $swarm
[ $? -eq 1 ] || complain "a run that is killed does not fail the swarm"
grep -qE '^ +1  .*  died ' "$work/killed" || complain "a run that is killed has no line"
grep -q 'FAILED: the process died of signal 11 (SIGSEGV)' "$work/killed" || complain "a run that is killed is not named"
grep -qF "again: migref sim $work/slow.ini --seed 1" "$work/killed" || complain "the command for a run that is killed is missing"
grep -qE '^ +2  .*  completed ' "$work/killed" || complain "the other run does not go on"

# ---- What a user may get wrong

expect 2 'expected a SCENARIO, --seed or --seeds' "$MIGREF" sim
expect 2 'one SCENARIO at a time' "$MIGREF" sim a b
expect 2 '--seed: expected a number below 2\^64, found -1' "$MIGREF" sim --seed=-1
expect 2 '--seed: expected a number' "$MIGREF" sim --seed 18446744073709551616
expect 2 '--seeds: expected two numbers' "$MIGREF" sim --seeds 1-3
expect 2 '--seeds: expected two numbers' "$MIGREF" sim --seeds 3..1
expect 2 '--jobs: expected a number from 1' "$MIGREF" sim --seeds 1..2 --jobs 0
expect 2 '--shard: expected I/N' "$MIGREF" sim --seeds 1..2 --shard 3/2
expect 2 'go with --seeds' "$MIGREF" sim "$small" --jobs 2
expect 2 '--seeds goes with neither' "$MIGREF" sim --seeds 1..2 -o "$work/x"
expect 2 '--print goes with neither' "$MIGREF" sim "$small" --print --json
expect 2 '--merge: expected a FILE' "$MIGREF" sim --merge
expect 2 '--merge goes with no option' "$MIGREF" sim --merge --seeds 1..2 x

bad() { # LINE SED-SCRIPT PATTERN: small.ini, so changed, is refused at that line
	sed "$2" "$small" >"$work/bad.ini"
	expect 3 "bad\\.ini:$1: .*$3" "$MIGREF" sim "$work/bad.ini"
	[ -s "$work/out" ] && complain "bad.ini: something is printed"
	expect 3 "bad\\.ini:$1: " "$MIGREF" sim "$work/bad.ini" --seeds 1..2
}

bad 2 '2s/vcpus/vcpu/' 'vcpu'
bad 1 '1s/guest/gast/' 'gast'
bad 3 '2a vcpus = 2' 'vcpus'
bad 2 '2s/2/0/' '0'
bad 4 '4s/1M/1000000/' '1000000'
bad 4 '4s/1M/many/' 'many'
bad 6 '6s/0-1/0-2/' '2'
bad 7 '7s/random/chaos/' 'chaos'
bad 10 '10s/1Gbit/0/' '0'
bad 12 '12s/postcopy-ram/fly/' 'fly'
bad '[0-9]*' '12s/, return-path/, xbzrle, multifd/' ''
expect 3 'nowhere\.ini: ' "$MIGREF" sim "$work/nowhere.ini"
expect 3 "$work: " "$MIGREF" sim "$work"
expect 3 '' "$MIGREF" sim /dev/null/x.ini

# ---- What the machine refuses

mkdir "$work/there"
touch "$work/there/kept"
expect 3 'there: ' "$MIGREF" sim "$small" -o "$work/there"
[ "$(ls "$work/there")" = kept ] || complain "a directory that is in use is written to"
expect 3 'nowhere/x: ' "$MIGREF" sim "$small" -o "$work/nowhere/x"
touch "$work/file"
expect 3 'file: ' "$MIGREF" sim --seeds 1..2 --failures "$work/file"
limited() {
	ulimit -f 64
	trap '' XFSZ
	"$MIGREF" sim "$small" -o "$work/limited"
}
expect 3 'limited' limited
if [ -e /dev/full ]; then
	for arguments in "$small" "$small --json" "--seeds 1..3" "--seeds 1..3 --json" "--seed 3 --print"; do
		# shellcheck disable=SC2086
		"$MIGREF" sim $arguments >/dev/full 2>"$work/err"
		[ $? -eq 3 ] || complain "sim $arguments: a full disk is not told"
		[ "$(wc -l <"$work/err")" -eq 1 ] || complain "sim $arguments: not one line: $(cat "$work/err")"
	done
fi
exit $failed
