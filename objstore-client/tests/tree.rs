//! A program that only talks to nodes pays for no storage.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;

/// The names of what a program gets with the client.
fn crates(features: &[&str]) -> Vec<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--edges", "normal,build", "--prefix", "none"])
        .args(["--package", "objstore-client", "--format", "{p}"])
        .args(features)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be run");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    let crates: Vec<_> =
        tree.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect();
    assert!(crates.iter().any(|name| name == "hyper"), "{crates:?}");
    crates
}

#[test]
fn neither_a_database_nor_the_aws_sdk_is_in_the_tree() {
    for name in crates(&[]) {
        assert!(
            !["fjall", "lsm-tree", "objstore-core", "foca", "clap"].contains(&&*name),
            "{name}"
        );
        // What rustls computes with is no part of the SDK.
        let of_the_sdk = name.starts_with("aws-") && !["aws-lc-rs", "aws-lc-sys"].contains(&&*name);
        assert!(!of_the_sdk, "{name}");
    }
}

#[test]
fn without_its_feature_there_is_no_tls_in_the_tree() {
    for name in crates(&["--no-default-features"]) {
        assert!(!name.contains("rustls") && !name.starts_with("aws-"), "{name}");
    }
}
