#!/bin/bash
# migref report in a browser: in light and dark the page is drawn, without a network, and its script moves the map.
set -u
export LC_ALL=C
failed=0
browser=
for name in chromium chromium-browser google-chrome; do
	command -v "$name" >/dev/null && browser=$name && break
done
[ -n "$browser" ] || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

complain() {
	echo "$1"
	failed=1
}

browse() { # OPTION... URL
	HOME=$work timeout 60 "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1280,2000 \
		--host-resolver-rules='MAP * ~NOTFOUND' --user-data-dir="$work/profile" "$@" 2>"$work/browser"
}

# The size of a picture in light (1) or dark (0): next to nothing if it is of one colour.
picture() { # SCHEME PAGE OUT
	browse --blink-settings=preferredColorScheme="$1" --screenshot="$3" "file://$2" >/dev/null
	stat -c %s "$3" 2>/dev/null || echo 0
}

echo '<!DOCTYPE html><title>blank</title>' >"$work/blank.html"
blank=$(picture 1 "$work/blank.html" "$work/blank.png")
# A browser that cannot even draw nothing, as in a container without its rights, says nothing about the page.
[ "$blank" -gt 0 ] || exit 77
for name in 7.2-postcopy-preempt 11.1-postcopy-recover 7.2-precopy-xbzrle first-postcopy; do
	[ -d "vectors/recordings/$name" ] || continue
	"$MIGREF" report "vectors/recordings/$name" -o "$work/page.html" || complain "$name: no page"
	light=$(picture 1 "$work/page.html" "$work/light.png")
	dark=$(picture 0 "$work/page.html" "$work/dark.png")
	[ "$light" -gt $((blank * 5)) ] || complain "$name: nothing is drawn in light: $light bytes, blank $blank"
	[ "$dark" -gt $((blank * 5)) ] || complain "$name: nothing is drawn in dark: $dark bytes, blank $blank"
	cmp -s "$work/light.png" "$work/dark.png" && complain "$name: light and dark are the same"
	browse --dump-dom "file://$work/page.html" >"$work/dom"
	grep -q 'id="slide"><label' "$work/dom" || complain "$name: the slider does not come up"
	grep -q 'id="large" href="#frame11"' "$work/dom" || complain "$name: the map does not begin with its end"
	sed 's|</body>|<script>var r=document.getElementById("moment");r.value=2;r.dispatchEvent(new Event("input"));</script></body>|' \
		"$work/page.html" >"$work/moved.html"
	browse --dump-dom "file://$work/moved.html" >"$work/dom"
	grep -q 'id="large" href="#frame2"' "$work/dom" || complain "$name: the slider does not move the map"
done
exit $failed
