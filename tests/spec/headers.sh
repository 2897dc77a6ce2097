#!/bin/sh
# Each public header can be included alone, and first, by C and by C++.

set -eu
cd "$(dirname "$0")/../.."
CC=${CC:-cc}
failed=0

# $1: header, then the compiler and its arguments.
compiles() {
    header=$1
    shift
    echo "#include \"$header\"" | "$@" -Wall -Wextra -Werror -fsyntax-only -Iref - || {
        echo "$header: expected to compile alone by: $*"
        failed=1
    }
}

for path in ref/*.h; do
    header=$(basename "$path")
    compiles "$header" "$CC" -x c -std=c11 -pedantic
    compiles "$header" clang -x c++ -std=c++11
done
exit "$failed"
