#!/bin/bash
# Writes docs/deviations.md: the verdict on each recording and every rule that real QEMU deviates from.
#
#   tools/deviations.sh [RECORDINGS-FOLDER] > docs/deviations.md
set -eu
MIGREF=${MIGREF:-build/migref}
folder=${1:-../shared/recordings}
[ -d "$folder" ] || folder=vectors/recordings

cat <<'HEAD'
# Where real streams deviate

Made by `tools/deviations.sh`: `migref check` on each recording of a real migration. All are valid or acceptable: an acceptable
stream breaks a rule, yet a conforming receiver may take it. The number is how often the rule is broken, the place where it happens
first.

| recording | verdict | rule | times | first place | found there |
|---|---|---|---|---|---|
HEAD
for recording in "$folder"/*/; do
	recording=${recording%/}
	ls "$recording"/ch0.fwd* >/dev/null 2>&1 || continue
	[ "$(basename "$recording")" != first-postcopy ] || continue # made by hand
	"$MIGREF" check --json "$recording" | jq -rs --arg name "$(basename "$recording")" '
		last as $verdict |
		([.[:-1] | group_by(.rule)[] | {rule: .[0].rule, times: length, channel: .[0].channel,
			offset: .[0].offset, found: .[0].found}]) as $rules |
		if $rules == [] then "| `\($name)` | \($verdict.verdict) | | | | |"
		else $rules[] | "| `\($name)` | \($verdict.verdict) | \(.rule) | \(.times) | \(.channel) at \(.offset) | \(.found |
			gsub("\\|"; "/")) |" end'
done
cat <<'MIDDLE'

## The rules that were broken

| rule | says |
|---|---|
MIDDLE
for recording in "$folder"/*/; do
	ls "$recording"/ch0.fwd* >/dev/null 2>&1 || continue
	[ "$(basename "$recording")" != first-postcopy ] || continue # made by hand
	"$MIGREF" check --json "$recording" | jq -r 'select(.rule) | .rule' 2>/dev/null || true
done | grep -E '^[A-Z]+-[0-9]+$' | sort -u | while read -r rule; do
	sed -n "s/^MR_RULE([A-Z0-9_]*, \"$rule\", [A-Z_]*, \"\(.*\)\")$/| $rule | \1 |/p" ref/rules.def
done
