//! A program that only talks to nodes pays for no storage.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;

#[test]
fn neither_a_database_nor_the_aws_sdk_is_in_the_tree() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--edges", "normal,build", "--prefix", "none"])
        .args(["--package", "objstore-client", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be run");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    let crates: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(crates.contains(&"hyper"), "{crates:?}");
    for heavy in ["fjall", "lsm-tree", "objstore-core", "foca", "rustls", "aws-lc-sys", "clap"] {
        assert!(!crates.contains(&heavy), "{heavy} is in the tree");
    }
    assert!(!crates.iter().any(|name| name.starts_with("aws-")), "{crates:?}");
}
