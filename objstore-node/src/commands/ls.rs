use std::sync::Arc;

use clap::Args;
use objstore_client::Client;
use objstore_client::options::{KeyListOptions, ListOptions};
use objstore_client::types::{KeyEntry, ObjectId, ObjectMeta};

use super::output::{failed, json, print, printable, rfc3339};
use crate::failure::Failure;

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
    /// A JSON object a line
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
            let mut options = ListOptions::default();
            options.limit = left.min(ListOptions::MAX_LIMIT);
            (options.after, options.include_deleted) = (after, self.deleted);
            let full = options.limit;
            let page = node.list(options).await;
            let page = page.map_err(|e| Failure::Other(failed("ls", &e)))?;
            let line = |meta: &Arc<ObjectMeta>| {
                if self.json { json(meta.as_ref()) } else { row(meta) + "\n" }
            };
            print(&page.iter().map(line).collect::<String>())?;
            left -= page.len().min(left);
            match page.last() {
                Some(last) if page.len() == full => after = Some(last.id),
                _ => break,
            }
        }
        Ok(())
    }

    async fn keys(&self, node: &Client) -> Result<(), Failure> {
        let (mut after, mut left) = (None, self.limit);
        while left > 0 {
            let mut options = KeyListOptions::default();
            options.limit = left.min(KeyListOptions::MAX_LIMIT);
            options.prefix = self.prefix.clone().unwrap_or_default();
            options.after = after;
            let page = node.list_keys(options).await;
            let page = page.map_err(|e| Failure::Other(failed("ls", &e)))?;
            let line = |key: &KeyEntry| if self.json { json(key) } else { key_row(key) + "\n" };
            print(&page.entries.iter().map(line).collect::<String>())?;
            left -= page.entries.len().min(left);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }
}

fn key_row(key: &KeyEntry) -> String {
    format!("{:>14}  {}  {}", key.size, rfc3339(key.timestamp), printable(&key.key))
}

fn row(meta: &ObjectMeta) -> String {
    let size = if meta.is_deleted { "deleted".to_owned() } else { meta.size.to_string() };
    let time = rfc3339(meta.timestamp);
    let row = format!("{}  {size:>14}  {}  {time}  {}", meta.id, meta.consistency, meta.name);
    row.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

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
