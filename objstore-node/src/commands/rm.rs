use clap::Args;
use objstore_client::Request;
use objstore_client::types::ObjectId;
use objstore_client::wire::routes;

use super::output::failed;
use crate::failure::{Failure, complain};

#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// The objects
    #[arg(value_name = "ID", required = true)]
    ids: Vec<ObjectId>,
    #[command(flatten)]
    at: super::At,
}

impl Rm {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let node = self.at.connect()?;
        let mut all_deleted = true;
        for id in self.ids {
            let request = Request::new("POST", format!("{}{id}", routes::DELETE));
            if let Err(e) = node.send(request).await {
                complain(&failed(&node, &id.to_string(), &e));
                all_deleted = false;
            }
        }
        if all_deleted { Ok(()) } else { Err(Failure::Reported) }
    }
}
