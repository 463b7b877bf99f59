use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::transport::{Answer, strange};

/// Longer than any line can be: name, user metadata at its longest, everything escaped.
const LINE_MAX: usize = 1024 * 1024;

/// Its type.
const LINES: &[u8] = b"application/x-ndjson";

/// An answer of one JSON value for each line, as it comes.
pub(super) struct Lines {
    answer: Answer,
    rest: BytesMut,
}

impl Lines {
    pub(super) fn of(answer: Answer) -> Result<Self, Error> {
        let kind = answer.head.headers.get(CONTENT_TYPE);
        // An empty body is an empty page, but not of everybody.
        if kind.is_none_or(|kind| kind.as_bytes() != LINES) {
            return Err(strange("the answer is no list; is it a node's?"));
        }
        Ok(Self { answer, rest: BytesMut::new() })
    }

    /// What the next line says; none at the end.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        let garbled = |e| strange("the answer is not the list that was asked for").with_source(e);
        let Some(line) = self.line().await? else { return Ok(None) };
        serde_json::from_slice(&line).map(Some).map_err(garbled)
    }

    async fn line(&mut self) -> Result<Option<Bytes>, Error> {
        // How much is known to have no end of a line.
        let mut searched = 0;
        loop {
            let unsearched = self.rest.get(searched..).unwrap_or_default();
            match unsearched.iter().position(|b| *b == b'\n') {
                Some(0) if searched == 0 => {
                    let _ = self.rest.split_to(1);
                }
                Some(end) => return Ok(Some(self.rest.split_to(searched + end + 1).freeze())),
                None if self.rest.len() > LINE_MAX => return Err(strange("a line does not end")),
                None => {
                    searched = self.rest.len();
                    match self.answer.chunk().await? {
                        Some(chunk) => self.rest.extend_from_slice(&chunk),
                        None if self.rest.is_empty() => return Ok(None),
                        None => return Ok(Some(self.rest.split().freeze())),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn lines_are_whole_however_the_chunks_fall() {
        let text = b"\"first\"\n\"second\"\n\n\"third\"";
        for size in 1..=text.len() {
            let chunks: Vec<_> = text.chunks(size).map(Ok::<_, Error>).collect();
            let body = reqwest::Body::wrap_stream(stream::iter(chunks));
            let mut response = http::Response::new(body);
            response
                .headers_mut()
                .insert(CONTENT_TYPE, http::HeaderValue::from_bytes(LINES).unwrap());
            let answer = Answer::read(response, Duration::from_secs(60), true).await.unwrap();
            let mut lines = Lines::of(answer).unwrap();
            let mut all: Vec<String> = Vec::new();
            while let Some(line) = lines.next().await.unwrap() {
                all.push(line);
            }
            assert_eq!(all, ["first", "second", "third"]);
        }
    }
}
