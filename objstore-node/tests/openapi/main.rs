//! The OpenAPI document and a running node under [schemathesis](https://schemathesis.io), where it
//! is installed: it makes requests from the document, good ones and bad ones, and holds the answers
//! against it. CI installs it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "../harness/mod.rs"]
mod harness;

use std::process::{Command, Stdio};

use harness::server::Launch;

/// Where schemathesis is; without it the one on the path is taken, if there is one.
const PROGRAM: &str = "OBJSTORE_SCHEMATHESIS";
const TOKEN: &str = "schemathesis-0123456789";
/// The most requests of one kind to one operation.
const EXAMPLES: &str = "30";

#[test]
fn schemathesis_finds_no_server_error_and_no_contradiction() {
    let given = std::env::var_os(PROGRAM);
    let program = given.clone().unwrap_or_else(|| "schemathesis".into());
    let version = Command::new(&program).arg("--version").stdout(Stdio::null()).status();
    if version.is_err() {
        assert!(given.is_none(), "{PROGRAM} names {program:?}, which cannot be run");
        println!("schemathesis is not installed: nothing was tried");
        return;
    }

    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens");
    std::fs::write(&tokens, format!("all read,write,admin {TOKEN}\n")).unwrap();
    let server =
        Launch::new(dir.path()).args(["--token-file".as_ref(), tokens.as_os_str()]).start();
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openapi");
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../objstore-core/src/http/openapi.json");
    let ended = Command::new(&program)
        .arg("--config-file")
        .arg(format!("{here}/schemathesis.toml"))
        .args(["run", document, "--url", &format!("http://{}", server.addr)])
        .args(["--checks", "all", "--max-examples", EXAMPLES])
        .args(["--seed", &std::env::var("OBJSTORE_SCHEMATHESIS_SEED").unwrap_or("1".into())])
        .env("SCHEMATHESIS_HOOKS", format!("{here}/hooks.py"))
        .env("OBJSTORE_TOKEN", TOKEN)
        .current_dir(dir.path())
        .output()
        .expect("schemathesis can be run");
    let said = String::from_utf8_lossy(&ended.stdout);
    println!("{said}");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    // It ends well too when it tried nothing.
    assert!(said.contains(" passed") && said.contains("Stateful"), "nothing was tried");
    assert!(server.stop().success());
}
