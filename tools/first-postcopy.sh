#!/bin/sh
# Makes the page for learners and the small recording that it reads.
#
#   tools/first-postcopy.sh              fills docs/first-postcopy.md with what migref explains
#   tools/first-postcopy.sh --recording  writes the recording's files from its recording.txt
#   tools/first-postcopy.sh --check      compares both only; exit status 1 and a difference if one is out of date
#
# A part of the page is a fenced block with the info string `explain FIRST LAST`: these paragraphs of what
# `migref explain --steps` prints, counted from 1. All parts together are all paragraphs in their order. MIGREF names the
# program (default build/migref).

set -eu
export LC_ALL=C
cd "$(dirname "$0")/.."
mode=${1:-}
page=docs/first-postcopy.md
recording=vectors/recordings/first-postcopy
migref=${MIGREF:-build/migref}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The bytes of a file, each as an octal escape.
escapes() { # FILE
    awk -v wanted="$1" '
    function escape(byte) { return sprintf("\\0%03o", byte) }
    function digit(character) { return index("0123456789abcdef", character) - 1 }
    function pairs(text,   at, all) {
        for (at = 1; at < length(text); at += 2)
            all = all escape(digit(substr(text, at, 1)) * 16 + digit(substr(text, at + 1, 1)))
        return all
    }
    function characters(text,   at, all) {
        for (at = 1; at <= length(text); at++)
            all = all escape(code[substr(text, at, 1)])
        return all
    }
    function repeated(text,   part, one, all) {
        split(text, part, "*")
        one = part[1] == "zero" ? escape(0) : pairs(substr(part[1], 6))
        while (part[2]-- > 0)
            all = all one
        return all
    }
    BEGIN { for (byte = 32; byte < 127; byte++) code[sprintf("%c", byte)] = byte }
    /^file / { inside = $2 == wanted; next }
    inside {
        out = ""
        for (rest = $0; rest != ""; rest = substr(rest, RLENGTH + 1)) {
            if (match(rest, /^( +|#.*)/))
                continue
            if (match(rest, /^\047[^\047]+\047/))
                out = out characters(substr(rest, 2, RLENGTH - 2))
            else if (match(rest, /^(zero|byte:[0-9a-f][0-9a-f])\*[0-9]+/))
                out = out repeated(substr(rest, 1, RLENGTH))
            else if (match(rest, /^([0-9a-f][0-9a-f])+/))
                out = out pairs(substr(rest, 1, RLENGTH))
            else {
                printf "recording.txt:%d: expected bytes, found %s\n", NR, rest >"/dev/stderr"
                exit 1
            }
        }
        print out
    }' "$recording/recording.txt"
}

# The escapes stand in a file, not in an argument: a shell may limit the length of one.
make_recording() { # FOLDER
    for file in ch0.fwd ch0.ret source.ram; do
        escapes "$file" >"$work/escapes" || return 1
        while IFS= read -r line; do
            printf '%b' "$line"
        done <"$work/escapes" >"$1/$file"
    done
}

# Paragraphs FIRST to LAST, which have to go on where the part before has ended.
part() {
    [ "$1" -eq "$next" ] || {
        echo "$page: expected a part from paragraph $next on, found $1" >&2
        return 1
    }
    next=$(($2 + 1))
    awk -v first="$1" -v last="$2" 'BEGIN { RS = ""; ORS = "" }
        NR >= first && NR <= last { print (NR > first ? "\n" : "") $0 "\n" }' "$work/told"
}

compare() { # KEPT MADE
    cmp -s "$1" "$2" || {
        diff -u "$1" "$2" || :
        echo "$1: expected what tools/first-postcopy.sh makes, found something else" >&2
        return 1
    }
}

mkdir "$work/recording"
make_recording "$work/recording"
if [ "$mode" = --recording ]; then
    for file in ch0.fwd ch0.ret source.ram; do
        cmp -s "$work/recording/$file" "$recording/$file" || cp "$work/recording/$file" "$recording/$file"
    done
    exit 0
fi

[ -x "$migref" ] || {
    echo "$migref: expected the built program, found none" >&2
    exit 3
}
"$migref" explain --steps "$recording" >"$work/told"
next=1
status=0
inside=
while IFS= read -r line; do
    case $inside$line in
    '```explain '*)
        printf '%s\n' "$line"
        inside=x
        # shellcheck disable=SC2086
        part ${line#'```explain '} || status=1
        ;;
    'x```')
        printf '%s\n' "$line"
        inside=
        ;;
    x*) ;;
    *) printf '%s\n' "$line" ;;
    esac
done <"$page" >"$work/whole"
[ -z "$inside" ] || {
    echo "$page: expected the end of a part, found the end of the file" >&2
    exit 1
}
[ "$next" -eq "$(awk 'BEGIN { RS = "" } END { print NR + 1 }' "$work/told")" ] || {
    echo "$page: expected parts up to the last paragraph, found them up to $((next - 1))" >&2
    exit 1
}
[ "$status" -eq 0 ] || exit 1
if [ "$mode" = --check ]; then
    for file in ch0.fwd ch0.ret source.ram; do
        cmp -s "$work/recording/$file" "$recording/$file" || {
            echo "$recording/$file: expected the bytes of recording.txt, found others" >&2
            status=1
        }
    done
    compare "$page" "$work/whole" || status=1
    exit "$status"
fi
cmp -s "$work/whole" "$page" || cat "$work/whole" >"$page"
