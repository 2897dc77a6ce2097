#!/bin/bash
# migref report: a well-formed page that needs nothing beside it, of every recording, whole, cut or malformed.
set -u
export LC_ALL=C
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
page_max=$((4 << 20))
several_lines=yes # of a page, all that was wrong with the recording
. tests/cli/expect.bash

# Every element is closed in its order; style and script are taken out before. xmllint, where it is, is stricter.
balanced() {
	awk 'BEGIN { RS = "<"; raw = "" }
	NR == 1 { next }
	{
		tag = $0
		sub(/[ \n>\/].*/, "", tag)
		if ($0 ~ /^\//) {
			tag = substr($0, 2)
			sub(/[ \n>].*/, "", tag)
			if (raw != "" && tag != raw)
				next
			raw = ""
			if (depth == 0 || open[depth] != tag) {
				print "closes " tag " within " open[depth]
				exit
			}
			depth--
			next
		}
		if (raw != "" || $0 ~ /^!/)
			next
		head = $0
		sub(/>.*/, "", head)
		if (head ~ /\/$/)
			next
		open[++depth] = tag
		if (tag == "style" || tag == "script")
			raw = tag
	}
	END { if (depth) print "never closes " open[depth] }' "$1"
}

inspect() { # PAGE WHOSE
	local unbalanced size ids
	unbalanced=$(balanced "$1")
	[ -z "$unbalanced" ] || complain "$2: $unbalanced"
	if command -v xmllint >/dev/null; then
		xmllint --noout "$1" 2>"$work/lint" || complain "$2: $(head -n 1 "$work/lint")"
	fi
	grep -qiE 'https?:|//[a-z]+\.|<(link|img|iframe|object|embed)|src=|url\(|@import' "$1" &&
		complain "$2: refers to something outside"
	grep -q "default-src 'none'" "$1" || complain "$2: does not forbid itself the network"
	grep -qE '(NaN|[^a-z]nan|[^a-z]inf|-[0-9]+\.[0-9]+ (ms|s|MiB))[^a-z]' <(sed '/<style>/,/<\/style>/d;/<script>/,/<\/script>/d' "$1") &&
		complain "$2: a figure that is no number"
	LC_ALL=C grep -qP '[\x00-\x08\x0e-\x1f]' "$1" && complain "$2: control characters"
	size=$(stat -c %s "$1")
	[ "$size" -le $page_max ] || complain "$2: $size bytes"
	ids=$(grep -oE ' id="[^"]*"' "$1" | sort | uniq -d)
	[ -z "$ids" ] || complain "$2: twice:$ids"
	grep -qF "$work" "$1" && complain "$2: tells where the recording lay"
}

unpacked() { # RECORDING: a copy that can be damaged
	rm -rf "$work/copy"
	cp -r "$1" "$work/copy"
	chmod -R u+w "$work/copy"
	zstd -q -d --rm "$work"/copy/*.zst
}

shows() { # STATUS PATTERN WHAT: a page about the copy all the same
	expect "$1" '' "$MIGREF" report "$work/copy" -o "$work/page.html"
	inspect "$work/page.html" "$3"
	grep -qE "$2" "$work/page.html" || complain "$3: the page does not say $2"
	rm -f "$work/page.html"
}

for recording in vectors/recordings/*/; do
	name=$(basename "$recording")
	"$MIGREF" replay "$recording" >/dev/null 2>&1
	expect $? '' "$MIGREF" report "$recording" -o "$work/$name.html"
	inspect "$work/$name.html" "$name"
	grep -q "<h1>$name</h1>" "$work/$name.html" || complain "$name: its name is not told"
	for section in timeline pages replay findings; do
		grep -q "<section id=\"$section\">" "$work/$name.html" || complain "$name: no section $section"
	done
	cp -r "$recording" "$work/$name"
	env -i TZ=Asia/Kolkata LC_ALL=de_DE.UTF-8 "$MIGREF" report "$work/$name/" -o "$work/again.html"
	cmp -s "$work/$name.html" "$work/again.html" || complain "$name: another run or place gives another page"
	rm -rf "${work:?}/$name"
done

# Figures that are known from elsewhere.
grep -q '<strong>4.55 MiB</strong>' "$work/11.1-postcopy-recover.html" || complain 'not the bytes of both connections'
grep -q '<span>Cuts</span><strong>1</strong>' "$work/11.1-postcopy-recover.html" || complain 'the cut is not counted'
grep -q '>cut</strong>' "$work/11.1-postcopy-recover.html" || complain 'the cut has no mark'
grep -q 'postcopy-paused' "$work/11.1-postcopy-recover.html" || complain 'the pause has no state'
grep -q 'No dst.trace' "$work/first-postcopy.html" || complain 'a missing trace is not named'
grep -q 'No timeline.jsonl' "$work/first-postcopy.html" || complain 'a missing timeline is not named'
for recording in vectors/recordings/*postcopy*/; do
	name=$(basename "$recording")
	sent=$("$MIGREF" dump --json "$recording" 2>/dev/null | grep -cE '"REQ_PAGES(_ID)?"')
	grep -q "<span>Requests sent</span><strong>$sent</strong>" "$work/$name.html" ||
		complain "$name: the page does not tell of $sent requests"
done

# Cut and malformed recordings have a page, too.
unpacked vectors/recordings/9.2-postcopy
size=$(stat -c %s "$work/copy/ch0.fwd")
truncate -s $((size / 2)) "$work/copy/ch0.fwd"
shows 1 'ch0\.fwd: offset .*STR-026' 'a cut recording'
truncate -s 100 "$work/copy/ch0.fwd"
shows 1 'STR-026' 'a recording of 100 bytes'
truncate -s 0 "$work/copy/ch0.fwd"
shows 1 'Error' 'an empty recording'
unpacked vectors/recordings/9.2-postcopy
printf 'zzzz' | dd of="$work/copy/ch0.fwd" bs=1 seek=0 conv=notrunc status=none
shows 1 'Error' 'a malformed recording'
unpacked vectors/recordings/9.2-postcopy
echo 'no trace <script>alert(1)</script>' >"$work/copy/dst.trace"
shows 1 'dst\.trace' 'a malformed trace'
unpacked vectors/recordings/9.2-postcopy
echo '{"t_ns": 1, "ch": 0, "ev": "<b>"}' >"$work/copy/timeline.jsonl"
shows 1 'timeline\.jsonl' 'a malformed timeline'
unpacked vectors/recordings/9.2-postcopy
rm "$work/copy/timeline.jsonl"
shows 0 'No timeline\.jsonl' 'a recording without a timeline'
unpacked vectors/recordings/9.2-postcopy
rm "$work/copy/dst.trace"
shows 0 'Median answer at the tap' 'a recording without a trace'
rm "$work/copy/src.trace" "$work/copy/timeline.jsonl"
shows 0 'No src\.trace' 'a recording of channels alone'
sed -i 's|"machine": *"[^"]*"|"machine": "<script>\&\\"\\u0001\\u00e9"|' "$work/copy/manifest.json"
"$MIGREF" replay "$work/copy" >/dev/null 2>&1
shows $? '&lt;script&gt;&amp;&quot;\\x01' 'a machine with a hostile name'
unpacked vectors/recordings/9.2-postcopy
zstd -q "$work/copy/ch0.fwd" && rm "$work/copy/ch0.fwd"
truncate -s 100000 "$work/copy/ch0.fwd.zst"
shows 1 'Error' 'a compressed file that ends early'

# A whole page or none, and nothing beside it.
expect 3 'expected a name for a regular file' "$MIGREF" report vectors/recordings/first-postcopy -o "$work"
expect 3 'expected a name for a regular file' "$MIGREF" report vectors/recordings/first-postcopy -o /dev/null
expect 3 'nowhere' "$MIGREF" report vectors/recordings/first-postcopy -o "$work/nowhere/page.html"
mkdir "$work/small"
echo 'kept' >"$work/small/page.html"
(ulimit -f 8 && trap '' XFSZ && "$MIGREF" report vectors/recordings/first-postcopy -o "$work/small/page.html") 2>"$work/error"
[ $? -eq 3 ] || complain 'a page that does not fit is written'
[ "$(cat "$work"/small/*)" = kept ] || complain 'a page that cannot be finished replaces or leaves something'
expect 0 '' "$MIGREF" report vectors/recordings/first-postcopy -o "$work/small/page.html"
[ "$(ls "$work/small")" = page.html ] || complain 'something is left beside the page'
expect 3 'no such file' "$MIGREF" report "$work/absent" -o "$work/page.html"
expect 3 'recording directory' "$MIGREF" report vectors/recordings/first-postcopy/ch0.fwd -o "$work/page.html"
[ ! -e "$work/page.html" ] || complain 'a page about nothing'
expect 2 'expected a RECORDING' "$MIGREF" report -o "$work/page.html"
expect 2 'expected -o FILE' "$MIGREF" report vectors/recordings/first-postcopy
expect 2 'one RECORDING' "$MIGREF" report a b -o "$work/page.html"
exit $failed
