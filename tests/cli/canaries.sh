#!/bin/bash
# Ten builds with a known bug each (tests/canaries/*.patch): the swarm has to find every one within 200 seeds, or the
# exploration of a small world does, where the patch says so by a line `Found-by: explore SCENARIO`.
#
#   tests/cli/canaries.sh [PATCH...]
set -u
export LC_ALL=C
cd "$(dirname "$0")/../.." || exit 2
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ $# -gt 0 ] || set -- tests/canaries/*.patch

# The objects that are there already are taken over: only what the patch changes is compiled again.
mkdir "$work/build"
cp -a "$BUILD_DIR/obj" "$work/build/pristine"

build() {
	rm -rf "$work/tree" "$work/build/obj"
	mkdir "$work/tree"
	cp -a Makefile ref sim "$work/tree"
	cp -a "$work/build/pristine" "$work/build/obj"
	patch -s -d "$work/tree" -p1 <"$1" || return 1
	# The lists of what depends on a header name the objects of the other build.
	if grep -q '^+++ .*\.\(h\|def\)' "$1"; then
		find "$work/tree" -name '*.c' -exec touch {} +
	fi
	make -s -C "$work/tree" BUILD="$work/build" "$work/build/migref" >"$work/log" 2>&1 || { cat "$work/log"; return 1; }
}

# Prints where it was found; fails if it was not.
search_swarm() {
	local first
	for first in 1 51 101 151; do
		"$work/build/migref" sim --seeds $first..$((first + 49)) >"$work/out" 2>&1
		[ $? -eq 1 ] && grep -m 1 -B 1 '^  \(VIOLATED\|FAILED\):' "$work/out" >"$work/hit" || continue
		sed -n '1s/^ *\([0-9]*\) .*/seed \1/p; 2s/^ *//p' "$work/hit" | paste -s -d ' '
		return 0
	done
	return 1
}

search_exploration() {
	"$work/build/migref" explore "$1" >"$work/out" 2>&1
	[ $? -eq 1 ] && grep -m 1 -i 'violat' "$work/out"
}

for patch in "$@"; do
	name=$(basename "$patch" .patch)
	scenario=$(sed -n 's/^Found-by: explore //p' "$patch")
	if ! build "$patch"; then
		echo "$name: cannot be built"
		failed=1
		continue
	fi
	if [ -n "$scenario" ]; then
		hit=$(search_exploration "$scenario")
	else
		hit=$(search_swarm)
	fi
	if [ -n "$hit" ]; then
		echo "$name: $hit"
	else
		echo "$name: NOT FOUND"
		failed=1
	fi
done
exit $failed
