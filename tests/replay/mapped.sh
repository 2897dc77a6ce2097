#!/bin/bash
# mapped-ram files: written again byte for byte, memory equal to the source's, and what is wrong with one is said.
set -u
export LC_ALL=C
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

complain() {
	echo "$1"
	failed=1
}

# A recording of a guest with four pages, three of them in the file: header, configuration, section ram, end.
state=$work/recording/state.mapped
mkdir "$work/recording"
page() { # CHARACTER
	head -c 4096 /dev/zero | tr '\0' "$1"
}
{
	printf 'QEVM\0\0\0\003\007\0\0\0\015pc-i440fx-9.2'
	printf '\001\0\0\0\002\003ram\0\0\0\0\0\0\0\004\0\0\0\0\0\0\100\004\003mem\0\0\0\0\0\0\100\0'
	printf '\0\0\0\001\0\0\0\0\0\0\020\0\0\0\0\0\0\0\0\133\0\0\0\0\0\020\0\0'
	printf '\013\0\0\0\0\0\0\0'
} >"$state"
[ "$(stat -c %s "$state")" -eq 99 ] || complain "the header is $(stat -c %s "$state") bytes long"
truncate -s 1M "$state"
{
	page a
	page b
	page x # stale: its bit is clear
	page d
	printf '\0\0\0\0\0\0\0\020\176\0\0\0\002\003\0\0\0\002\0\0\0\0\0\0\0\020\176\0\0\0\002\0'
	printf '\006\0\0\0\002{}'
} >>"$state"
{
	page a
	page b
	page '\0'
	page d
} >"$work/recording/source.ram"
cat >"$work/recording/manifest.json" <<'JSON'
{"format": 1, "source_qemu": "9.2.0", "destination_qemu": "9.2.0", "machine": "pc-i440fx-9.2", "memory_mib": 0,
 "capabilities": ["mapped-ram"], "parameters": {}, "status": "completed", "source_arguments": "", "destination_arguments": ""}
JSON

"$MIGREF" replay "$work/recording" >"$work/log" 2>&1 || complain "the recording made here: $(cat "$work/log")"
grep -q 'wire    state.mapped main     identical' "$work/log" || complain "bytes: $(cat "$work/log")"
grep -q 'identical  4 of 4 pages compared with source.ram' "$work/log" || complain "memory: $(cat "$work/log")"

# The same file alone, by its form, and from a pipe.
cp "$state" "$work/alone"
"$MIGREF" extract "$work/alone" -o "$work/out" >/dev/null || complain 'extract fails'
cmp "$work/out/mem" "$work/recording/source.ram" || complain 'memory differs'
"$MIGREF" dump - <"$work/alone" >"$work/piped" || complain 'a pipe fails'
"$MIGREF" dump "$work/alone" | cmp - "$work/piped" || complain 'a pipe reads differently'
grep -q 'ram-bitmap block="mem" first_page=0x0 set=3 bitmap=0b00000000000000 padding=' "$work/piped" ||
	complain "dump: $(cat "$work/piped")"

# As libvirt would wrap it: places count from the image's first byte, so they move with the header.
{
	printf 'LibvirtQemudSave\002\0\0\0\244\017\0\0\001\0\0\0\006\0\0\0'
	head -c 60 /dev/zero
	printf '<domain/>'
	head -c 3995 /dev/zero
	head -c 75 "$state"
	printf '\0\0\0\0\0\0\020\133\0\0\0\0\0\020\0\0'
	tail -c +92 "$state" | head -c 8
} >"$work/image"
truncate -s 1M "$work/image"
tail -c +1048577 "$state" >>"$work/image"
"$MIGREF" check "$work/image" >"$work/log" 2>&1 || complain "a wrapped file: $(cat "$work/log")"
rm -rf "$work/out"
"$MIGREF" extract "$work/image" -o "$work/out" >/dev/null || complain 'a wrapped file is not extracted'
cmp "$work/out/mem" "$work/recording/source.ram" || complain 'a wrapped file gives other memory'

# A page that the source has otherwise; a bit that is not there; a file that is cut.
printf 'z' | dd of="$work/recording/source.ram" bs=1 seek=5000 conv=notrunc status=none
"$MIGREF" replay "$work/recording" >"$work/log" 2>&1 && complain 'a differing page is not seen'
grep -q '0x1000' "$work/log" || complain "a differing page is not named: $(cat "$work/log")"
truncate -s 1050000 "$state"
"$MIGREF" replay "$work/recording" >"$work/log" 2>&1 && complain 'a cut file is not seen'
grep -q 'MAP-006' "$work/log" || complain "a cut file: $(cat "$work/log")"

for recording in ../shared/recordings/*mapped*/; do
	[ -d "$recording" ] || continue
	"$MIGREF" replay "$recording" >"$work/log" 2>&1 || complain "$recording: $(cat "$work/log")"
	grep -q 'identical  4096 of 4096 pages compared' "$work/log" || complain "$recording: memory was not compared"
	[ "$("$MIGREF" check "$recording")" = "$recording: valid" ] || complain "$recording: is not valid"
done
exit $failed
