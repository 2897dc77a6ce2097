#!/bin/sh
# Writes the tables of SPEC.md that stand in the code already: the rule index, the release profiles, what each command does in
# each PostcopyState, capabilities, parameters and statuses.
#
# The tables of what a source does, chooses and waits for say more than the header can: they are written by hand, and only
# their names are compared with those of ref/outgoing.h.
#
#   tools/spec-tables.sh           rewrites the tables between their markers
#   tools/spec-tables.sh --check   compares only; exit status 1 if SPEC.md is out of date

set -eu
cd "$(dirname "$0")/.."
spec=SPEC.md
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One macro call a line, fields separated by tabs, strings without their quotes, cells such as TO2(A, B) as they are.
calls() {
    awk -v macro="$1" '
        function flush(    rest, line, n) {
            rest = substr(text, length(macro) + 2)
            line = ""
            for (n = 0; match(rest, /"[^"]*"|[A-Za-z_0-9]+(\([A-Z0-9, ]*\))?/); n++) {
                line = line (n ? "\t" : "") substr(rest, RSTART, RLENGTH)
                rest = substr(rest, RSTART + RLENGTH)
            }
            gsub(/"/, "", line)
            print line
            text = ""
        }
        text != "" || index($0, macro "(") == 1 {
            sub(/^[ \t]+/, "")
            text = text $0
            if (text ~ /\)$/)
                flush()
        }' "$2"
}

verdict_names='NR == 1 { name["MR_ACCEPTABLE"] = "acceptable"; name["MR_STATE"] = "state"
                         name["MR_RUNTIME"] = "runtime"; name["MR_MALFORMED"] = "malformed" }'

{
    echo '| Rule | A breach is | In one line |'
    echo '|---|---|---|'
    calls MR_RULE ref/rules.def | awk -F '\t' "$verdict_names"'{ printf "| %s | %s | %s |\n", $2, name[$3], $4 }'
} >"$work/rules"

{
    echo '| Switch | From | Until | Property | What a release does that has it |'
    echo '|---|---|---|---|---|'
    calls MR_SWITCH ref/profile.def |
        awk -F '\t' '{ printf "| %s | %s | %s | %s | %s |\n", $2, $3, $4, $5 == "" ? "" : "`" $5 "`", $6 }'
    echo
    echo '| Property | Releases that have it | Machine types up to | set the switch |'
    echo '|---|---|---|---|'
    calls MR_MACHINE_PROPERTY ref/profile.def |
        awk -F '\t' '{ from = $3 == "" ? "2.5" : $3; until = $4 == "" ? "11.1" : $4
                       printf "| `%s` | %s to %s | %s | %s |\n", $2, from, until, $5 == "" ? "none" : $5,
                              $6 == "true" ? "on" : "off" }'
} >"$work/profile"

{
    echo '| Command | NONE | ADVISE | DISCARD | LISTENING | RUNNING | END |'
    echo '|---|---|---|---|---|---|---|'
    calls MR_COMMAND_ROW ref/machine/postcopy.def | awk -F '\t' '
        function cell(text,    kind, inner, state) {
            kind = inner = text
            sub(/\(.*/, "", kind)
            gsub(/^[^(]*\(|[) ]/, "", inner)
            split(inner, state, ",")
            if (kind == "KEEP") return "taken"
            if (kind == "TO") return "taken: " state[1]
            if (kind == "TO2") return "taken: " state[1] "; QEMU: " state[2]
            if (kind == "IGNORE") return "ignored"
            if (kind == "REFUSE") return "refused"
            if (kind == "SPOIL") return "refused; QEMU: " state[1]
            if (kind == "NEVER") return ""
            print "ref/machine/postcopy.def: expected a kind of cell, found " text >"/dev/stderr"
            exit 1
        }
        NF != 7 { print "ref/machine/postcopy.def: expected a command and six cells, found " $0 >"/dev/stderr"; exit 1 }
        { line = "| " $1; for (n = 2; n <= NF; n++) line = line " | " cell($n); print line " |" }'
} >"$work/postcopy"

# Common to the tables of capabilities, parameters and statuses: a cell of grounds; a number that is a limit of its field.
cells='function grounds(text) { return "[" text "]" }
       function number(text) { return text == "18446744073709551615" ? "2^64 - 1" : text == "4294967295" ? "2^32 - 1" : text }'

# A capability's symbol stands for its name in the other tables.
calls MR_CAPABILITY_ROW ref/capability.def | cut -f 1,2 >"$work/names"
named='FILENAME == ARGV[1] { name[$1] = $2; next }
       { for (n = 1; n <= 2; n++)
             if (n < NF && !($n in name) && (n == 1 || pairs)) {
                 print "ref/capability.def: expected a capability, found " $n >"/dev/stderr"
                 exit 1
             } }'

{
    echo '| Capability | From | Until | What it is about | Known from |'
    echo '|---|---|---|---|---|'
    calls MR_CAPABILITY_ROW ref/capability.def |
        awk -F '\t' "$cells"'{ printf "| `%s` | %s | %s | %s | %s |\n", $2, $3, $4, $5, grounds($6) }'
} >"$work/capabilities"

{
    echo '| Capability | | Other | From | Until | Known from |'
    echo '|---|---|---|---|---|---|'
    for kind in NEEDS EXCLUDES; do
        calls "MR_CAPABILITY_$kind" ref/capability.def |
            awk -F '\t' -v pairs=1 -v kind="$kind" "$cells$named"'
                { printf "| `%s` | %s | `%s` | %s | %s | %s |\n", name[$1], tolower(kind), name[$2], $3, $4, grounds($5) }
            ' "$work/names" -
    done
    calls MR_CAPABILITY_PLAIN ref/capability.def | awk -F '\t' "$cells$named"'
        { printf "| `%s` | excludes | compression with multifd; TLS | %s | %s | %s |\n", name[$1], $2, $3, grounds($4) }
        ' "$work/names" -
    calls MR_CAPABILITY_BEFORE_LISTENING ref/capability.def | awk -F '\t' "$cells$named"'
        { printf "| `%s` | before | listening; may be set anew from %s on | %s | | %s |\n", name[$1], $3, $2, grounds($4) }
        ' "$work/names" -
} >"$work/combinations"

{
    echo '| Parameter | Least | Most | Default | From | Until | Unit | Known from |'
    echo '|---|---|---|---|---|---|---|---|'
    calls MR_PARAMETER_CHOICE ref/capability.def >"$work/choices"
    calls MR_PARAMETER_ROW ref/capability.def | awk -F '\t' "$cells"'
        FILENAME == ARGV[1] {
            values[$1] = values[$1] (values[$1] == "" ? "" : ", ") $2 ($3 == "" ? "" : " " $3)
            next
        }
        $3 == "CHOICE" { range = values[$1] " | " }
        $3 == "SWITCH" { range = "false | true" }
        $3 == "TEXT" { range = "text | " }
        $3 == "SIZE" { range = "a target page, powers of two | 2^63" }
        $3 == "NUMBER" { range = $4 " | " number($5) }
        { printf "| `%s` | %s | %s | %s | %s | %s | %s |\n", $2, range, $6, $7, $8, $9, grounds($10) }
        ' "$work/choices" -
} >"$work/parameters"

for side in SOURCE DESTINATION; do
    {
        echo '| From | To | When | Since | Until | Known from |'
        echo '|---|---|---|---|---|---|'
        calls MR_STATUS_ROW ref/status.def | awk -F '\t' -v side="$side" "$cells"'
            $1 == side { printf "| %s | %s | %s | %s | %s | %s |\n", $2, $3, $6, $4, $5, grounds($7) }'
    } >"$work/status-$side"
done

{
    echo '| Event | When | Since | Until | Known from |'
    echo '|---|---|---|---|---|'
    calls MR_STATUS_EVENT ref/status.def | awk -F '\t' "$cells"'
        { printf "| %s | %s | %s | %s | %s |\n", $2, $5, $3, $4, grounds($6) }'
} >"$work/status-events"

# Replaces what stands between the markers of one table.
insert() {
    if ! grep -q "^<!-- $1 begin -->\$" "$3" || ! grep -q "^<!-- $1 end -->\$" "$3"; then
        echo "$spec: expected the markers of table $1, found none" >&2
        exit 3
    fi
    awk -v begin="<!-- $1 begin -->" -v end="<!-- $1 end -->" -v table="$2" '
        $0 == end { inside = 0 }
        !inside { print }
        $0 == begin { inside = 1; while ((getline line < table) > 0) print line }' "$3"
}

# The enumerators of one enum of ref/outgoing.h as names; behind an action, whether it is told or asked.
enumerators() {
    awk -v name="$1" -v prefix="$2" '
        $0 == "enum " name " {" { inside = 1; next }
        $0 == "};" { inside = 0 }
        inside && /^\t\/\* (told|asked) \*\/$/ { how = " " $2 }
        inside && index($1, prefix) == 1 {
            word = substr($1, length(prefix) + 1)
            gsub(/,.*/, "", word)
            if (word ~ /COUNT$/)
                next
            gsub(/_/, "-", word)
            print tolower(word) how
        }' ref/outgoing.h
}

# The first columns of the rows between the markers of one table.
names() {
    awk -F ' *[|] *' -v begin="<!-- $1 begin -->" -v end="<!-- $1 end -->" -v columns="$2" '
        $0 == end { inside = 0 }
        inside && ++row > 2 { print columns == 2 ? $2 " " $3 : $2 }
        $0 == begin { inside = 1 }' "$spec"
}

stale=0
compare() {
    enumerators "$2" "$3" >"$work/known"
    names "$1" "$4" >"$work/named"
    [ -s "$work/known" ] || {
        echo "ref/outgoing.h: expected enum $2, found none" >&2
        exit 3
    }
    diff "$work/known" "$work/named" >"$work/differs" || {
        echo "$spec: expected the rows of $2 in table $1, in its order, found others:" >&2
        grep '^[<>]' "$work/differs" | sed 's/^</missing:/; s/^>/unknown:/' >&2
        stale=1
    }
}
compare source-actions mr_source_action_kind MR_SOURCE_ACTION_ 2
compare source-choices mr_choice MR_CHOICE_ 1
compare source-waits mr_source_wait MR_SOURCE_WAIT_ 1

cat "$spec" >"$work/base"
for table in capabilities combinations parameters status-SOURCE status-DESTINATION status-events; do
    insert "$table" "$work/$table" "$work/base" >"$work/next"
    mv "$work/next" "$work/base"
done
insert postcopy "$work/postcopy" "$work/base" >"$work/third"
insert profile "$work/profile" "$work/third" >"$work/half"
insert rules "$work/rules" "$work/half" >"$work/whole"
if [ "${1:-}" = --check ]; then
    cmp -s "$work/whole" "$spec" && exit "$stale"
    echo "$spec: expected the tables of ref/*.def and machine/postcopy.def, found others; run $0" >&2
    exit 1
fi
cmp -s "$work/whole" "$spec" || cat "$work/whole" >"$spec"
exit "$stale"
