#!/usr/bin/env bash
# Calls of the library in any order (ffi/tests/c/fuzz.c), under the sanitizers for addresses and for threads.
#
#   ffi/fuzz.sh [SEEDS [FIRST]]
#
# 100 seeds from 1 on unless it is told otherwise; the first that fails is named, and ends it.
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=${1:-100}
first=${2:-1}
cargo build -p objstore-ffi --no-default-features
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
library=$(cd "${CARGO_TARGET_DIR:-target}/debug" && pwd)/libobjstore.so
ln -s "$library" "$work/libobjstore.so"
ln -s "$library" "$work/libobjstore.so.0"
build() {
    gcc -std=c99 -g -fsanitize="$1" -Iinclude ffi/tests/c/fuzz.c -o "$work/$2" -L"$work" -lobjstore -pthread \
        -Wl,-rpath,"$work"
}
build address,undefined address
build thread thread
export TSAN_OPTIONS=suppressions=$PWD/ffi/tests/c/tsan.txt
for ((seed = first; seed < first + seeds; seed++)); do
    "$work/address" "$seed" 50000 || { echo "failed: address $seed 50000" >&2; exit 1; }
    "$work/thread" "$seed" 10000 4 || { echo "failed: thread $seed 10000 4" >&2; exit 1; }
done
echo "$seeds seeds from $first on, and nothing found"
