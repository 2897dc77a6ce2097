#!/bin/bash
# The streams of other machines in vectors/streams: each is read to its end, and memory is what QEMU left.
set -u
export LC_ALL=C
failed=0
folder=vectors/streams
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

complain() {
	echo "$1"
	failed=1
}

for packed in "$folder"/*.zst; do
	name=$(basename "$packed" .zst)
	stream=$work/$name.stream
	zstd -dqc "$packed" >"$stream" || complain "$name: zstd fails"
	"$MIGREF" check "$packed" >"$work/packed" || complain "$name: $(tail -n 1 "$work/packed")"
	"$MIGREF" check "$stream" >"$work/plain" || complain "$name: $(tail -n 1 "$work/plain")"
	[ "$(sed 's/^[^ ]*//' "$work/packed")" = "$(sed 's/^[^ ]*//' "$work/plain")" ] ||
		complain "$name: reads differently when it is compressed"
	# The unit test shows that records tile; here the last one that is shown ends the file.
	"$MIGREF" dump "$stream" | awk '{ print $1, substr($2, 2) }' >"$work/records" || complain "$name: dump fails"
	end=$(tail -n 1 "$work/records")
	[ $((0x${end% *} + ${end#* })) -eq "$(stat -c %s "$stream")" ] || complain "$name: the records end at $end"
	grep -q "  $name.stream$" "$folder/SHA256SUMS" || complain "$name: has no digest"
	"$MIGREF" extract "$stream" -o "$work/$name" >/dev/null || complain "$name: extract fails"
done
(cd "$work" && sha256sum --quiet --strict -c) <"$folder/SHA256SUMS" || complain 'a digest differs'

# 1 KiB pages are told at the end alone: a pipe needs help, and gets it.
old=$folder/7.2-aarch64-virt-2.6.zst
zstd -dqc "$old" | "$MIGREF" check - >"$work/out" && complain 'a pipe of 1 KiB pages reads without --page-size'
grep -q 'RAM-001' "$work/out" || complain 'a wrong page size is not seen at the first page that shows it'
zstd -dqc "$old" | "$MIGREF" check --page-size=1024 - >"$work/out" || complain 'a pipe with --page-size=1024 does not read'
"$MIGREF" check --page-size=4096 "$old" >"$work/out" && complain '--page-size does not win over the description'
exit $failed
