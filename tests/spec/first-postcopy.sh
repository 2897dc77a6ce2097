#!/bin/sh
# The page for learners is what the program explains, and its recording what its text says.

set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
MIGREF=${MIGREF:-$BUILD/migref}
export MIGREF

[ -x "$MIGREF" ] || {
    echo "$MIGREF: expected the built program, found none"
    exit 77
}
tools/first-postcopy.sh --check
"$MIGREF" check vectors/recordings/first-postcopy | grep -q ': valid'
"$MIGREF" replay vectors/recordings/first-postcopy >/dev/null
