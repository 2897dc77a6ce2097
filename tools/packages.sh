#!/bin/sh
# Makes sure that the Debian packages for a purpose are installed: build (the default) or check.
#
# As root it installs what is missing; otherwise it prints the one line that would, and fails.
# An entry `a|b` is satisfied by any of its names, which may be patterns; the first is installed.

set -eu

build='gcc libc6-dev make pkg-config|pkgconf zlib1g-dev libzstd-dev libjansson-dev libssl-dev liblzma-dev libbz2-dev libinih-dev zstd'
check='clang clang-tidy libclang-rt-dev|libclang-rt-*-dev libcmocka-dev valgrind faketime jq parallel'

case ${1:-build} in
build) wanted=$build ;;
check) wanted="$build $check" ;;
*)
    echo "packages.sh: expected build or check, found $1" >&2
    exit 2
    ;;
esac

if ! command -v dpkg-query >/dev/null; then
    echo "packages.sh: not a Debian system, so nothing is checked; needed: $wanted" >&2
    exit 0
fi

set -f
# One query for all names: dpkg-query complains about unknown ones, which is what is asked here.
# shellcheck disable=SC2046
installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' \
    $(echo "$wanted" | tr '|' ' ') 2>/dev/null | sed -n 's/^installed //p') || true

is_installed() {
    for name in $installed; do
        # The entry is a pattern on purpose.
        # shellcheck disable=SC2254
        case $name in $1) return 0 ;; esac
    done
    return 1
}

missing=
for entry in $wanted; do
    found=no
    for alternative in $(echo "$entry" | tr '|' ' '); do
        if is_installed "$alternative"; then
            found=yes
            break
        fi
    done
    [ $found = yes ] || missing="$missing ${entry%%|*}"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "packages.sh: missing Debian packages; run:" \
        "sudo apt-get install -y --no-install-recommends$missing" >&2
    exit 1
fi

echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update || {
    echo "packages.sh: apt-get update failed; needed:$missing" >&2
    exit 1
}
# shellcheck disable=SC2086
apt-get -qq install -y --no-install-recommends $missing >/dev/null || {
    echo "packages.sh: apt-get could not install:$missing" >&2
    exit 1
}
