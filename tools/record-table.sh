#!/bin/bash
# Turns what tools/record-campaign.sh prints, on standard input, into the page docs/recording.md, on standard output.
#
#   tools/record-table.sh RELEASE <OUTPUT >docs/recording.md

set -u
release=${1:?usage: tools/record-table.sh RELEASE}
awk -v release="$release" '
	$1 == "preset" {
		times = $NF
		sub(/\)/, "", times)
		printf "# Real QEMU %s by every preset, %s times each\n\n", release, times
		print "Written by `make record-campaign`. Each recording was made by `migref record`, judged by `migref check`, and run"
		print "again by `migref replay`: every byte of every channel in both directions, every line of the destination'"'"'s trace"
		print "that the reference knows, the streams that the reference'"'"'s own source makes, and the memory.\n"
		print "| preset | accelerator | recorded | rules kept | replayed | |"
		print "|---|---|---|---|---|---|"
		next
	}
	$3 == "left" {
		name = $1
		sub(/^.*left out: preset [^:]*: /, "")
		if (name != before)
			printf "| `%s` | | | | | %s |\n", name, $0
		before = name
		next
	}
	/ passed, .* failed$/ {
		printf "\n%s of %s were recorded, kept the rules and were replayed.\n", $1, $1 + $3
		next
	}
	{
		reason = $0
		sub(/^[^ ]+ +[^ ]+ +[0-9]+ +[0-9]+ +[0-9]+ */, "", reason)
		printf "| `%s` | %s | %s | %s | %s | %s |\n", $1, $2, $3, $4, $5, reason
	}'
