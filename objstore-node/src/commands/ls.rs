use bytes::{Bytes, BytesMut};
use clap::Args;
use objstore_client::options::{KeyListOptions, ListOptions};
use objstore_client::types::{KeyEntry, ObjectId, ObjectMeta};
use objstore_client::wire::routes;
use objstore_client::{Body, Error, ErrorKind, Request, Transport};

use super::output::{failed, print, printable, rfc3339};
use crate::failure::Failure;

/// Longer than any line can be: name, user metadata at its longest, everything escaped.
const LINE_MAX: usize = 1024 * 1024;

/// Longer than any line of a key can be: its 1,024 bytes escaped, and the rest.
const KEY_LINE_MAX: usize = 16 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Print so many objects at most
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    limit: usize,
    /// Only objects with ids above this one
    #[arg(long, value_name = "ID", conflicts_with = "keys")]
    after: Option<ObjectId>,
    /// Deleted objects, too
    #[arg(long, conflicts_with = "keys")]
    deleted: bool,
    /// The keys of the bucket instead
    #[arg(long)]
    keys: bool,
    /// Only keys that begin so
    #[arg(long, value_name = "TEXT", requires = "keys")]
    prefix: Option<String>,
    /// A JSON object a line, as the node sends them
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: super::At,
}

impl Ls {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let node = self.at.connect()?;
        if self.keys {
            return self.keys(&node).await;
        }
        let (mut after, mut left) = (self.after, self.limit);
        while left > 0 {
            let page = left.min(ListOptions::MAX_LIMIT);
            let request = Request::new("GET", self.query(after, page));
            let listed = match node.send(request).await {
                Ok(answer) => self.page(answer.into_body(), &mut after).await?,
                Err(e) => Err(e),
            };
            let listed = listed.map_err(|e| Failure::Other(failed(&node, "ls", &e)))?;
            if listed < page {
                break;
            }
            left -= listed.min(left);
        }
        Ok(())
    }

    async fn keys(&self, node: &Transport) -> Result<(), Failure> {
        let prefix = routes::encode(self.prefix.as_deref().unwrap_or_default());
        let (mut after, mut left) = (None::<String>, self.limit);
        while left > 0 {
            let limit = left.min(KeyListOptions::MAX_LIMIT);
            let after_part = after.take().map(|key| format!("&after={}", routes::encode(&key)));
            let after_part = after_part.unwrap_or_default();
            let query = format!("{}?limit={limit}&prefix={prefix}{after_part}", routes::KEYS);
            let answer = match node.send(Request::new("GET", query)).await {
                Ok(answer) => answer.bytes(limit * KEY_LINE_MAX).await,
                Err(e) => Err(e),
            };
            let answer = answer.map_err(|e| Failure::Other(failed(node, "ls", &e)))?;
            let mut text = String::new();
            for line in answer.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
                let line: serde_json::Value = match serde_json::from_slice(line) {
                    Ok(line) => line,
                    Err(e) => return Err(Failure::Other(failed(node, "ls", &garbled(e)))),
                };
                if let Some(next) = line.get("next").and_then(serde_json::Value::as_str) {
                    after = Some(next.to_owned());
                    continue;
                }
                left = left.saturating_sub(1);
                text.push_str(&if self.json { line.to_string() } else { key_row(line) });
                text.push('\n');
            }
            print(&text)?;
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn query(&self, after: Option<ObjectId>, limit: usize) -> String {
        let after = after.map(|id| format!("&after={id}")).unwrap_or_default();
        let deleted = if self.deleted { "&deleted=1" } else { "" };
        format!("{}?limit={limit}{after}{deleted}", routes::LIST)
    }

    /// Prints a page as it arrives. The outer error is about printing, the inner one about the
    /// node.
    async fn page(
        &self,
        body: Body,
        last: &mut Option<ObjectId>,
    ) -> Result<Result<usize, Error>, Failure> {
        let mut lines = Lines { body, rest: BytesMut::new() };
        let mut listed = 0;
        loop {
            let batch = match lines.next().await {
                Ok(Some(batch)) => batch,
                Ok(None) => return Ok(Ok(listed)),
                Err(e) => return Ok(Err(e)),
            };
            let mut text = String::new();
            for line in batch.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
                let meta: ObjectMeta = match serde_json::from_slice(line) {
                    Ok(meta) => meta,
                    Err(e) => return Ok(Err(garbled(e))),
                };
                *last = Some(meta.id);
                listed += 1;
                if self.json {
                    text.push_str(&String::from_utf8_lossy(line));
                } else {
                    text.push_str(&row(&meta));
                }
                text.push('\n');
            }
            print(&text)?;
        }
    }
}

fn key_row(line: serde_json::Value) -> String {
    match serde_json::from_value::<KeyEntry>(line) {
        Ok(key) => format!("{:>14}  {}  {}", key.size, rfc3339(key.timestamp), printable(&key.key)),
        // Of a later release.
        Err(_) => String::new(),
    }
}

fn row(meta: &ObjectMeta) -> String {
    let size = if meta.is_deleted { "deleted".to_owned() } else { meta.size.to_string() };
    let time = rfc3339(meta.timestamp);
    let row = format!("{}  {size:>14}  {}  {time}  {}", meta.id, meta.consistency, meta.name);
    row.trim_end().to_owned()
}

fn garbled(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Transport, "the answer is not a list of objects").with_source(source)
}

/// Whole lines out of chunks that end anywhere.
struct Lines {
    body: Body,
    rest: BytesMut,
}

impl Lines {
    /// One line or more, complete; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(chunk) = self.body.chunk().await {
            self.rest.extend_from_slice(&chunk?);
            if let Some(end) = self.rest.iter().rposition(|b| *b == b'\n') {
                return Ok(Some(self.rest.split_to(end + 1).freeze()));
            }
            if self.rest.len() > LINE_MAX {
                return Err(garbled("a line does not end"));
            }
        }
        Ok((!self.rest.is_empty()).then(|| self.rest.split().freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_whole_however_the_chunks_fall() {
        let text = b"first\nsecond\n\nthird";
        for size in 1..=text.len() {
            let chunks: Vec<_> = text.chunks(size).map(|c| Ok(Bytes::from_static(c))).collect();
            let body = Body::from_stream(futures_util::stream::iter(chunks), None);
            let mut lines = Lines { body, rest: BytesMut::new() };
            let mut all = Vec::new();
            while let Some(batch) = lines.next().await.unwrap() {
                assert!(batch.ends_with(b"\n") || batch.ends_with(b"third"), "{batch:?}");
                all.extend_from_slice(&batch);
            }
            assert_eq!(all, text);
        }
    }

    #[test]
    fn columns_line_up() {
        let id: ObjectId = "01BRNMMS1DK3CBD4ZZM2TQ8C5B".parse().unwrap();
        let mut meta = ObjectMeta::new(id, 1_504_139_495_000_000_000);
        assert_eq!(row(&meta), format!("{id}               0  0  2017-08-31T00:31:35Z"));
        meta.is_deleted = true;
        meta.name = objstore_client::types::ObjectName::new("a b").unwrap();
        assert_eq!(row(&meta), format!("{id}         deleted  0  2017-08-31T00:31:35Z  a b"));
    }
}
