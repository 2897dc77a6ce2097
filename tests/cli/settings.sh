#!/bin/bash
# A recording whose settings one of its releases refuses is found out: by the manifest alone, and with the rule.
set -u
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp -r vectors/recordings/7.2-postcopy-preempt-small "$work/r"
manifest=$work/r/manifest.json
cp "$manifest" "$work/manifest.json"

expect() { # FILTER TEXT: what `check` says of the manifest when it was changed so; empty: nothing
	local said
	jq "$1" "$work/manifest.json" >"$manifest"
	said=$("$MIGREF" check "$work/r" | grep manifest.json)
	if [ -z "$2" ]; then
		[ -z "$said" ] || { echo "$1: expected nothing, found $said"; failed=1; }
	else
		grep -q -- "$2" <<<"$said" || { echo "$1: expected $2, found ${said:-nothing}"; failed=1; }
	fi
}

expect . ''
expect '.capabilities += ["mapped-ram"]' CAP-001
expect '.capabilities += ["no-such-thing"]' CAP-001
expect '.capabilities -= ["postcopy-ram"]' CAP-002
expect '.capabilities += ["x-ignore-shared"]' CAP-003
expect '.capabilities += ["multifd"]' ''
expect '.capabilities += ["multifd"] | .destination_qemu = "8.2.0"' CAP-003
expect '.capabilities += ["multifd"] | .source_qemu = "no release" | .destination_qemu = "no release"' ''
expect '.capabilities += ["multifd", "zero-copy-send"] | .parameters["multifd-compression"] = "zlib"' CAP-004
expect '.capabilities += ["multifd", "zero-copy-send"] | .parameters["tls-creds"] = "tls0"' CAP-004
expect '.parameters["multifd-channels"] = 256' CAP-006
expect '.parameters["downtime-limit"] = -1' CAP-006
expect '.parameters["direct-io"] = true' CAP-006
expect '.parameters["tls-creds"] = "tls0"' ''
expect '.parameters["max-cpu-throttle"] = 19' CAP-007
exit $failed
