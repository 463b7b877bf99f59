use clap::Args;
use indicatif::HumanBytes;
use objstore_client::Request;
use objstore_client::types::{Level, ObjectId, ObjectMeta};
use objstore_client::wire::routes;

use super::output::{failed, print, printable, rfc3339};
use crate::failure::Failure;

/// Longer than the metadata of any object.
const ANSWER_MAX: usize = 1024 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Stat {
    /// The object
    #[arg(value_name = "ID")]
    id: ObjectId,
    /// The JSON that the node sends
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: super::At,
}

impl Stat {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let node = self.at.connect()?;
        let what = self.id.to_string();
        let request = Request::new("GET", format!("{}{what}", routes::META));
        let answer = match node.send(request).await {
            Ok(answer) => answer.bytes(ANSWER_MAX).await,
            Err(e) => Err(e),
        };
        let answer = answer.map_err(|e| Failure::Other(failed(&node, &what, &e)))?;
        if self.json {
            return print(&format!("{}\n", String::from_utf8_lossy(&answer).trim_end()));
        }
        let meta: ObjectMeta = serde_json::from_slice(&answer)
            .map_err(|e| Failure::Other(format!("{what}: the answer is no metadata: {e}")))?;
        print(&lines(&meta))
    }
}

fn lines(meta: &ObjectMeta) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            out.push_str(&format!("{name:<14}{}\n", printable(value)));
        }
    };
    line("id", &meta.id.to_string());
    line("name", meta.name.as_str());
    if meta.is_deleted {
        line("deleted", &rfc3339(meta.timestamp));
        return out;
    }
    line(
        "size",
        &match meta.size {
            size @ 0..1024 => format!("{size} bytes"),
            size => format!("{size} bytes ({})", HumanBytes(size)),
        },
    );
    line("stored", &rfc3339(meta.timestamp));
    line(
        "level",
        match meta.consistency {
            Level::Local => "0 (this node)",
            Level::Remote => "1 (this node and the bucket)",
            Level::Full => "2 (every node and the bucket)",
        },
    );
    if meta.is_pending {
        line("bucket", "waits to be stored there; see `objstore uploads`");
    }
    line("content type", meta.content_type.as_deref().unwrap_or_default());
    line("encoding", meta.content_encoding.as_deref().unwrap_or_default());
    line("etag", &meta.etag.as_ref().map(ToString::to_string).unwrap_or_default());
    line("blake3", meta.blake3.as_deref().unwrap_or_default());
    for (name, value) in meta.user_meta.iter() {
        line("meta", &format!("{name}={value}"));
    }
    out
}
