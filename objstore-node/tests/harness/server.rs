//! The built binary as a child process, under control.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::http::Client;
use super::{PATIENCE, eventually};

/// How to start the binary.
#[derive(Clone)]
pub struct Launch {
    pub state: PathBuf,
    pub files: PathBuf,
    /// Where it listens for other nodes.
    pub private: String,
    /// Where it listens for everybody.
    pub public: String,
    wrapper: Vec<OsString>,
    args: Vec<OsString>,
}

/// A running process; killed when dropped.
pub struct Server {
    child: Child,
    log: Log,
    pub addr: SocketAddr,
}

/// A process that ended before it listened.
#[derive(Debug)]
pub struct Refusal {
    pub status: ExitStatus,
    pub stderr: Vec<String>,
}

type Log = Arc<Mutex<Vec<String>>>;

impl Launch {
    /// With state and files in their own directories below `dir`.
    pub fn new(dir: &Path) -> Self {
        Self {
            state: dir.join("state"),
            files: dir.join("files"),
            private: "127.0.0.1:0".to_owned(),
            public: "127.0.0.1:0".to_owned(),
            wrapper: Vec::new(),
            args: Vec::new(),
        }
    }

    pub fn state_in(mut self, dir: PathBuf) -> Self {
        self.state = dir;
        self
    }

    pub fn files_in(mut self, dir: PathBuf) -> Self {
        self.files = dir;
        self
    }

    pub fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Started by another program that becomes the binary (`taskset`, `strace -D`), so that the
    /// child's id stays that of the binary.
    pub fn wrapped<S: Into<OsString>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        self.wrapper = wrapper.into_iter().map(Into::into).collect();
        self
    }

    /// Starts it and waits until it is ready to serve.
    pub fn start(&self) -> Server {
        match self.try_start() {
            Ok(server) => server,
            Err(refusal) => panic!("the binary did not start: {refusal:#?}"),
        }
    }

    /// Starts it; what it said when it ended instead of serving.
    pub fn try_start(&self) -> Result<Server, Refusal> {
        let server = self.spawn_listening()?;
        eventually("GET /readyz answers 200", || {
            match server.client().call("GET", "/readyz", "") {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
                Err(why) => Err(format!("{why}; its log: {:#?}", server.log())),
            }
        });
        Ok(server)
    }

    /// Starts it and waits no longer than for the line that says where it listens.
    pub fn spawn_listening(&self) -> Result<Server, Refusal> {
        let (mut child, log, address) = self.spawn();
        match address.recv_timeout(PATIENCE) {
            Ok(addr) => Ok(Server { child, log, addr }),
            Err(RecvTimeoutError::Disconnected) => {
                let status = child.wait().expect("the child can be waited for");
                let stderr = log.lock().unwrap().clone();
                Err(Refusal { status, stderr })
            }
            Err(RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                panic!("neither listening nor ended: {:#?}", log.lock().unwrap());
            }
        }
    }

    fn spawn(&self) -> (Child, Log, Receiver<SocketAddr>) {
        let binary = OsString::from(env!("CARGO_BIN_EXE_objstore"));
        let mut line = self.wrapper.iter().chain([&binary]);
        let mut child = Command::new(line.next().unwrap())
            .args(line)
            .arg("--state-dir")
            .arg(&self.state)
            .arg("--files-dir")
            .arg(&self.files)
            .args(["--public-addr", &self.public, "--private-addr", &self.private])
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary can be run");
        let stderr = child.stderr.take().unwrap();
        let log = Log::default();
        let (found, address) = channel();
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let addr = address_in(&line);
                lines.lock().unwrap().push(line);
                if let Some(addr) = addr {
                    let _ = found.send(addr);
                }
            }
        });
        (child, log, address)
    }
}

/// The address in the line of the log that says where it listens.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on: http://")?;
    rest.trim().parse().ok().filter(|addr: &SocketAddr| addr.port() != 0)
}

impl Server {
    pub fn client(&self) -> Client {
        Client::new(self.addr)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where other nodes reach it.
    pub fn private(&self) -> String {
        let said =
            |line: &String| Some(line.split_once("other nodes reach it at: ")?.1.trim().to_owned());
        eventually("the log says where other nodes reach it", || {
            self.log().iter().find_map(said).ok_or_else(|| format!("{:#?}", self.log()))
        })
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// SIGKILL, and gone when this returns.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the way it ended.
    pub fn stop(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.wait()
    }

    /// The way it ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the process ends", || {
            self.child.try_wait().unwrap().ok_or_else(|| "still running".to_owned())
        })
    }

    /// Seconds of processor time so far, of all its threads, those that ended included.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks: u64 =
            fields.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum();
        ticks as f64 / 100.0
    }

    /// A size in `/proc/PID/status` in bytes: `VmHWM`, `VmRSS`.
    pub fn memory(&self, field: &str) -> u64 {
        memory_of(&self.pid().to_string(), field)
    }

    /// Lets `VmHWM` start again from what is resident now.
    pub fn reset_memory_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("log of the process: {:#?}", self.log.lock());
        }
    }
}

/// A size in `/proc/PID/status` in bytes; `self` for this process.
pub fn memory_of(pid: &str, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().find_map(|word| word.parse::<u64>().ok()).unwrap() * 1024
}

/// How long something took, for the eye only.
pub fn timed<T>(what: impl FnOnce() -> T) -> (T, std::time::Duration) {
    let start = Instant::now();
    (what(), start.elapsed())
}
