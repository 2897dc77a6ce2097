#!/bin/bash
# extract --elf: the core has each block's content at its guest-physical address, is sparse, and debuggers open it.
set -u
export LC_ALL=C
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

complain() {
	echo "$1"
	failed=1
}

core=$work/out/memory.elf

# The file offset of a guest-physical address.
place() { # ADDRESS
	readelf -lW "$core" | while read -r type offset _ physical size _; do
		[ "$type" = LOAD ] || continue
		if [ $(($1)) -ge $((physical)) ] && [ $(($1)) -lt $((physical + size)) ]; then
			echo $((offset + $1 - physical))
		fi
	done
}

same() { # FILE OFFSET ADDRESS LENGTH
	cmp -s -n "$4" "$1" "$core" "$2" "$(place "$3")" || complain "$1: not at $3"
}

# A guest of 16 MiB whose firmware has copied itself to below 1 MiB.
recording=vectors/recordings/7.2-precopy-tcg-lost-writes
"$MIGREF" extract "$recording" -o "$work/out" --elf >"$work/log" || complain "$recording: $(cat "$work/log")"
grep -q 'memory.elf: 2 segments' "$work/log" || complain "$recording: $(cat "$work/log")"
same "$work/out/mem" 0 0x0 16777216
same "$work/out/pc.bios" 0 0xfffc0000 262144
[ "$(du -k "$core" | cut -f 1)" -lt 8192 ] || complain 'the core is not sparse'
readelf -hW "$core" | grep -q 'CORE (Core file)' || complain 'readelf does not take it for a core'
readelf -nW "$core" 2>&1 | grep -q NT_PRSTATUS || complain 'no NT_PRSTATUS'

# One that never ran: the firmware shows below 1 MiB from its ROM.
stream=vectors/streams/7.2-x86_64-ignore-shared.zst
rm -rf "$work/out"
"$MIGREF" extract "$stream" -o "$work/out" --elf >"$work/log" || complain "$stream: $(cat "$work/log")"
same "$work/out/pc.bios" 0 0xffff0000 65536
same "$work/out/pc.bios" 0 0xf0000 65536

if command -v gdb >/dev/null; then
	gdb -nx -batch -c "$core" -ex 'x/s 0xf0000' 2>/dev/null | grep -q '"firmware of our own' ||
		complain 'gdb does not read guest-physical memory from the core'
fi

# Another machine is refused in one line; its blocks are written all the same.
rm -rf "$work/out"
"$MIGREF" extract vectors/streams/7.2-m68k-virt.zst -o "$work/out" --elf >"$work/log" 2>"$work/error"
[ $? -eq 3 ] || complain 'a machine without a layout is not refused'
grep -q 'expected a machine type pc-i440fx-\* or pc-q35-\*, found "virt' "$work/error" || complain "$(cat "$work/error")"
[ "$(wc -l <"$work/error")" -eq 1 ] || complain 'more than one line'
[ -f "$work/out/mem" ] || complain 'the blocks are not written'
[ -e "$core" ] && complain 'a core of a machine without a layout'
exit $failed
