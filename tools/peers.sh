#!/bin/bash
# Writes docs/peers.md: which real streams are read here, next to what has been published of other readers.
#
#   tools/peers.sh [RECORDINGS-FOLDER] > docs/peers.md
#
# A stream is what goes over the main channel of a migration, its recovery connections included, or a file that QEMU
# wrote. Needs jq and zstd. Exit status 1 if a stream is not read to its end or to its cut.
set -eu
export LC_ALL=C
MIGREF=${MIGREF:-build/migref}
folder=${1:-../shared/recordings}
[ -d "$folder" ] || folder=vectors/recordings
streams=0 whole=0 cut=0 bytes=0 records=0

# Of the channels in a dump that are main ones: "bytes records opaque-bytes channel...".
tally() {
	jq -nr 'reduce inputs as $record ({};
		.[$record.channel] |= {
			bytes: (.bytes + $record.length),
			records: (.records + 1),
			opaque: (.opaque + (if $record.kind == "opaque" then $record.length else 0 end)),
			main: (.main or ([$record.kind] | inside(["file-header", "command"])))
		}) | with_entries(select(.value.main)) |
		"\([.[].bytes] | add // 0) \([.[].records] | add // 0) \([.[].opaque] | add // 0) \(keys | join(" "))"'
}

size() { # FILE, compressed or not
	if [ -e "$1" ]; then
		stat -c %s "$1"
	else
		zstd -dqc "$1.zst" | wc -c
	fi
}

grouped() { # NUMBER
	sed -E ':a; s/^([0-9]+)([0-9]{3})/\1,\2/; ta' <<<"$1"
}

# Records tile a stream, those of a package included, so their lengths add up to what was read.
row() { # NAME PATH LONE-FILE
	local name=$1 path=$2 lone=$3 read count opaque channels there=0 verdict how channel
	read -r read count opaque channels < <("$MIGREF" dump --json "$path" 2>/dev/null | tally)
	if [ -n "$lone" ]; then
		there=$(size "$lone")
	else
		for channel in $channels; do
			there=$((there + $(size "$path/$channel")))
		done
	fi
	verdict=$("$MIGREF" check --json "$path" 2>/dev/null | tail -n 1 | jq -r '.verdict // "-"') || verdict=-
	streams=$((streams + 1)) bytes=$((bytes + read)) records=$((records + count))
	how=no
	if [ "$opaque" -eq 0 ] && [ "$read" -eq "$there" ] && [ "$there" -gt 0 ]; then
		how=yes whole=$((whole + 1))
	elif [ "$opaque" -eq 0 ] && [[ $verdict =~ valid|acceptable ]] && [ "$verdict" != invalid ]; then
		how="to the cut, $(grouped $((there - read))) bytes before the end" cut=$((cut + 1))
	fi
	echo "| \`$name\` | $how | $verdict | $(grouped "$there") | $(grouped "$count") |"
}

rows() {
	local recording file
	for recording in "$folder"/*/; do
		recording=${recording%/}
		file=$recording/state.mapped
		if ls "$recording"/ch0.fwd* >/dev/null 2>&1; then
			row "$(basename "$recording")" "$recording" ''
		elif ls "$file"* >/dev/null 2>&1; then
			row "$(basename "$recording") (file)" "$file" "$file"
		fi
	done
	for file in vectors/streams/*.zst; do
		row "$(basename "$file" .zst) (file)" "$file" "${file%.zst}"
	done
}

cat <<'HEAD'
# Which real streams are read

Made by `tools/peers.sh`. Each stream was written by real QEMU. *Read* is `yes` if every byte belongs to a record of a known
kind and none is left opaque; `to the cut` if the connection was cut within a record and everything before that record is
read. *Verdict* is that of `migref check`. Bytes and records are those of the main channel with its recovery connections; a
recording's multifd, preempt and return channels are read as well, but not counted.

| stream | read | verdict | bytes | records |
|---|---|---|---|---|
HEAD
rows
cat <<TAIL

$streams streams: $whole read to the last byte, $cut to the cut, $((streams - whole - cut)) not read; $(grouped $bytes) bytes,
$(grouped $records) records.

## What is published of others

These figures are quoted, not measured here: they are about ten streams of this kind, not about all of the table above. They
say where those readers stop, not how good they are at what they are made for.

| reader | figure |
|---|---|
| QEMU's analyser script, which comes with QEMU | read 7 of 10 such streams; its extraction leaves stale data where a page is later sent as zero |
| Volatility 3's layer for QEMU's saved state | read 1 of 10 |

What tends to stop a reader of such streams, and where SPEC.md has it: commands in the stream, that is any return path or
postcopy (CMD); a stream without a description at its end, that is any postcopy (STR-023); subsections of the configuration
(STR-005); XBZRLE and per-page compression (RAM, XBZ); multifd, whose pages are not on the main channel at all (MFD); pages
that come more than once, of which the last one counts.
TAIL
[ $((whole + cut)) -eq $streams ]
