use std::sync::Arc;

use clap::Args;
use indicatif::HumanBytes;
use objstore_client::types::{Level, ObjectId, ObjectMeta};

use super::output::{failed, json, print, printable, rfc3339};
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct Stat {
    /// The object
    #[arg(value_name = "ID")]
    id: ObjectId,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: super::At,
}

impl Stat {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let node = self.at.connect()?;
        let meta = match node.head(self.id).await {
            Ok(meta) => meta,
            // Of a deleted object there is something to show.
            Err(e) => match e.meta() {
                Some(meta) => Arc::clone(meta),
                None => return Err(Failure::Other(failed(&self.id.to_string(), &e))),
            },
        };
        if self.json {
            return print(&json(meta.as_ref()));
        }
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
