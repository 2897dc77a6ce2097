#!/bin/sh
# Writes the tables of SPEC.md that stand in the code already: the rule index, the release profiles, and what each command does
# in each PostcopyState.
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

insert postcopy "$work/postcopy" "$spec" >"$work/third"
insert profile "$work/profile" "$work/third" >"$work/half"
insert rules "$work/rules" "$work/half" >"$work/whole"
if [ "${1:-}" = --check ]; then
    cmp -s "$work/whole" "$spec" && exit 0
    echo "$spec: expected the tables of ref/rules.def, profile.def and machine/postcopy.def, found others; run $0" >&2
    exit 1
fi
cmp -s "$work/whole" "$spec" || cat "$work/whole" >"$spec"
