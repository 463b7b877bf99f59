//! System calls that fail, or kill, on demand.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::server::Server;

/// A command line before that of the binary. strace stays in the background, so that the child's
/// id is the binary's. It counts the calls of each thread for itself.
pub fn wrapper(calls: &str, inject: &str) -> Vec<String> {
    let trace = format!("trace={calls}");
    ["strace", "-D", "-f", "-qqq", "-o", "/dev/null", "-e", &trace, "-e", inject]
        .map(str::to_owned)
        .to_vec()
}

/// strace on a running process; lets go of it when dropped.
pub struct Strace(Child);

impl Strace {
    /// On all threads, those that come later too.
    pub fn attach(server: &Server, calls: &str, inject: &str) -> Self {
        Self::start(&["-f".to_owned(), format!("-p{}", server.pid())], calls, inject)
    }

    /// Only on the threads there are whose names begin like this.
    pub fn attach_threads(server: &Server, name: &str, calls: &str, inject: &str) -> Self {
        let mut targets = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap().flatten() {
            let comm = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if comm.starts_with(name) {
                targets.push(format!("-p{}", task.file_name().to_string_lossy()));
            }
        }
        assert!(!targets.is_empty(), "no thread is called {name}");
        Self::start(&targets, calls, inject)
    }

    fn start(targets: &[String], calls: &str, inject: &str) -> Self {
        let mut child = Command::new("strace")
            .args(["-o", "/dev/null", "-e", &format!("trace={calls}"), "-e", inject])
            .args(targets)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        for _ in targets.iter().filter(|target| target.starts_with("-p")) {
            let line = lines.next().unwrap_or_default();
            assert!(line.contains("attached"), "{line}");
        }
        // The rest is read so that strace never waits for it.
        std::thread::spawn(move || lines.for_each(drop));
        Self(child)
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}
