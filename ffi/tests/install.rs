//! `install.sh`, as whoever builds programs in C and C++ uses what it installs: through pkg-config,
//! through CMake, and the archive beside another library in Rust.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What an archive of Rust stands on.
const OF_RUST: [&str; 6] = ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

/// What a command prints; it must succeed.
fn run<S: AsRef<OsStr>>(dir: &Path, command: &[S], variables: &[(&str, &Path)]) -> String {
    let (program, args) = command.split_first().unwrap();
    let mut run = Command::new(program);
    run.args(args).current_dir(dir).envs(variables.iter().copied());
    let shown = program.as_ref().display();
    let ran = run.output().unwrap_or_else(|e| panic!("{shown}: {e}"));
    let (said, failed) =
        (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{shown}: {} {said} {failed}", ran.status);
    said.into_owned()
}

#[test]
fn what_is_installed_is_found_and_linked_in_every_way() {
    let dir = tempfile::tempdir().unwrap();
    let (at, prefix) = (dir.path(), dir.path().join("prefix"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    // Where cargo has just built the library for this test.
    let built = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    run(at, &[text(&root().join("ffi/install.sh")), text(&prefix), text(&built)], &[]);
    let libraries = prefix.join("lib");
    let found = [("LD_LIBRARY_PATH", libraries.as_path())];
    write(&at.join("poem.txt"), "one\ntwo\n");

    by_pkg_config(at, &libraries);
    assert!(run(at, &["./put_get", "poem.txt"], &found).contains("8 bytes, 2 lines"));
    by_cmake(at, &prefix);
    assert!(run(at, &["build/shared", "poem.txt"], &found).contains("8 bytes, 2 lines"));
    assert!(run(at, &["build/archive", "3"], &[]).contains("got 100 %"));
    only_the_abi_is_in_the_archive(at, &libraries);
    beside_another_library_in_rust(at, &prefix);
}

fn by_pkg_config(at: &Path, libraries: &Path) {
    let packages = libraries.join("pkgconfig");
    let flags = ["pkg-config", "--cflags", "--libs", "objstore"];
    let flags = run(at, &flags, &[("PKG_CONFIG_PATH", &packages)]);
    let source = root().join("examples/c/put_get.c");
    let mut compile = vec!["gcc", source.to_str().unwrap(), "-o", "put_get"];
    compile.extend(flags.split_whitespace());
    run(at, &compile, &[]);
}

fn by_cmake(at: &Path, prefix: &Path) {
    let root = root().to_str().unwrap().to_owned();
    let project = format!(
        "cmake_minimum_required(VERSION 3.13)
project(test C CXX)
set(CMAKE_CXX_STANDARD 17)
find_package(objstore 0.1 REQUIRED)
add_executable(shared {root}/examples/c/put_get.c)
target_link_libraries(shared objstore::objstore)
add_executable(archive {root}/examples/cpp/stream.cpp)
target_link_libraries(archive objstore::objstore_static)
"
    );
    write(&at.join("CMakeLists.txt"), &project);
    let place = format!("-DCMAKE_PREFIX_PATH={}", prefix.to_str().unwrap());
    run(at, &["cmake", "-S", ".", "-B", "build", &place], &[]);
    run(at, &["cmake", "--build", "build"], &[]);
    let newer = std::fs::read_to_string(at.join("CMakeLists.txt")).unwrap().replace("0.1", "99.0");
    std::fs::create_dir(at.join("newer")).unwrap();
    write(&at.join("newer/CMakeLists.txt"), &newer);
    let newer = ["-S", "newer", "-B", "newer/build", &place];
    let refused = Command::new("cmake").args(newer).current_dir(at).output().unwrap();
    assert!(!refused.status.success(), "a version that is not there was found");
}

fn only_the_abi_is_in_the_archive(at: &Path, libraries: &Path) {
    let archive = libraries.join("libobjstore.a");
    let listed = run(at, &["nm", "--defined-only", "-g", archive.to_str().unwrap()], &[]);
    let mut seen: Vec<_> =
        listed.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    seen.sort_unstable();
    let listed = std::fs::read_to_string(root().join("ffi/tests/symbols.txt")).unwrap();
    assert_eq!(seen, listed.lines().collect::<Vec<_>>());
}

fn beside_another_library_in_rust(at: &Path, prefix: &Path) {
    let rust = r#"
#[unsafe(no_mangle)]
pub extern "C" fn other_sum(n: u64) -> u64 {
    (0..n).map(|i| format!("{i}").len() as u64).sum()
}
#[unsafe(no_mangle)]
pub extern "C" fn other_panics() -> bool {
    std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(1))).is_err()
}
"#;
    let c = r#"
#include <objstore.h>
uint64_t other_sum(uint64_t n);
bool other_panics(void);
int main(void)
{
    objstore_config *config = objstore_config_new();
    objstore_store *store;
    objstore_id id;
    if (objstore_config_set(config, "in-memory", "1", NULL)
        || objstore_open_node(config, &store, NULL) || objstore_config_free(config))
        return 1;
    if (objstore_new_id(store, &id, NULL)
        || objstore_put(store, &id, id.bytes, sizeof id.bytes, NULL, NULL, NULL))
        return 2;
    if (other_sum(100) != 190 || !other_panics())
        return 3;
    return objstore_close(store, 5000, NULL);
}
"#;
    write(&at.join("other.rs"), rust);
    write(&at.join("both.c"), c);
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let archive =
        ["--edition", "2024", "--crate-type", "staticlib", "other.rs", "-o", "libother.a"];
    run(at, &[&[rustc.as_str()], &archive[..]].concat(), &[]);
    let include = format!("-I{}", prefix.join("include").to_str().unwrap());
    let libraries = format!("-L{}", prefix.join("lib").to_str().unwrap());
    for order in [["-lobjstore", "-lother"], ["-lother", "-lobjstore"]] {
        let mut link = vec!["gcc", "both.c", &include, &libraries, "-L.", "-o", "both"];
        link.push("-Wl,-Bstatic");
        link.extend(order);
        link.push("-Wl,-Bdynamic");
        link.extend(OF_RUST);
        run(at, &link, &[]);
        run(at, &["./both"], &[]);
    }
}
