#!/bin/bash
# extract: files hold the guest's memory however the stream is read, and what goes wrong leaves nothing that looks whole.
set -u
export LC_ALL=C
failed=0
work=$(mktemp -d)
trap 'mountpoint -q "$work/small" && umount "$work/small"; rm -rf "$work"' EXIT
recording=vectors/recordings/7.2-postcopy-preempt-small
[ -d "$recording" ] || recording=vectors/recordings/7.2-postcopy-preempt

complain() {
	echo "$1"
	failed=1
}

# Recordings whose memory differs from the source's for good: QEMU lost writes, or pages never came.
differs_for_good() { # NAME
	[[ $1 == *lost-writes || $1 == *hangs ]]
}

# Compressed files are streamed and plain ones mapped, which takes other ways through memory.
unpack() { # RECORDING DIR
	local file
	mkdir "$2"
	for file in "$1"/*; do
		case $file in
		*.zst) zstd -dqc "$file" >"$2/$(basename "$file" .zst)" ;;
		*) cp "$file" "$2" ;;
		esac
	done
}

both_ways() { # RECORDING
	local name status plain_status
	name=$(basename "$1")
	unpack "$1" "$work/plain"
	"$MIGREF" extract "$1" -o "$work/a" >"$work/list.a" 2>"$work/errors.a"
	status=$?
	"$MIGREF" extract "$work/plain" -o "$work/b" >"$work/list.b" 2>"$work/errors.b"
	plain_status=$?
	[ "$status" -eq "$plain_status" ] || complain "$name: exit status $status compressed, $plain_status plain"
	[ "$status" -eq 0 ] || differs_for_good "$name" || complain "$name: exit status $status: $(head -n 1 "$work/errors.a")"
	[ -n "$(ls "$work/a")" ] || complain "$name: no block"
	diff -r "$work/a" "$work/b" >"$work/diff" || complain "$name: compressed and plain differ: $(head -n 3 "$work/diff")"
	diff <(sed "s,^$work/a/,," "$work/list.a") <(sed "s,^$work/b/,," "$work/list.b") >"$work/diff" ||
		complain "$name: compressed and plain are listed differently: $(head -n 3 "$work/diff")"
	if [ -f "$work/plain/source.ram" ] && ! differs_for_good "$name"; then
		cmp -s "$work/plain/source.ram" "$work"/a/mem || cmp -s "$work/plain/source.ram" "$work"/a/pc.ram ||
			complain "$name: memory is not the source's"
	fi
	rm -rf "$work/plain" "$work/a" "$work/b"
}

for one in vectors/recordings/*/ ../shared/recordings/*/; do
	[ ! -e "$one/manifest.json" ] || both_ways "${one%/}"
done

# A file, a pipe and a compressed file of one stream.
for one in vectors/streams/*.zst; do
	name=$(basename "$one" .zst)
	options=()
	# A pipe cannot be asked for its end, which alone tells of 1 KiB pages.
	[[ $name != *-virt-2.6 ]] || options=(--page-size=1024)
	zstd -dqc "$one" >"$work/stream"
	"$MIGREF" extract "$one" -o "$work/a" >/dev/null || complain "$name: extract of the compressed file fails"
	"$MIGREF" extract "$work/stream" -o "$work/b" >/dev/null || complain "$name: extract of the file fails"
	# shellcheck disable=SC2002
	cat "$work/stream" | "$MIGREF" extract "${options[@]}" - -o "$work/c" >/dev/null ||
		complain "$name: extract of a pipe fails"
	diff -r "$work/a" "$work/b" >/dev/null || complain "$name: the compressed file and the file differ"
	diff -r "$work/a" "$work/c" >/dev/null || complain "$name: the compressed file and the pipe differ"
	rm -rf "$work/a" "$work/b" "$work/c"
done

# Pages that never came, or are zero, cost no space.
"$MIGREF" extract "$recording" -o "$work/holes" >/dev/null
[ $(($(stat -c '%b * %B' "$work/holes/mem"))) -lt "$(stat -c %s "$work/holes/mem")" ] || complain 'zero pages are not holes'

expect_failure() { # PATTERN DIR
	local output
	output=$("$MIGREF" extract "$recording" -o "$2" 2>&1 >/dev/null)
	[ $? -eq 3 ] || complain "$1: the exit status is not 3"
	if [ "$(wc -l <<<"$output")" -ne 1 ] || ! grep -qE -- "$1" <<<"$output"; then
		complain "expected one line with $1, found: $output"
	fi
	[ -z "$(find "$2" -name '*.part' -type f)" ] || complain "$1: a partial file is left"
}

# What stands in the way of a file: a folder of its name, and a link that leads out of the folder.
mkdir -p "$work/taken/mem"
expect_failure 'taken/mem: Is a directory' "$work/taken"
mkdir "$work/link"
ln -s "$work/victim" "$work/link/.mem-0.part"
expect_failure 'link/mem: Too many levels of symbolic links' "$work/link"
[ ! -e "$work/victim" ] || complain 'a link led out of the folder'

(ulimit -n 12 && expect_failure 'Too many open files' "$work/many"
[ -z "$(ls "$work/many")" ] || complain 'too many open files leave a file'
exit $failed) || failed=1

# A disk that is full long before the end.
mkdir "$work/small"
if mount -t tmpfs -o size=128k migref "$work/small" 2>/dev/null; then
	expect_failure 'small/.*: No space left on device' "$work/small"
	[ -z "$(ls -A "$work/small")" ] || complain "a full disk leaves files: $(ls -A "$work/small")"
	umount "$work/small"
fi
exit $failed
