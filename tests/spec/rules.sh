#!/bin/sh
# Traceability: SPEC.md, ref/rules.def, vectors and tests know the same rules, and each rule is kept once and broken once.
#
# A vector keeps the rules it names if its verdict is valid, else it breaks them. Any other test says so in words: a line that
# holds `keeps` or `breaks` and, behind it, the ids.

set -u
cd "$(dirname "$0")/../.." || exit 3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sed -n 's/^MR_RULE([A-Z0-9_]*, "\([A-Z]*-[0-9]*\)".*/\1/p' ref/rules.def | sort >"$work/code"
grep -o '\*\*[A-Z]\{2,3\}-[0-9]\{3\}\*\*' SPEC.md | tr -d '*' | sort >"$work/spec"

# id, then kept or broken; a vector's rules may be one string or an array of them.
find vectors -name '*.json' ! -path 'vectors/recordings/*' ! -name 'schema.json' -exec jq -r '
    select(has("rules") and has("verdict"))
    | (if .verdict == "valid" then "kept" else "broken" end) as $how
    | .rules | if type == "array" then .[] else . end
    | "\(.) \($how)"' {} + >"$work/cases" || exit 1
for word in keeps breaks; do
    how=kept
    [ "$word" = breaks ] && how=broken
    find tests -type f ! -path 'tests/spec/*' -exec grep -hw "$word" {} + | sed "s/.*\\<$word\\>//" |
        grep -o '[A-Z]\{2,3\}-[0-9]\{3\}' | sed "s/\$/ $how/" >>"$work/cases"
done
sort -u "$work/cases" -o "$work/cases"

missing=0
complain() {
    while read -r id; do
        [ -z "$id" ] || { echo "$id: expected $1, found none"; missing=1; }
    done
}

sort -u "$work/spec" >"$work/spec.once"
complain 'its paragraph in SPEC.md' <<LIST
$(comm -23 "$work/code" "$work/spec.once")
LIST
complain 'a rule of ref/rules.def' <<LIST
$(comm -13 "$work/code" "$work/spec.once")
LIST
complain 'one paragraph in SPEC.md and not two' <<LIST
$(uniq -d "$work/spec")
LIST
for how in kept broken; do
    sed -n "s/ $how\$//p" "$work/cases" >"$work/$how"
    complain "a vector or test in which it is $how" <<LIST
$(comm -23 "$work/code" "$work/$how")
LIST
done
complain 'a rule of ref/rules.def that vectors name' <<LIST
$(cut -d ' ' -f 1 "$work/cases" | sort -u | comm -13 "$work/code" -)
LIST
exit "$missing"
