use clap::Args;
use objstore_client::Request;
use objstore_client::types::{ObjectId, ObjectKey};
use objstore_client::wire::{headers, routes};

use super::output::{failed, printable};
use crate::failure::{Failure, complain};

#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// The objects
    #[arg(value_name = "ID", required_unless_present = "key")]
    ids: Vec<ObjectId>,
    /// An object by its key in the bucket, which is deleted there; repeatable
    #[arg(long, value_name = "KEY", value_parser = ObjectKey::new)]
    key: Vec<ObjectKey>,
    /// Remove them from the bucket, too
    #[arg(long)]
    purge: bool,
    #[command(flatten)]
    at: super::At,
}

impl Rm {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let node = self.at.connect()?;
        let mut all_deleted = true;
        let by_id = self.ids.iter().map(|id| {
            let request = Request::new("POST", format!("{}{id}", routes::DELETE));
            let purge = if self.purge { request.header(headers::PURGE, "1") } else { request };
            (id.to_string(), purge)
        });
        let by_key = self
            .key
            .iter()
            .map(|key| (printable(key.as_str()), Request::new("DELETE", routes::key(key))));
        for (what, request) in by_id.chain(by_key) {
            if let Err(e) = node.send(request).await {
                complain(&failed(&node, &what, &e));
                all_deleted = false;
            }
        }
        if all_deleted { Ok(()) } else { Err(Failure::Reported) }
    }
}
