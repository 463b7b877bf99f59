//! A client that hides nothing: one blocking keep-alive connection, no retry, no redirect. It
//! tells an answer that ended well from one that was cut.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

pub struct Client {
    addr: SocketAddr,
    connection: Option<TcpStream>,
}

/// How a body goes out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Framing {
    Length,
    Chunked,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// Whether the body ended where its framing says. False: the connection broke before.
    pub whole: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether this is an acknowledgement: the success, read to its end.
    pub fn is_ok(&self) -> bool {
        self.status == 200 && self.whole
    }
}

impl Client {
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr, connection: None }
    }

    pub fn get(&mut self, id: &str) -> io::Result<Answer> {
        self.call("GET", &format!("/api/v1/get/{id}"), "")
    }

    pub fn get_range(&mut self, id: &str, range: &str) -> io::Result<Answer> {
        self.call("GET", &format!("/api/v1/get/{id}"), &format!("Range: bytes={range}\r\n"))
    }

    pub fn delete(&mut self, id: &str) -> io::Result<Answer> {
        self.call("POST", &format!("/api/v1/delete/{id}"), "Content-Length: 0\r\n")
    }

    pub fn put(&mut self, id: &str, body: &[u8]) -> io::Result<Answer> {
        self.put_as(id, "", body, Framing::Length)
    }

    /// With further header lines, each whole.
    pub fn put_with(&mut self, id: &str, fields: &str, body: &[u8]) -> io::Result<Answer> {
        let length = body.len();
        let head = format!(
            "POST /api/v1/put HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Meta-ID: {id}\r\n{fields}Content-Length: {length}\r\n\r\n"
        );
        self.exchange("POST", |stream| {
            stream.write_all(head.as_bytes())?;
            stream.write_all(body)
        })
    }

    pub fn put_as(
        &mut self,
        id: &str,
        name: &str,
        body: &[u8],
        framing: Framing,
    ) -> io::Result<Answer> {
        let head = put_head(id, name, body.len(), framing);
        self.exchange("POST", |stream| {
            stream.write_all(head.as_bytes())?;
            if framing == Framing::Length {
                return stream.write_all(body);
            }
            for chunk in body.chunks(40_000) {
                stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes())?;
                stream.write_all(chunk)?;
                stream.write_all(b"\r\n")?;
            }
            stream.write_all(b"0\r\n\r\n")
        })
    }

    /// Sends the first half of a body and hangs up.
    pub fn abandon_put(&mut self, id: &str, body: &[u8], framing: Framing) -> io::Result<()> {
        let head = put_head(id, "abandoned.bin", body.len().max(2), framing);
        let mut stream = self.take_connection()?;
        stream.write_all(head.as_bytes())?;
        let half = &body[..body.len() / 2];
        if framing == Framing::Chunked {
            stream.write_all(format!("{:x}\r\n", body.len().max(2)).as_bytes())?;
        }
        stream.write_all(half)
    }

    /// The ids of all live objects, page by page.
    pub fn list(&mut self) -> Result<BTreeSet<String>, String> {
        let mut ids = BTreeSet::new();
        let mut after = String::new();
        loop {
            let path = format!("/api/v1/list?limit=100{after}");
            let answer = self.call("GET", &path, "").map_err(|why| why.to_string())?;
            if !answer.is_ok() {
                return Err(format!("{} {}", answer.status, answer.text()));
            }
            let before = ids.len();
            for line in answer.text().lines() {
                let (_, rest) = line.split_once("\"id\":\"").ok_or("a line without an id")?;
                ids.insert(rest.chars().take(26).collect::<String>());
            }
            match ids.last() {
                Some(last) if ids.len() > before => after = format!("&after={last}"),
                _ => return Ok(ids),
            }
        }
    }

    /// A request without a body; `fields` are whole header lines.
    pub fn call(&mut self, method: &str, path: &str, fields: &str) -> io::Result<Answer> {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n");
        self.exchange(method, |stream| stream.write_all(head.as_bytes()))
    }

    fn take_connection(&mut self) -> io::Result<TcpStream> {
        if let Some(stream) = self.connection.take() {
            return Ok(stream);
        }
        let stream = TcpStream::connect(self.addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    fn exchange(
        &mut self,
        method: &str,
        send: impl FnOnce(&mut TcpStream) -> io::Result<()>,
    ) -> io::Result<Answer> {
        let mut stream = self.take_connection()?;
        // A server may answer and close before it has taken the whole body: then sending fails,
        // and the answer is there all the same.
        let sent = send(&mut stream);
        let (answer, reusable) = match read_answer(&mut stream, method) {
            Ok(read) => read,
            Err(e) => return Err(sent.err().unwrap_or(e)),
        };
        if sent.is_ok() && reusable {
            self.connection = Some(stream);
        }
        Ok(answer)
    }
}

fn put_head(id: &str, name: &str, len: usize, framing: Framing) -> String {
    let framing = match framing {
        Framing::Length => format!("Content-Length: {len}"),
        Framing::Chunked => "Transfer-Encoding: chunked".to_owned(),
    };
    let name = if name.is_empty() { String::new() } else { format!("X-Meta-Name: {name}\r\n") };
    format!(
        "POST /api/v1/put HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Meta-ID: {id}\r\n{name}{framing}\r\n\r\n"
    )
}

/// The answer, and whether the connection can be used again.
fn read_answer(stream: &mut TcpStream, method: &str) -> io::Result<(Answer, bool)> {
    let mut input = Input { stream, buffer: Vec::new(), taken: 0 };
    let (head, status) = loop {
        let head = String::from_utf8_lossy(&input.until(b"\r\n\r\n")?).into_owned();
        let status: u16 = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| io::Error::other(format!("not an HTTP answer: {head:?}")))?;
        if status >= 200 {
            break (head, status);
        }
    };
    let mut answer = Answer { status, head, body: Vec::new(), whole: true };
    let length = answer.header("content-length").and_then(|text| text.parse::<usize>().ok());
    let chunked = answer.header("transfer-encoding").is_some();
    let mut reusable =
        !answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    if method != "HEAD" && status != 204 && status != 304 {
        answer.whole = match length {
            Some(length) => input.take(length, &mut answer.body),
            None if chunked => input.chunks(&mut answer.body).is_ok(),
            None => {
                reusable = false;
                input.until_closed(&mut answer.body).is_ok()
            }
        };
    }
    let reusable = reusable && answer.whole;
    Ok((answer, reusable))
}

struct Input<'a> {
    stream: &'a mut TcpStream,
    buffer: Vec<u8>,
    taken: usize,
}

impl Input<'_> {
    fn more(&mut self) -> io::Result<()> {
        if self.taken == self.buffer.len() {
            self.buffer.clear();
            self.taken = 0;
        }
        let old = self.buffer.len();
        self.buffer.resize(old + 64 * 1024, 0);
        let read = loop {
            match self.stream.read(&mut self.buffer[old..]) {
                // A machine that was stopped for a while.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(old + *read.as_ref().unwrap_or(&0));
        match read? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            let rest = &self.buffer[self.taken..];
            if let Some(at) = rest.windows(end.len()).position(|window| window == end) {
                let line = rest[..at].to_vec();
                self.taken += at + end.len();
                return Ok(line);
            }
            self.more()?;
        }
    }

    /// Moves up to `length` bytes to `out`; false when the connection ends before.
    fn take(&mut self, mut length: usize, out: &mut Vec<u8>) -> bool {
        loop {
            let rest = &self.buffer[self.taken..];
            let now = rest.len().min(length);
            out.extend_from_slice(&rest[..now]);
            self.taken += now;
            length -= now;
            if length == 0 {
                return true;
            }
            if self.more().is_err() {
                return false;
            }
        }
    }

    fn chunks(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let line = self.until(b"\r\n")?;
            let size = std::str::from_utf8(&line)
                .ok()
                .and_then(|text| usize::from_str_radix(text.trim(), 16).ok())
                .ok_or_else(|| io::Error::other("bad chunk"))?;
            if !self.take(size, out) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.until(b"\r\n")?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn until_closed(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        out.extend_from_slice(&self.buffer[self.taken..]);
        self.stream.read_to_end(out).map(drop)
    }
}
