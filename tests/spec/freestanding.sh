#!/bin/bash
# What the bootable guest shares with the simulated one needs nothing but memcpy and memset, no floating point and no
# vector register, and gives the same bytes then.
set -u
export LC_ALL=C
CC=${CC:-cc}
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

complain() {
	echo "$1"
	failed=1
}

registers=
[ "$(uname -m)" = x86_64 ] && registers='-mgeneral-regs-only -mno-red-zone'

for compiler in "$CC" clang; do
	for level in -O0 -Os -O2; do
		for module in content pattern; do
			object=$work/$module.o
			# shellcheck disable=SC2086
			"$compiler" -std=c11 -Wall -Wextra -Werror -ffreestanding -nostdlib $registers "$level" -I. -c \
				-o "$object" "sim/world/$module.c" || complain "$module.c: $compiler $level fails"
			nm -u "$object" | grep -vwE 'memcpy|memset' && complain "$module.c: $compiler $level: needs the above"
			[ "$level" = -O2 ] || continue
			"$compiler" -std=c11 -D_GNU_SOURCE -I. -o "$work/test" "tests/unit/test_$module.c" "$object" \
				-lcmocka -lz -lzstd || complain "test_$module.c: $compiler fails"
			"$work/test" >"$work/out" 2>&1 || {
				cat "$work/out"
				complain "$module.c: $compiler $level -ffreestanding: the unit test fails"
			}
		done
	done
done
exit $failed
