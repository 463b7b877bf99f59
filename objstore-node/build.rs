//! Tells the binary which commit it was built from, where git can say so. Nothing is written
//! outside Cargo's own directory; a build from a package without history simply has no commit.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Appended to by every commit and checkout, so it changes exactly when the answer does.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    let version = env!("CARGO_PKG_VERSION");
    match git(&["rev-parse", "--short", "HEAD"]) {
        Some(commit) => println!("cargo::rustc-env=OBJSTORE_VERSION={version} ({commit})"),
        None => println!("cargo::rustc-env=OBJSTORE_VERSION={version}"),
    }
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|o| o.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
