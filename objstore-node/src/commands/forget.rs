use clap::Args;

use super::output::failed;
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct Forget {
    /// The node that will not come back, as `objstore stats` shows it
    #[arg(value_name = "NODE_ID", value_parser = node_id)]
    id: String,
    #[command(flatten)]
    at: super::At,
}

/// Only the shape: letters and digits, as many as a ULID has.
fn node_id(text: &str) -> Result<String, String> {
    if text.len() == 26 && text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        Ok(text.to_owned())
    } else {
        Err("not the id of a node, which is a ULID".to_owned())
    }
}

impl Forget {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let node = self.at.connect()?;
        node.forget(&self.id).await.map_err(|e| Failure::Other(failed(&self.id, &e)))
    }
}
