#!/bin/bash
# Writes seeds of at most 1 KiB for the fuzz targets: their own, their corpora, and the inputs of the vectors.
#
#   tools/fuzz-seeds.sh DIRECTORY
#
# DIRECTORY/TARGET gets a file for each. An input of a vector stands behind the two bytes of options that a target
# takes first (fuzz/common.h), which say what the vector's context says.

set -eu
cd "$(dirname "$0")/.."
out=${1:?usage: tools/fuzz-seeds.sh DIRECTORY}

for target in fuzz/fuzz_*.c; do
    name=$(basename "$target" .c)
    mkdir -p "$out/$name"
    find fuzz/seeds/"$name" fuzz/corpus/"$name" -type f -size -1025c -exec cp -t "$out/$name" {} + 2>/dev/null || true
done

# One line for each channel of a vector: target, name, options as octal escapes, bytes as the vector writes them.
# shellcheck disable=SC2016
channels='
    def octal: [. / 64, . / 8, .] | map(floor % 8 | tostring) | "\\" + join("");
    def target: {main: "main", recovery: "main", preempt: "ram", multifd: "multifd", return: "return"}[.];
    def bit($value): if . then $value else 0 end;
    (.id | gsub("/"; "-")) as $id | (.context // {}) as $context | ($context.role // "main") as $role
    | ($context.capabilities // []) as $capabilities
    | (({"1024": 8, "16384": 16, "65536": 24}[$context.target_page_size // 0 | tostring] // 0)
        + ($context.send_configuration == false | bit(32)) + ($context.send_section_footer == false | bit(64)))
      as $options
    | (($context.capabilities != null | bit(1)) + ($capabilities | any(. == "x-ignore-shared") | bit(2))
        + ($capabilities | any(. == "x-colo") | bit(4)) + ($capabilities | any(. == "rdma") | bit(8)))
      as $more
    | (.channels // [{role: $role, input: .input}]) | to_entries[]
    | (.value.role | target) as $target
    | ($more + (.value.role == "recovery" or .value.role == "preempt" | bit(128))) as $more
    | [$target, "\($id)-\(.key)", ($options | octal) + ($more | octal), (.value.input | join("\u001f"))] | @tsv'

# The notation of the vectors (vectors/README.md) as octal escapes; lines over 1 KiB of bytes are left out.
# shellcheck disable=SC2016
escapes='
    BEGIN { FS = "\t"; for (i = 0; i < 256; i++) { octal[sprintf("%02x", i)] = sprintf("\\%03o", i)
            code[sprintf("%c", i)] = sprintf("\\%03o", i) } }
    function repeat(byte, count) { if (count > 1022) { bytes = 2000; return } while (count--) add(byte) }
    function add(byte) { text = text byte; bytes++ }
    function item(word,    i, part) {
        if (word ~ /^zero\*/) repeat(octal["00"], substr(word, 6) + 0)
        else if (word ~ /^byte:/) { split(substr(word, 6), part, "*"); repeat(octal[tolower(part[1])], part[2] + 0) }
        else for (i = 1; i < length(word); i += 2) add(octal[tolower(substr(word, i, 2))])
    }
    function row(rest,    at, i) {
        while (bytes <= 1022) {
            sub(/^ +/, "", rest)
            if (rest == "" || rest ~ /^#/) return
            if (substr(rest, 1, 1) == "\047") {
                at = index(substr(rest, 2), "\047")
                for (i = 2; i <= at; i++) add(code[substr(rest, i, 1)])
                rest = substr(rest, at + 2)
            } else {
                at = match(rest, / /) ? RSTART : length(rest) + 1
                item(substr(rest, 1, at - 1))
                rest = substr(rest, at)
            }
        }
    }
    { gsub(/\\\\/, "\\", $3); gsub(/\\\\/, "\\", $4); text = ""; bytes = 0; count = split($4, rows, "\037")
      for (r = 1; r <= count; r++) row(rows[r])
      if (bytes <= 1022) print $1 "\t" $2 "\t" $3 text }'

find vectors -name '*.json' ! -name schema.json ! -path 'vectors/recordings/*' \
    ! -path 'vectors/source/*' ! -name schema-source.json -size -64k -print0 |
    xargs -0 jq -r "$channels" | awk "$escapes" | while IFS=$'\t' read -r target name text; do
    printf '%b' "${text//\\/\\0}" >"$out/fuzz_$target/$name"
done
for target in "$out"/*/; do
    echo "$target $(find "$target" -type f | wc -l) seeds"
done
