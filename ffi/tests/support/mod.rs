//! What the tests of programs in C share: compilers, the library, nodes elsewhere.
#![allow(dead_code, unreachable_pub)] // a module of several tests, none of which uses all of it

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use objstore_core::Node;
use objstore_core::remote::MemoryRemote;

pub const C99: &[&str] = &["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror"];
pub const CPP17: &[&str] = &["-std=c++17", "-Wall", "-Wextra", "-Wshadow", "-pedantic", "-Werror"];

/// The library is not instrumented, so how it synchronises is not seen: only the programs are judged.
pub const SUPPRESSIONS: &str = "ffi/tests/c/tsan.txt";

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The directory in which cargo has just built the library for this test.
pub fn built() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// A place to build in, with the library under its names.
pub struct Bench {
    pub dir: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["libobjstore.so", "libobjstore.so.0"] {
            std::os::unix::fs::symlink(built().join("libobjstore.so"), dir.path().join(name))
                .unwrap();
        }
        Self { dir }
    }

    /// Compiles a source of the repository.
    pub fn compile(&self, compiler: &str, flags: &[&str], source: &str) -> PathBuf {
        let program = self.dir.path().join(source.replace(['/', '.'], "_"));
        let built = Command::new(compiler)
            .args(flags)
            .arg("-g")
            .arg("-I")
            .arg(root().join("include"))
            .arg(root().join(source))
            .arg("-o")
            .arg(&program)
            .arg("-L")
            .arg(self.dir.path())
            .args(["-lobjstore", "-pthread"])
            .output()
            .unwrap_or_else(|e| panic!("{compiler}: {e}"));
        assert!(built.status.success(), "{compiler} {source}: {}", error(&built));
        program
    }

    /// Runs a program; it must say that all was well.
    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, program: &[S]) -> String {
        let (program, args) = program.split_first().unwrap();
        let ran = Command::new(program)
            .args(args)
            .env("LD_LIBRARY_PATH", self.dir.path())
            .env("TSAN_OPTIONS", format!("suppressions={}", text(&root().join(SUPPRESSIONS))))
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        let program = program.as_ref().display();
        assert!(ran.status.success(), "{program}: {} {said} {}", ran.status, error(&ran));
        said
    }
}

pub fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A node in memory that listens, with a bucket.
pub struct Elsewhere {
    pub node: Node,
    server: objstore_core::Server,
    address: String,
}

impl Elsewhere {
    pub fn start(runtime: &tokio::runtime::Runtime) -> Self {
        runtime.block_on(async {
            let bucket = std::sync::Arc::new(MemoryRemote::new("bucket"));
            let node = Node::builder().in_memory().remote(bucket).start().await.unwrap();
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let server = node.serve_public(listener).unwrap();
            let address = server.local_addr().to_string();
            Self { node, server, address }
        })
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub async fn stop(self) {
        self.server.stop(std::time::Duration::ZERO).await;
        self.node.shutdown().await.unwrap();
    }
}
