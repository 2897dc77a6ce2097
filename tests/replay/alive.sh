#!/bin/bash
# The comparison is alive: what is altered in a recording is found and named.
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/replay/altered.bash

poke() { # FILE OFFSET: the byte there is inverted
	local byte
	byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
	# shellcheck disable=SC2059
	printf "\\x$(printf %02x $((byte ^ 0xff)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

unpack vectors/recordings/7.2-postcopy-preempt
expect untouched 0 ': holds'

poke "$work/r/source.ram" $((0x123456))
expect "a byte of source.ram" 1 '1 pages are not the source.s: 0x123000-0x123fff'

unpack vectors/recordings/7.2-postcopy-preempt
poke "$work/r/ch0.fwd" 0
expect "the magic" 1 'offset 0x0: STR-001'

# The last page on the preempt channel: the 16th byte from the end lies in its data, the last 8 bytes are the end mark.
unpack vectors/recordings/7.2-postcopy-preempt
poke "$work/r/ch1.fwd" $(($(stat -c %s "$work/r/ch1.fwd") - 16))
expect "a byte of a requested page" 1 '1 pages are not the source.s'

unpack vectors/recordings/7.2-postcopy-preempt
poke "$work/r/ch0.ret" 1
expect "the type of a return path message" 1 'ch0.ret .*RP-001'

unpack vectors/recordings/7.2-postcopy-preempt
truncate -s -1 "$work/r/ch0.fwd"
expect "a lost end mark" 1 'ch0.fwd .*STR-026'

# A payload that decodes to the same pages, yet is not what a sender makes of them, cannot be had by flipping a byte; a flipped
# byte in a compressed payload breaks the stream or changes pages.
unpack vectors/recordings/11.1-multifd-zlib
poke "$work/r/ch1.fwd" $(($(stat -c %s "$work/r/ch1.fwd") / 2))
expect "a byte of a zlib payload" 1 'DIFFERS'

unpack vectors/recordings/11.1-multifd-zlib
sed -i 's/"multifd-channels": 2/"multifd-channels": 2, "multifd-zlib-level": 6/' "$work/r/manifest.json"
expect "another level than the sender's" 1 'zlib: byte 0x'

exit $failed
