#!/bin/bash
# The program on large streams: extract against cp of the same file; records a second of dump --json and check.
set -u
export LC_ALL=C
rounds=7
pages=262144
zero_pages=3000000
work=$BUILD_DIR/bench/program
TIMEFORMAT='%R %U %S'
trap 'rm -rf "$work"' EXIT

fail() {
	echo "bench_program.sh: $1" >&2
	exit 3
}

# Appends wall and processor seconds of a command to a file of samples.
measure() { # SAMPLES COMMAND...
	local samples=$1 taken
	shift
	taken=$({ time "$@" >/dev/null; } 2>&1) || fail "$*: $taken"
	awk '{ print $1, $2 + $3 }' <<<"$taken" >>"$work/$samples"
}

median() { # reads numbers
	sort -g | awk '{ value[NR] = $1 } END { print (value[int((NR + 1) / 2)] + value[int(NR / 2) + 1]) / 2 }'
}

# Of column 1 (wall) or 2 (processor time): the median of one file of samples, in milliseconds.
milliseconds() { # SAMPLES COLUMN
	awk -v column="$2" '{ print 1000 * $column }' "$work/$1" | median
}

# Above 1 if ours is faster: the median over the rounds, whose two sides ran one right after the other.
ratio() { # OURS REFERENCE COLUMN
	paste -d ' ' "$work/$1" "$work/$2" | awk -v column="$3" '{ print $(column + 2) / $column }' | median
}

rate() { # SAMPLES RECORDS TEXT
	printf '%-34s %8.0f %8.0f   %6.1f million records a second (cpu)\n' "$3" "$(milliseconds "$1" 1)" \
		"$(milliseconds "$1" 2)" "$(awk -v n="$2" -v t="$(milliseconds "$1" 2)" 'BEGIN { print n / t / 1e3 }')"
}

mkdir -p "$work" || exit 3
free=$(df --output=avail -B 1M "$work" | tail -n 1)
[ "$free" -gt 4096 ] || { echo "skipped: 4 GiB of disk are needed, $free MiB are free"; exit 0; }
"$BUILD_DIR/bench/bench_stream" random $pages "$work/random" || exit 3
"$BUILD_DIR/bench/bench_stream" zero $zero_pages "$work/zero" || exit 3

# The first write to a disk differs from the next ones; it is not counted.
cp "$work/random" "$work/copy.stream" || fail 'cp fails'
rm "$work/copy.stream"
for ((i = 0; i < rounds; i++)); do
	for ((j = 0; j < 2; j++)); do
		if (((i + j) % 2)); then
			measure copy cp "$work/random" "$work/copy.stream"
		else
			measure extract "$MIGREF" extract "$work/random" -o "$work/blocks"
		fi
		rm -rf "$work/blocks" "$work/copy.stream"
	done
	measure dump-random "$MIGREF" dump --json "$work/random"
	measure dump-zero "$MIGREF" dump --json "$work/zero"
	measure check-random "$MIGREF" check "$work/random"
	measure check-zero "$MIGREF" check "$work/zero"
done

printf '%d random pages of 4096 bytes, %d zero pages, %d rounds\n\n' $pages $zero_pages $rounds
printf '%-34s %17s %17s %13s %7s\n' '' migref cp ratio target
printf '%-34s %8s %8s %8s %8s %6s %6s\n' 'milliseconds, medians' wall cpu wall cpu wall cpu
printf '%-34s %8.0f %8.0f %8.0f %8.0f %6.2f %6.2f %7s\n\n' 'extract' "$(milliseconds extract 1)" \
	"$(milliseconds extract 2)" "$(milliseconds copy 1)" "$(milliseconds copy 2)" \
	"$(ratio extract copy 1)" "$(ratio extract copy 2)" 0.80
printf '%-34s %8s %8s\n' 'milliseconds, medians' wall cpu
rate dump-random $pages 'dump --json, random pages'
rate dump-zero $zero_pages 'dump --json, zero pages'
rate check-random $pages 'check, random pages'
rate check-zero $zero_pages 'check, zero pages'
