use clap::Args;
use objstore_client::Error;
use objstore_client::options::DeleteOptions;
use objstore_client::types::{ObjectId, ObjectKey};

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
        let mut report = |what: &str, deleted: Result<(), Error>| {
            if let Err(e) = deleted {
                complain(&failed(what, &e));
                all_deleted = false;
            }
        };
        for id in &self.ids {
            let mut options = DeleteOptions::default();
            options.purge = self.purge;
            report(&id.to_string(), node.delete(*id, options).await.map(drop));
        }
        for key in &self.key {
            let deleted = node.delete_key(key, DeleteOptions::default()).await;
            report(&printable(key.as_str()), deleted);
        }
        if all_deleted { Ok(()) } else { Err(Failure::Reported) }
    }
}
