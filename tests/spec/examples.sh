#!/bin/sh
# The examples and tables of SPEC.md are what the program prints and what the code says.

set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
MIGREF=${MIGREF:-$BUILD/migref}
export MIGREF

[ -x "$MIGREF" ] || {
    echo "$MIGREF: expected the built program, found none"
    exit 77
}
tools/spec-tables.sh --check
tools/spec-examples.sh --check
