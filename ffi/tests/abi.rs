//! A change of the header that breaks programs is found: abidiff (libabigail) compares two libraries that
//! are made from it, and is silent where nothing was changed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::{error, root};

/// A library with the functions of a header, and nothing behind them.
fn library(dir: &Path, header: &str) -> PathBuf {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("objstore.h"), header).unwrap();
    let (_, functions) = header.split_once("extern \"C\" {\n#endif // __cplusplus\n").unwrap();
    let (functions, _) = functions.split_once("#ifdef __cplusplus").unwrap();
    let mut source = "#include \"objstore.h\"\n".to_owned();
    // Neither comments nor arguments have what ends a declaration.
    for part in functions.split("*/").flat_map(|part| part.split("/*").next()) {
        source += &part.replace(");", ") { for (;;) { } }");
    }
    std::fs::write(dir.join("objstore.c"), source).unwrap();
    let library = dir.join("libobjstore.so");
    let built = Command::new("gcc")
        .args(["-g", "-shared", "-fPIC", "-w", "-o"])
        .arg(&library)
        .arg(dir.join("objstore.c"))
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", error(&built));
    library
}

fn abidiff(before: &Path, after: &Path) -> Output {
    let why = "abidiff: install it (on Debian: apt-get install abigail-tools)";
    Command::new("abidiff").args([before, after]).output().expect(why)
}

#[test]
fn what_breaks_programs_is_found_and_what_is_the_same_is_not() {
    const CHANGED: i32 = 4;
    const BREAKS: i32 = 8;
    let dir = tempfile::tempdir().unwrap();
    let header = std::fs::read_to_string(root().join("include/objstore.h")).unwrap();
    let before = library(&dir.path().join("before"), &header);
    let same = abidiff(&before, &library(&dir.path().join("same"), &header));
    let said = String::from_utf8_lossy(&same.stdout);
    assert!(same.status.success() && said.is_empty(), "{said} {}", error(&same));

    let without = header.replacen("objstore_status objstore_reader_cancel(", "void other(", 1);
    let first = "uint32_t objstore_abi_version(void);";
    let added = header.replacen(first, &format!("{first}\nint more(void);"), 1);
    for (number, (changed, expected)) in [
        (header.replace("int64_t timeout_ms", "int32_t timeout_ms"), CHANGED),
        (header.replace("uint8_t bytes[16]", "uint8_t bytes[20]"), CHANGED),
        (
            header.replace("typedef int32_t objstore_status", "typedef int64_t objstore_status"),
            CHANGED,
        ),
        (added, CHANGED),
        (without, CHANGED | BREAKS),
    ]
    .into_iter()
    .enumerate()
    {
        assert_ne!(changed, header, "change {number} is none");
        let found = abidiff(&before, &library(&dir.path().join(number.to_string()), &changed));
        let said = String::from_utf8_lossy(&found.stdout);
        let code = found.status.code().unwrap();
        assert_eq!(code & (CHANGED | BREAKS), expected, "change {number}: {said}");
    }
}
