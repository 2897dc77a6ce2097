#!/bin/bash
# Streams of other machines and guests, made here by each installed QEMU: read as a whole, and the same memory.
#
# MACHINES: names for tools/record-machines.sh, by default all.
set -u
export LC_ALL=C
failed=0
directory=$BUILD_DIR/machines
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

complain() {
	echo "$1"
	failed=1
}

command -v jq >/dev/null || { echo 'jq is not installed'; exit 77; }
rm -rf "$directory"
# Words on purpose.
# shellcheck disable=SC2086
tools/record-machines.sh -o "$directory" ${MACHINES:-} || exit

# Where no reader can know better: handlers that iterate without a length, and a description that is wrong.
known_deviations() { # NAME
	case $1 in
	*s390x) echo STR-022 STR-023 ;;
	*pseries*) echo STR-023 ;;
	esac
}

verdict() { # NAME STREAM
	local rules
	"$MIGREF" check --json "$2" >"$work/check" || complain "$1: check says $(tail -n 1 "$work/check")"
	rules=$(jq -r 'select(.rule) | .rule' "$work/check" | sort -u | paste -sd ' ')
	[ "$rules" = "$(known_deviations "$1")" ] || complain "$1: deviates from $rules"
}

# Records tile the file: each begins where the one before ends, and the last ends with the file.
tiles() { # NAME STREAM
	local end
	"$MIGREF" dump --json "$2" >"$work/dump" || complain "$1: dump fails"
	end=$(jq -n 'reduce inputs as $record (0;
		if $record.offset == . then $record.offset + $record.length else error("gap at \(.)") end)' "$work/dump")
	[ "$end" = "$(stat -c %s "$2")" ] || complain "$1: the records end at $end"
	grep -q '"kind":"opaque"' "$work/dump" && complain "$1: a part of the stream is opaque"
}

same() { # NAME BLOCK TRUTH
	cmp -s "$work/blocks/$2" "$3" || complain "$1: block $2 differs from memory: $(cmp "$work/blocks/$2" "$3" 2>&1)"
}

memory() { # NAME STREAM
	local block=mem
	rm -rf "$work/blocks"
	"$MIGREF" extract "$2" -o "$work/blocks" >/dev/null || complain "$1: extract fails"
	[ -e "$work/blocks/mem" ] || block=_objects_mem
	same "$1" $block "$directory/$1.ram"
	[ ! -e "$directory/$1.rom" ] || same "$1" "$(cat "$directory/$1.rom-block")" "$directory/$1.rom"
	[ "$1" != q35 ] || same q35 dimm "$directory/second.dimm"
}

for stream in "$directory"/*.stream; do
	name=$(basename "$stream" .stream)
	verdict "$name" "$stream"
	tiles "$name" "$stream"
	memory "$name" "$stream"
done

# A pipe cannot be asked for its end: there the page size has to be said.
small=$directory/small-aarch64-virt-2.6.stream
if [ -e "$small" ]; then
	"$MIGREF" check - < <(cat "$small") >/dev/null && complain 'a pipe with 1 KiB pages reads without --page-size'
	"$MIGREF" check --page-size=1024 - < <(cat "$small") >/dev/null || complain 'a pipe with --page-size=1024 does not read'
	"$MIGREF" check --page-size=4096 "$small" >/dev/null && complain '--page-size does not win over the description'
fi
exit $failed
