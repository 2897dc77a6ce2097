#!/bin/sh
# Fills the examples of SPEC.md with what migref prints.
#
#   tools/spec-examples.sh           rewrites the examples
#   tools/spec-examples.sh --check   compares only; exit status 1 and a difference if SPEC.md is out of date
#
# An example is a fenced block with the info string `dump VECTOR [KIND [FIELD=VALUE...]]`: the output of
# `migref dump --hex VECTOR`, all of it or, with KIND, only the first record of that kind with these fields. MIGREF names
# the program (default build/migref).

set -eu
cd "$(dirname "$0")/.."
mode=${1:-}
spec=SPEC.md
migref=${MIGREF:-build/migref}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

[ -x "$migref" ] || {
    echo "$migref: expected the built program, found none" >&2
    exit 3
}

# A record is a paragraph: hex lines, one line of text, the fields of a device section, an empty line.
first_record() {
    dump=$1
    kind=$2
    shift 2
    awk -v kind="$kind" -v fields="$*" 'BEGIN { RS = ""; wanted = split(fields, field, " ") } {
        lines = split($0, line, "\n")
        for (n = 1; n < lines && line[n] !~ / \+[0-9]+ /; n++)
            ;
        words = split(line[n], word, " ")
        for (i = 1; i < words && word[i] !~ /^\+[0-9]/; i++)
            ;
        fits = word[i + 1] == kind
        for (i = 1; i <= wanted; i++)
            fits = fits && index(line[n] " ", " " field[i] " ")
        if (fits && !found++)
            print
    }' "$dump"
}

example() {
    vector=$1
    shift
    [ -f "$vector" ] || {
        echo "$spec: expected the vector $vector, found none" >&2
        return 1
    }
    # A vector may break a rule on purpose: the records before the breach are what is shown.
    "$migref" dump --hex "$vector" >"$work/dump" 2>"$work/error" || [ -s "$work/dump" ] || {
        echo "$spec: expected records of $vector, found: $(head -n 1 "$work/error")" >&2
        return 1
    }
    if [ $# -gt 0 ]; then
        first_record "$work/dump" "$@" >"$work/part"
        [ -s "$work/part" ] || {
            echo "$spec: expected a record $* in $vector, found none" >&2
            return 1
        }
        mv "$work/part" "$work/dump"
    fi
    awk 'NF { for (; empty > 0; empty--) print ""; print; next } NR > 1 { empty++ }' "$work/dump"
}

status=0
inside=
while IFS= read -r line; do
    case $inside$line in
    '```dump '*)
        printf '%s\n' "$line"
        inside=x
        set -f
        # shellcheck disable=SC2086
        set -- ${line#'```dump '}
        set +f
        example "$@" || status=1
        ;;
    'x```')
        printf '%s\n' "$line"
        inside=
        ;;
    x*) ;;
    *) printf '%s\n' "$line" ;;
    esac
done <"$spec" >"$work/whole"
[ -z "$inside" ] || {
    echo "$spec: expected the end of an example, found the end of the file" >&2
    exit 1
}
[ "$status" -eq 0 ] || exit 1
if [ "$mode" = --check ]; then
    diff -u "$spec" "$work/whole" || {
        echo "$spec: expected the examples that $migref prints, found others; run tools/spec-examples.sh" >&2
        exit 1
    }
    exit 0
fi
cmp -s "$work/whole" "$spec" || cat "$work/whole" >"$spec"
