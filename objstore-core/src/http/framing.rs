//! How the requests of a connection are framed, seen from the bytes as they came.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A longer head is refused anyway.
const HEAD_MAX: usize = 64 * 1024;
const FIELDS_MAX: usize = 128;

/// What hyper does not tell: it drops a `Content-Length` that stands beside a `Transfer-Encoding`,
/// where RFC 9112 §6.3 wants the request refused. So the bytes are followed from request to
/// request, pipelined ones too. Where this view and hyper's differ, hyper has met an error, after
/// which the connection ends.
#[derive(Clone, Debug)]
pub(super) struct Framing(Arc<Mutex<Heard>>);

#[derive(Debug)]
struct Heard {
    place: Place,
    /// Of each head that came and was not passed on yet: whether it is plainly chunked.
    heads: VecDeque<bool>,
    /// The same of the request that was passed on last.
    current: bool,
    /// Any byte has come at all.
    began: bool,
}

/// Where in a request the next byte lies.
#[derive(Debug)]
enum Place {
    /// In a head, of which this has come.
    Head(Vec<u8>),
    /// In so many more bytes of a body.
    Body(u64),
    /// In the line that has the size of a chunk: the size so far, and whether it goes on.
    ChunkSize(u64, bool),
    /// In so many more bytes of a chunk, its line end included.
    Chunk(u64),
    /// In a line behind the last chunk, of which so many bytes have come.
    Trailer(usize),
    /// Nowhere that makes sense: hyper ends the connection.
    Lost,
}

impl Framing {
    pub(super) fn new() -> Self {
        let heard = Heard {
            place: Place::Head(Vec::new()),
            heads: VecDeque::new(),
            current: false,
            began: false,
        };
        Self(Arc::new(Mutex::new(heard)))
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes have come. Returns whether a head was completed by them.
    pub(super) fn hear(&self, new: &[u8]) -> bool {
        let mut heard = self.heard();
        heard.began |= !new.is_empty();
        let heads = heard.heads.len();
        heard.follow(new);
        heard.heads.len() > heads
    }

    /// Whether a head is awaited: since the connection opened, or since the head's first byte
    /// came. Between requests none is, and amid a body none is either.
    pub(super) fn awaits_head(&self) -> bool {
        let heard = self.heard();
        matches!(&heard.place, Place::Head(begun) if !begun.is_empty() || !heard.began)
    }

    /// The next request's head is complete, and it is passed on.
    pub(super) fn head_arrived(&self) {
        let mut heard = self.heard();
        heard.current = heard.heads.pop_front().unwrap_or(false);
    }

    /// Whether the head of the current request, as it came, has a `Transfer-Encoding` and no
    /// `Content-Length`.
    pub(super) fn is_plainly_chunked(&self) -> bool {
        self.heard().current
    }
}

impl Heard {
    fn follow(&mut self, mut new: &[u8]) {
        while let Some((&byte, behind)) = new.split_first() {
            match &mut self.place {
                Place::Head(begun) => {
                    let already = begun.len();
                    let head = if already == 0 {
                        head(new)
                    } else {
                        begun.extend_from_slice(new);
                        head(begun)
                    };
                    let Some((len, next, plainly_chunked)) = head else {
                        if already == 0 {
                            begun.extend_from_slice(new);
                        }
                        if begun.len() > HEAD_MAX {
                            self.place = Place::Lost;
                        }
                        return;
                    };
                    self.heads.push_back(plainly_chunked);
                    self.place = next;
                    new = new.get(len.saturating_sub(already)..).unwrap_or_default();
                }
                Place::Body(left) | Place::Chunk(left) => {
                    let here = new.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= here as u64;
                    if *left == 0 {
                        self.place = match self.place {
                            Place::Chunk(_) => Place::ChunkSize(0, true),
                            _ => Place::Head(Vec::new()),
                        };
                    }
                    new = new.get(here..).unwrap_or_default();
                }
                Place::ChunkSize(size, goes_on) => {
                    match (byte, char::from(byte).to_digit(16)) {
                        (b'\n', _) if *size == 0 => self.place = Place::Trailer(0),
                        (b'\n', _) => self.place = Place::Chunk(size.saturating_add(2)),
                        (_, Some(digit)) if *goes_on => {
                            *size = size.saturating_mul(16).saturating_add(digit.into());
                        }
                        _ => *goes_on = false,
                    }
                    new = behind;
                }
                Place::Trailer(len) => {
                    match byte {
                        b'\n' if *len == 0 => self.place = Place::Head(Vec::new()),
                        b'\n' => *len = 0,
                        b'\r' => {}
                        _ => *len += 1,
                    }
                    new = behind;
                }
                Place::Lost => return,
            }
        }
    }
}

/// Of bytes that begin with a head: its length, what follows it, and whether that is plainly
/// chunked. None while it is not complete.
fn head(bytes: &[u8]) -> Option<(usize, Place, bool)> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let len = match request.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return None,
        Err(_) => return Some((bytes.len(), Place::Lost, false)),
    };
    let mut length = None;
    let mut coded = false;
    for field in request.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") {
            length = Some(std::str::from_utf8(field.value).ok().and_then(|v| v.parse().ok()));
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            coded = true;
        }
    }
    Some(match (coded, length) {
        (true, length) => (len, Place::ChunkSize(0, true), length.is_none()),
        (false, None | Some(Some(0))) => (len, Place::Head(Vec::new()), false),
        (false, Some(Some(body))) => (len, Place::Body(body), false),
        (false, Some(None)) => (len, Place::Lost, false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const SIZED: &str = "PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\nGET / HTT";
    const CHUNKED: &str = "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n\
        3;x=5\r\n0\r\n\r\n0A\r\n0123456789\r\n0\r\nTrailer: a\r\n\r\n";
    const BOTH: &str = "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n\
        0\r\n\r\n";

    #[test]
    fn each_request_is_found_wherever_reads_end() {
        let all = [GET, CHUNKED, SIZED, CHUNKED, BOTH, GET, CHUNKED].concat();
        let chunked = [false, true, false, true, false, false, true];
        for step in 1..=all.len() {
            let framing = Framing::new();
            for bytes in all.as_bytes().chunks(step) {
                framing.hear(bytes);
            }
            for (number, expected) in chunked.iter().enumerate() {
                framing.head_arrived();
                assert_eq!(framing.is_plainly_chunked(), *expected, "{number} in steps of {step}");
            }
        }
    }

    #[test]
    fn a_head_is_awaited_until_it_is_complete() {
        let framing = Framing::new();
        assert!(framing.awaits_head(), "the first one, from the start");
        for bytes in [GET, SIZED, CHUNKED] {
            let (begin, end) = bytes.split_at(10);
            assert!(!framing.hear(begin.as_bytes()));
            assert!(framing.awaits_head());
            let (amid_body, end) = end.split_at(end.len() - 2);
            framing.hear(amid_body.as_bytes());
            assert_eq!(framing.awaits_head(), bytes == GET);
            framing.hear(end.as_bytes());
            assert!(!framing.awaits_head(), "none between requests");
        }
    }

    #[test]
    fn what_makes_no_sense_is_not_plain() {
        for noise in ["\0\0\0\r\n\r\n", "PUT / HTTP/1.1\r\nContent-Length: x\r\n\r\n"] {
            let framing = Framing::new();
            framing.hear(format!("{noise}{CHUNKED}").as_bytes());
            framing.head_arrived();
            assert!(!framing.is_plainly_chunked());
            framing.head_arrived();
            assert!(!framing.is_plainly_chunked());
        }
    }
}
