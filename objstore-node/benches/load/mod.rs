//! A load generator that costs little itself: requests formatted beforehand, keep-alive
//! connections with TCP_NODELAY, answers looked at no further than needed to count them.

#![allow(dead_code, unreachable_pub)] // Each bench takes what it needs.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

/// Whether this is `cargo bench` and not `cargo test --benches`, which only wants to know that the
/// bench can be built and started.
pub fn asked_for() -> bool {
    let asked = std::env::args().any(|arg| arg == "--bench");
    if !asked {
        println!("nothing to do: run it with cargo bench");
    }
    asked
}

/// Keeps all threads of this process, and those it starts from now on, on these processors.
pub fn pin_self(processors: &str) {
    let me = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["-a", "-c", "-p", processors, &me]).output();
    assert!(pinned.is_ok_and(|out| out.status.success()), "taskset -c {processors}");
}

/// Median, least and most.
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    pub fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let at = |i: usize| samples.get(i).copied().unwrap_or(f64::NAN);
        Self { median: at(samples.len() / 2), min: at(0), max: at(samples.len().wrapping_sub(1)) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let precision = f.precision().unwrap_or(2);
        write!(
            f,
            "{{\"median\":{:.precision$},\"min\":{:.precision$},\"max\":{:.precision$}}}",
            self.median, self.min, self.max
        )
    }
}

/// The head of an answer, as far as a load generator cares.
pub struct Head {
    pub status: u16,
    pub len: usize,
    pub body_len: usize,
}

impl Head {
    /// From the first bytes of an answer, once its head is complete.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let len = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(bytes.get(..len)?).ok()?;
        let status = head.get(9..12)?.parse().ok()?;
        let body_len = head
            .lines()
            .find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            })
            .unwrap_or(0);
        Some(Self { status, len, body_len })
    }
}

pub fn get_request(id: &str) -> Vec<u8> {
    format!("GET /api/v1/get/{id} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").into_bytes()
}

pub fn put_request(id: &str, len: u64) -> Vec<u8> {
    format!(
        "POST /api/v1/put HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Meta-ID: {id}\r\nContent-Length: {len}\r\n\r\n"
    )
    .into_bytes()
}

/// One blocking connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 256 * 1024] })
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads one answer to its end and returns its body's length; `see` gets the pieces.
    pub fn receive(&mut self, mut see: impl FnMut(&[u8])) -> io::Result<u64> {
        let mut filled = 0;
        let head = loop {
            let read = self.stream.read(&mut self.buffer[filled..])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += read;
            if let Some(head) = Head::parse(&self.buffer[..filled]) {
                break head;
            }
        };
        if head.status != 200 {
            let text = String::from_utf8_lossy(&self.buffer[..filled]).into_owned();
            return Err(io::Error::other(text));
        }
        see(&self.buffer[head.len..filled]);
        let mut left = (head.len + head.body_len) as u64 - filled as u64;
        while left > 0 {
            let read = self.stream.read(&mut self.buffer)?;
            if read == 0 || read as u64 > left {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            see(&self.buffer[..read]);
            left -= read as u64;
        }
        Ok(head.body_len as u64)
    }
}
