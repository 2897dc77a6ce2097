#!/bin/sh
# Draws the pictures of docs/latency.md and writes its tables: runs sim/scenarios/latency-*.ini and variations of them.
#
#   tools/latency.sh           rewrites docs/latency/*.svg and the tables between their markers
#   tools/latency.sh --check   compares only; exit status 1 if something is out of date
#
# Some four minutes of processor time, on all processors. MIGREF names the program, else build/migref.

set -eu
export LC_ALL=C
cd "$(dirname "$0")/.."
page=docs/latency.md
pictures=docs/latency
scenarios=sim/scenarios
program=${MIGREF:-build/migref}
command -v jq >/dev/null || {
    echo 'tools/latency.sh: needs the Debian package jq' >&2
    exit 3
}
[ -x "$program" ] || {
    echo "tools/latency.sh: expected the program $program, found none; run make" >&2
    exit 3
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/runs" "$work/pictures"

# ---- What is run

# What QEMU's authors measured, ms: case, title, plain, with preempt.
cat >"$work/measured" <<'END'
4k	4 KiB	10.68	0.57
2m	2 MiB	10.58	5.02
1g	1 GiB	2046	649
20core	4 KiB, 20 vCPUs	12.1	0.50
END

# A scenario NAME made from the file BASE, with SECTION/KEY=VALUE put in place of what it says.
vary() {
    made=$work/runs/$1.ini
    cp "$scenarios/$2.ini" "$made"
    shift 2
    for setting; do
        awk -v setting="$setting" '
            BEGIN { section = "[" substr(setting, 1, index(setting, "/") - 1) "]"
                    key = substr(setting, index(setting, "/") + 1)
                    value = substr(key, index(key, "=") + 1)
                    sub(/=.*/, "", key) }
            /^\[/ { here = $0 == section }
            !(here && $1 == key) { print }
            $0 == section { print key " = " value }' "$made" >"$work/scenario"
        mv "$work/scenario" "$made"
    done
}

# The same of postcopy without preemption, and with it as its first releases do it and as later ones.
vary_all() {
    name=$1
    shift
    vary "$name" latency-4k 'block mem/size=1G' "$@"
    vary "$name-7.1" latency-4k-preempt 'block mem/size=1G' "$@"
    vary "$name-8.2" latency-4k-preempt 'block mem/size=1G' migration/source=8.2 migration/destination=8.2 "$@"
}

releases='7.1 7.2 8.0 8.2 11.1'
vcpus='1 2 4 8'
receive='256K 1M 2M 4M 6M 16M'
send='256K 1M 2M 4M 6M 16M'
place='1000 2000 2300 2500 3100 5000 10000'

for case in 4k 2m 1g 20core; do
    vary "$case" "latency-$case"
    for release in $releases; do
        vary "$case-$release" "latency-$case-preempt" migration/source="$release" migration/destination="$release"
    done
done
for count in $vcpus; do
    last=$((count - 1))
    for way in '' -preempt; do
        vary "vcpus$count$way" "latency-2m$way" guest/vcpus="$count" "workload writer/vcpus=0-$last"
    done
    vary "vcpus$count-8.2" latency-2m-preempt guest/vcpus="$count" "workload writer/vcpus=0-$last" \
        migration/source=8.2 migration/destination=8.2
done
for size in $receive; do vary_all "receive$size" link/receive-buffer="$size"; done
for size in $send; do vary_all "send$size" link/send-buffer="$size"; done
for time in $place; do vary_all "place$time" costs/place="${time}ns"; done

# One thing is otherwise: name, title, settings.
cat >"$work/parts" <<'END'
as	as in the scenario files, but a guest of 1 GiB	link/fair=yes
large	a guest of 20 GiB	block mem/size=20G
half	receive buffer of 3 MiB	link/receive-buffer=3M
small	both buffers of 256 KiB	link/send-buffer=256K	link/receive-buffer=256K
fast	a destination that keeps up with the link: 1 us a placement	costs/place=1us
near	a link of 20 us	link/latency=20us
far	a link of 200 us	link/latency=200us
coarse	turns of 1 MiB on the link	link/quantum=1M
unfair	no turns on the link: first come, first served	link/fair=no
slow	a fault known after 50 us, a vCPU awake after 50 us	costs/fault=50us	costs/wake=50us
busy	touches every 1 us	workload writer/interval=1us
calm	touches every 1 ms	workload writer/interval=1ms
END
tab=$(printf '\t')
while IFS=$tab read -r name _ first second; do
    vary_all "part-$name" "$first" ${second:+"$second"}
done <"$work/parts"

# ---- Running

(cd "$work/runs" && printf '%s\n' *.ini) | sed 's/\.ini$//' >"$work/names"
echo "tools/latency.sh: $(wc -l <"$work/names") migrations" >&2
PROGRAM=$program WORK=$work xargs -P "$(nproc)" -I '{}' sh -c '
    "$PROGRAM" sim "$WORK/runs/{}.ini" --json >"$WORK/runs/{}.json" || {
        echo "tools/latency.sh: expected that {} completes, found that it fails" >&2
        exit 255
    }' <"$work/names" || exit 3
# A line each: name, mean and maximum in ns, faults, then those in each bucket.
jq -r '
    if .outcome == "completed" and .faults.resolved > 0 then . else error("\(.scenario): \(.outcome)") end
    | [(input_filename | sub(".*/"; "") | sub("[.]json$"; "")),
       (.faults.latency_sum / .faults.resolved | floor), .faults.latency_maximum, .faults.resolved] + .faults.latency
    | @tsv' "$work"/runs/*.json >"$work/results"

# ---- Tables

reading='
    BEGIN { FS = "\t" }
    FILENAME == ARGV[1] { mean[$1] = $2 / 1e6; most[$1] = $3 / 1e6; faults[$1] = $4
                          for (n = 5; n <= NF; n++) bucket[$1, n - 5] = $n
                          next }
    function ms(value) { return sprintf(value >= 100 ? "%.0f" : value >= 10 ? "%.1f" : "%.2f", value) }
    function times(value) { return sprintf(value >= 10 ? "%.0f" : "%.1f", value) }
    function row(name) { return ms(mean[name]) " | " ms(mean[name "-7.1"]) " | " ms(mean[name "-8.2"]) " |" }'

{
    echo '| | | measured, ms | simulated, ms | simulated / measured | worst, ms | faults |'
    echo '|---|---|---|---|---|---|---|'
    awk "$reading"'
        function line(title, way, name, measured) {
            printf "| %s | %s | %s | %s | %.2f | %s | %d |\n", title, way, measured, ms(mean[name]),
                   mean[name] / measured, ms(most[name]), faults[name]
        }
        { line($2, "plain", $1, $3)
          line("", "preempt", $1 "-7.1", $4)
          printf "| | falls to one in | %s | %s | | | |\n", times($3 / $4), times(mean[$1] / mean[$1 "-7.1"]) }
        ' "$work/results" "$work/measured"
} >"$work/compared"

{
    echo '| release, with preempt | 4 KiB | 2 MiB | 1 GiB | 4 KiB, 20 vCPUs |'
    echo '|---|---|---|---|---|'
    for release in $releases; do echo "$release"; done | awk "$reading"'
        { printf "| %s | %s | %s | %s | %s |\n", $1, ms(mean["4k-" $1]), ms(mean["2m-" $1]), ms(mean["1g-" $1]),
                 ms(mean["20core-" $1]) }' "$work/results" -
    awk -F '\t' '{ cells = cells " | " $4 } END { print "| measured" cells " |" }' "$work/measured"
} >"$work/releases"

{
    echo '| vCPUs that write, pages of 2 MiB | plain | preempt, 7.1 | preempt, 8.2 |'
    echo '|---|---|---|---|'
    for count in $vcpus; do echo "$count"; done | awk "$reading"'
        { printf "| %s | %s | %s | %s |\n", $1, ms(mean["vcpus" $1]), ms(mean["vcpus" $1 "-preempt"]),
                 ms(mean["vcpus" $1 "-8.2"]) }' "$work/results" -
} >"$work/vcpus"

{
    echo '| 4 KiB; what is otherwise | plain | preempt, 7.1 | preempt, 8.2 |'
    echo '|---|---|---|---|'
    awk "$reading"'{ print "| " $2 " | " row("part-" $1) }' "$work/results" "$work/parts"
} >"$work/parts-table"

# ---- Pictures

drawing='
    function log10(value) { return log(value) / log(10) }
    function begin(width, height) {
        printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" ",
               width, height, width, height
        print "font-family=\"sans-serif\" font-size=\"12\">"
        print "<style>.ground{fill:#fff}.ink{fill:#222}.pale{fill:#666}.grid{stroke:#ddd}.axis{stroke:#888}"
        print ".plain{fill:#2a6fc9;stroke:#2a6fc9}.preempt{fill:#d9581c;stroke:#d9581c}"
        print ".later{fill:#2e8540;stroke:#2e8540}text{stroke:none!important}.soft{fill-opacity:.3}"
        print ".line{fill:none!important;stroke-width:2}.mean{stroke-width:1.5;stroke-dasharray:4 3}"
        print "@media (prefers-color-scheme:dark){.ground{fill:#15181c}.ink{fill:#eee}.pale{fill:#aaa}"
        print ".grid{stroke:#333}.plain{fill:#5b9bea;stroke:#5b9bea}.preempt{fill:#f08a4f;stroke:#f08a4f}"
        print ".later{fill:#5fb573;stroke:#5fb573}}"
        print "</style>"
        printf "<rect class=\"ground\" width=\"%d\" height=\"%d\" rx=\"6\"/>\n", width, height
    }
    function line(class, x1, y1, x2, y2) {
        printf "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", class, x1, y1, x2, y2
    }
    function box(class, x, y, width, height) {
        printf "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n", class, x, y, width, height
    }
    function text(class, x, y, anchor, words) {
        printf "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", class, x, y, anchor, words
    }
    function unit(us) { return us >= 1e6 ? us / 1e6 " s" : us >= 1e3 ? us / 1e3 " ms" : us " \302\265s" }'

# Bars from 0.1 ms to 10 s, a decade in 100 units.
awk "$reading$drawing"'
    function bar(class, y, value, words) {
        box(class, 160, y, 100 * (log10(value) + 1), 11)
        text("ink", 165 + 100 * (log10(value) + 1), y + 10, "start", words)
    }
    BEGIN { begin(720, 420)
            text("ink", 16, 24, "start", "Mean latency of a fault")
            box("plain", 250, 14, 11, 11); box("preempt", 265, 14, 11, 11)
            text("ink", 282, 24, "start", "measured")
            box("plain soft", 355, 14, 11, 11); box("preempt soft", 370, 14, 11, 11)
            text("ink", 387, 24, "start", "simulated")
            for (n = 0; n <= 5; n++) {
                line("grid", 160 + 100 * n, 40, 160 + 100 * n, 390)
                text("pale", 160 + 100 * n, 407, "middle", unit(100 * 10 ^ n))
            } }
    FILENAME != ARGV[1] {
        y = 50 + 86 * at++
        text("ink", 16, y + 15, "start", $2)
        text("pale", 152, y + 15, "end", "plain")
        text("pale", 152, y + 45, "end", "preempt")
        bar("plain", y, $3, $3 " ms")
        bar("plain soft", y + 13, mean[$1], ms(mean[$1]) " ms")
        bar("preempt", y + 30, $4, $4 " ms")
        bar("preempt soft", y + 43, mean[$1 "-7.1"], ms(mean[$1 "-7.1"]) " ms")
    }
    END { print "</svg>" }' "$work/results" "$work/measured" >"$work/pictures/compared.svg"

# Shares of faults in buckets from 8 us (less included) to 2 s, of both ways side by side.
awk "$reading$drawing"'
    function place_of(us) { return 16 * (log(us) / log(2) - 3) }
    function shares(class, name, x, y, shift,    n, height) {
        for (n = 0; n < 3; n++)
            bucket[name, 3] += bucket[name, n]
        for (n = 3; n < 24; n++) {
            height = 120 * bucket[name, n] / faults[name]
            if (height > 0)
                box(class, x + 16 * (n - 3) + shift, y - height, 6.5, height)
        }
        line(class " mean", x + place_of(1000 * mean[name]), y - 128, x + place_of(1000 * mean[name]), y)
    }
    BEGIN { begin(760, 420)
            text("ink", 16, 24, "start", "Faults by latency, percent of all; dashed: the mean")
            box("plain", 440, 14, 11, 11); text("ink", 457, 24, "start", "plain")
            box("preempt", 520, 14, 11, 11); text("ink", 537, 24, "start", "preempt, 7.1") }
    FILENAME != ARGV[1] {
        x = 48 + 370 * (at % 2)
        y = 205 + 185 * int(at / 2)
        at++
        for (n = 0; n <= 100; n += 50) {
            line("grid", x, y - 1.2 * n, x + 320, y - 1.2 * n)
            text("pale", x - 6, y - 1.2 * n + 4, "end", n)
        }
        for (n = 3; n <= 21; n += 3) {
            whole = n < 10 ? 1 : n < 20 ? 1e3 : 1e6
            text("pale", x + 16 * (n - 3), y + 16, "middle", unit(int(2 ^ n / whole) * whole))
        }
        text("ink", x, y - 136, "start", $2 ": " ms(mean[$1]) " ms, with preempt " ms(mean[$1 "-7.1"]) " ms")
        shares("plain", $1, x, y, 1)
        shares("preempt", $1 "-7.1", x, y, 8.5)
        line("axis", x, y, x + 320, y)
    }
    END { print "</svg>" }' "$work/results" "$work/measured" >"$work/pictures/histograms.svg"

# Means over one parameter, both axes logarithmic: 0.1 to 30 ms, 84 units a decade.
{
    for size in $receive; do echo "0${tab}receive$size${tab}$size"; done
    for size in $send; do echo "1${tab}send$size${tab}$size"; done
    for time in $place; do echo "2${tab}place$time${tab}$time"; done
} | awk "$reading$drawing"'
    function height(value) { return 258 - 84 * (log10(value) + 1) }
    function number(words) { return words ~ /K$/ ? words / 1024 : words ~ /M$/ ? words + 0 : words / 1000 }
    function across(panel, value) {
        return 50 + 240 * panel + (panel < 2 ? 32 * (log(value) / log(2) + 2) : 190 * log10(value))
    }
    function curve(class, panel, suffix,    n) {
        printf "<polyline class=\"%s line\" points=\"", class
        for (n = 0; n < count[panel]; n++)
            printf "%s%.1f,%.1f", n ? " " : "", across(panel, value[panel, n]), height(mean[name[panel, n] suffix])
        print "\"/>"
        for (n = 0; n < count[panel]; n++)
            printf "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\"/>\n", class, across(panel, value[panel, n]),
                   height(mean[name[panel, n] suffix])
    }
    function frame(panel, title, now,    n) {
        text("ink", 50 + 240 * panel, 46, "start", title)
        for (n = 0; n < 3; n++) {
            line("grid", 50 + 240 * panel, height(10 ^ (n - 1)), 245 + 240 * panel, height(10 ^ (n - 1)))
            text("pale", 44 + 240 * panel, height(10 ^ (n - 1)) + 4, "end", unit(10 ^ (n + 2)))
        }
        line("axis", 50 + 240 * panel, 258, 245 + 240 * panel, 258)
        line("axis mean", across(panel, now), 56, across(panel, now), 258)
    }
    FILENAME != ARGV[1] { name[$1, count[$1] + 0] = $2; value[$1, count[$1]++ + 0] = number($3) }
    END { begin(760, 290)
          text("ink", 16, 24, "start", "Mean latency of a fault, pages of 4 KiB; dashed: as in the scenario files")
          text("plain", 480, 24, "start", "plain"); text("preempt", 530, 24, "start", "preempt, 7.1")
          text("later", 620, 24, "start", "preempt, 8.2")
          frame(0, "receive buffer, MiB", 6)
          frame(1, "send buffer, MiB", 4)
          frame(2, "placing a page, \302\265s", 3.1)
          for (panel = 0; panel < 2; panel++)
              for (n = 0; n <= 6; n += 2)
                  text("pale", across(panel, 2 ^ (n - 2)), 275, "middle", 2 ^ (n - 2))
          for (n = 0; n < 4; n++)
              text("pale", across(2, substr("12510", n + 1, n == 3 ? 2 : 1)), 275, "middle",
                   substr("12510", n + 1, n == 3 ? 2 : 1))
          for (panel = 0; panel < 3; panel++) {
              curve("plain", panel, ""); curve("preempt", panel, "-7.1"); curve("later", panel, "-8.2")
          }
          print "</svg>" }' "$work/results" - >"$work/pictures/sensitivity.svg"

# ---- Putting it in place

# Replaces what stands between the markers of one table.
insert() {
    if ! grep -q "^<!-- $1 begin -->\$" "$3" || ! grep -q "^<!-- $1 end -->\$" "$3"; then
        echo "$page: expected the markers of table $1, found none" >&2
        exit 3
    fi
    awk -v begin="<!-- $1 begin -->" -v end="<!-- $1 end -->" -v table="$2" '
        $0 == end { inside = 0 }
        !inside { print }
        $0 == begin { inside = 1; while ((getline line < table) > 0) print line }' "$3"
}

insert compared "$work/compared" "$page" >"$work/first"
insert releases "$work/releases" "$work/first" >"$work/second"
insert vcpus "$work/vcpus" "$work/second" >"$work/third"
insert parts "$work/parts-table" "$work/third" >"$work/whole"

stale=0
deliver() {
    cmp -s "$1" "$2" && return
    if [ "${check:-}" ]; then
        echo "$2: expected what the simulator gives now, found something else; run tools/latency.sh" >&2
        stale=1
    else
        cat "$1" >"$2"
    fi
}
[ "${1:-}" = --check ] && check=yes
mkdir -p "$pictures"
deliver "$work/whole" "$page"
for picture in compared histograms sensitivity; do
    deliver "$work/pictures/$picture.svg" "$pictures/$picture.svg"
done
exit "$stale"
