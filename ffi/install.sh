#!/usr/bin/env bash
# Installs libobjstore for programs in C and C++: headers, the shared library, the archive, a pkg-config
# file and a CMake package.
#
#   ffi/install.sh PREFIX [BUILT]
#
# PREFIX is where they go, such as /usr/local; DESTDIR, if it is set, is put before it. BUILT is where
# cargo has built the library, by default target/library after building it (some ten minutes).
set -euo pipefail
prefix=${1:?which directory? such as /usr/local}
cd "$(dirname "$0")/.."
built=${2:-}
if [ -z "$built" ]; then
    flags=()
    # Rust links with lld there, which makes one of functions that are alike.
    if rustc -vV | grep -qx 'host: x86_64-unknown-linux-gnu'; then flags=(-C link-arg=-Wl,--icf=safe); fi
    cargo rustc --profile library -p objstore-ffi --crate-type cdylib,staticlib -- "${flags[@]}"
    built=${CARGO_TARGET_DIR:-target}/library
fi
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
into=${DESTDIR:-}$prefix
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

install -d "$into/include" "$into/lib/pkgconfig" "$into/lib/cmake/objstore"
install -m 644 include/objstore.h include/objstore.hpp "$into/include"

# The ABI has one number, and each library of it runs what was linked with an older one.
install -m 755 "$built/libobjstore.so" "$into/lib/libobjstore.so.0"
ln -sf libobjstore.so.0 "$into/lib/libobjstore.so"

# One object of which only the ABI is to be seen, so that it stands beside another library in Rust with
# a standard library of its own.
ld -r --force-group-allocation --whole-archive "$built/libobjstore.a" -o "$work/objstore.o"
# The bitcode of the standard library is of no use to a linker, and too new for some.
objcopy --strip-debug --remove-section=.llvmbc --remove-section=.llvmcmd \
    --keep-global-symbols=ffi/tests/symbols.txt "$work/objstore.o"
rm -f "$into/lib/libobjstore.a"
ar rcs "$into/lib/libobjstore.a" "$work/objstore.o"

for file in objstore.pc objstore-config.cmake objstore-config-version.cmake; do
    sed -e "s|@PREFIX@|$prefix|g" -e "s|@VERSION@|$version|g" "ffi/packages/$file.in" >"$work/$file"
done
install -m 644 "$work/objstore.pc" "$into/lib/pkgconfig"
install -m 644 "$work/objstore-config.cmake" "$work/objstore-config-version.cmake" "$into/lib/cmake/objstore"
echo "installed libobjstore $version below $into"
