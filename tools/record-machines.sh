#!/bin/bash
# Records a migration stream of each kind of machine that an installed QEMU emulates, and the memory that it stands for.
#
#   tools/record-machines.sh [-o DIR] [NAME...]
#   tools/record-machines.sh -l             lists the names
#
# For each NAME, DIR (default build/machines) gets
#   NAME.stream   what `migrate exec:cat` wrote
#   NAME.ram      the machine's memory, a shared file that QEMU worked in: the truth for its RAM block `mem`
#   NAME.rom      guest-physical memory of a firmware block, where NAME has one; NAME.rom-block names the block
#   second.dimm   the same for q35's second block `dimm`
#   NAME.command  the command line, without directories
#
# Guests are filled from outside. `small-*` never run and get a file of ours as firmware, so that no foreign code is in
# them: they are what vectors/streams keeps. The others run what QEMU ships for a moment and are stopped before they
# migrate, because QEMU before 9.0 loses writes of TCG guests that run on. Needs QEMU and coreutils. Exit status: 0, 1 if
# a recording failed, 2 if a name is not known, 77 if no emulator of those asked for is installed.
set -u
umask 022
export LC_ALL=C
directory=build/machines
list=no

while getopts o:l option; do
	case $option in
	o) directory=$OPTARG ;;
	l) list=yes ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
wanted=("$@")
known=0 recorded=0 failed=0 missing=()

is_wanted() { # NAME
	local name
	[ ${#wanted[@]} -eq 0 ] && return 0
	for name in "${wanted[@]}"; do
		[ "$name" = "$1" ] && return 0
	done
	return 1
}

# Pages of text, pages of one byte, and holes.
fill() { # FILE BYTES
	rm -f "$1"
	truncate -s "$2" "$1"
	seq -f 'line %.0f of a guest that was filled from outside' 100000 | head -c 131072 |
		dd of="$1" bs=65536 seek=16 conv=notrunc iflag=fullblock status=none
	head -c 65536 /dev/zero | tr '\0' '\252' | dd of="$1" bs=65536 seek=32 conv=notrunc iflag=fullblock status=none
	printf 'last' | dd of="$1" bs=1 seek=$(($2 - 4)) conv=notrunc status=none
}

# A guest that runs gets a moment for its firmware; one that does not is paused from the start.
monitor() { # SECONDS NAME [ADDRESS SIZE]
	sleep "$1"
	echo stop
	[ $# -eq 2 ] || echo "pmemsave $3 $4 $2.rom"
	echo "migrate \"exec:cat >$2.stream\""
	echo 'info status'
	echo quit
}

# MIB of memory; SECONDS to run, 0 for a guest that never does; ROM: -, or BLOCK@ADDRESS+SIZE to save as well.
record() { # NAME MIB SECONDS ROM EMULATOR MACHINE ARGUMENT...
	local name=$1 bytes=$(($2 << 20)) seconds=$3 rom=$4 emulator=$5 machine=$6
	local region=() paused=()
	shift 6
	is_wanted "$name" || return 0
	known=$((known + 1))
	if [ $list = yes ]; then
		echo "$name"
		return 0
	fi
	if ! command -v "$emulator" >/dev/null; then
		missing+=("$emulator")
		return 0
	fi
	rm -f "$name".*
	fill "$name.ram" $bytes
	head -c 65536 < <(yes 'firmware of our own') >blob.bin
	head -c 4096 blob.bin >page.bin
	if [ "$rom" != - ]; then
		echo "${rom%@*}" >"$name.rom-block"
		rom=${rom#*@}
		region=("${rom%+*}" "${rom#*+}")
	fi
	if [ "$seconds" = 0 ]; then
		paused=(-S)
		seconds=0.3 # until QEMU is up
	fi
	set -- "$emulator" -accel tcg -machine "$machine,memory-backend=mem" \
		-object "memory-backend-file,id=mem,size=$bytes,mem-path=$name.ram,share=on" -m "$((bytes >> 20))M" \
		-nodefaults -display none -monitor stdio "${paused[@]}" "$@"
	echo "$*" >"$name.command"
	monitor "$seconds" "$name" "${region[@]}" 2>/dev/null | timeout -k 2 90 "$@" >"$name.log" 2>&1
	if grep -q 'postmigrate' "$name.log"; then
		echo "$name: $(stat -c %s "$name.stream") bytes"
		recorded=$((recorded + 1))
	else
		echo "record-machines.sh: $name: expected a completed migration, found: $(tail -n 3 "$name.log" |
			tr -c '[:print:]' ' ' | tail -c 300)" >&2
		failed=$((failed + 1))
	fi
}

if [ $list = no ]; then
	mkdir -p "$directory" && cd "$directory" || exit 1
	fill second.dimm $((8 << 20))
fi

record pc 16 1 pc.bios@0xfffc0000+0x40000 qemu-system-x86_64 pc \
	-blockdev null-co,node-name=disk0,size=1048576 -blockdev null-co,node-name=disk1,size=1048576 \
	-device virtio-net-pci -device virtio-blk-pci,drive=disk0 -device virtio-scsi-pci -device virtio-rng-pci \
	-device virtio-balloon-pci -device virtio-serial-pci -device qemu-xhci,id=usb -device usb-tablet,bus=usb.0 \
	-device ahci,id=sata -device ide-hd,drive=disk1,bus=sata.0 -device e1000 -audiodev none,id=sound -device intel-hda -device hda-duplex,audiodev=sound \
	-device VGA,vgamem_mb=1 -device vmgenid -smp 2
record q35 16 1 pc.bios@0xfffc0000+0x40000 qemu-system-x86_64 q35 \
	-object memory-backend-file,id=dimm,size=8M,mem-path=second.dimm,share=on \
	-device pc-dimm,memdev=dimm -m 16M,slots=1,maxmem=64M -device pcie-root-port,id=port0 -device virtio-net-pci,bus=port0
record microvm 16 1 - qemu-system-x86_64 microvm -device virtio-rng-device -serial null
record aarch64-virt 16 0.5 - qemu-system-aarch64 virt -cpu cortex-a57 -smp 2 -device virtio-net-device
record aarch64-virt-gicv3 16 0.5 - qemu-system-aarch64 virt-4.0,gic-version=3 -cpu max -device virtio-net-pci
record pseries 256 1 - qemu-system-ppc64 pseries -device virtio-net-pci -serial null
record pseries-hash 256 1 - qemu-system-ppc64 pseries-2.12 -cpu power8 -serial null
record riscv64-virt 16 0.5 - qemu-system-riscv64 virt -device virtio-rng-device -serial null
record s390x 16 0 - qemu-system-s390x s390-ccw-virtio -device virtio-net-ccw -device virtio-rng-ccw
record g3beige 16 1 - qemu-system-ppc g3beige -serial null
record arm-versatilepb 4 0.5 - qemu-system-arm versatilepb -serial null

record small-x86_64-q35 4 0 - qemu-system-x86_64 q35 -bios blob.bin -global apic-common.vapic=off
record small-aarch64-virt 4 0 - qemu-system-aarch64 virt -cpu cortex-a57
record small-aarch64-virt-2.6 4 0 - qemu-system-aarch64 virt-2.6 -cpu cortex-a57
record small-s390x 4 0 - qemu-system-s390x s390-ccw-virtio -bios page.bin
record small-ppc64-pseries 256 0 - qemu-system-ppc64 pseries -bios blob.bin
record small-riscv64-virt 4 0 - qemu-system-riscv64 virt -bios none
record small-m68k-virt 4 0 - qemu-system-m68k virt

[ $list = yes ] && exit 0
[ ${#missing[@]} -eq 0 ] ||
	echo "record-machines.sh: not installed: $(printf '%s\n' "${missing[@]}" | sort -u | tr '\n' ' ')" >&2
[ $failed -eq 0 ] || exit 1
if [ $known -lt ${#wanted[@]} ]; then
	echo "record-machines.sh: expected names of -l, found ${wanted[*]}" >&2
	exit 2
fi
[ $recorded -gt 0 ] || exit 77
