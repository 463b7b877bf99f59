use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::{HumanCount, HumanDuration};
use objstore_client::types::{ObjectId, UploadStats};
use objstore_client::{Client, Error};

use super::output::{failed, json, print, printable};
use crate::failure::Failure;

#[derive(Debug, Args)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Uploads {
    #[command(subcommand)]
    step: Option<Step>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: super::At,
}

#[derive(Debug, Subcommand)]
enum Step {
    /// Try to store an object in the bucket now, also one that it refused
    Retry {
        /// The object
        #[arg(value_name = "ID")]
        id: ObjectId,
    },
    /// Give up storing an object in the bucket; it stays on the node
    Drop {
        /// The object
        #[arg(value_name = "ID")]
        id: ObjectId,
    },
}

impl Uploads {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let node = self.at.connect()?;
        match self.step {
            None => self.show(&node).await,
            Some(Step::Retry { id }) => done(id, node.retry_upload(id).await),
            Some(Step::Drop { id }) => done(id, node.drop_upload(id).await),
        }
    }

    async fn show(&self, node: &Client) -> Result<(), Failure> {
        let uploads = node.uploads().await.map_err(|e| Failure::Other(failed("uploads", &e)))?;
        print(&if self.json { json(&uploads) } else { lines(&uploads) })
    }
}

fn done(id: ObjectId, done: Result<(), Error>) -> Result<(), Failure> {
    done.map_err(|e| Failure::Other(failed(&id.to_string(), &e)))
}

fn lines(uploads: &UploadStats) -> String {
    let mut out = format!(
        "waiting {}, failing {}, refused {}, running {}, undecided {}",
        HumanCount(uploads.queued),
        HumanCount(uploads.failing),
        HumanCount(uploads.refused),
        HumanCount(uploads.running),
        HumanCount(uploads.undecided),
    );
    if uploads.queued > 0 {
        let oldest = HumanDuration(Duration::from_secs(uploads.oldest_seconds));
        out.push_str(&format!(", the oldest for {oldest}"));
    }
    out.push('\n');
    let shown = uploads.failures.len() as u64;
    for failure in &uploads.failures {
        let state = if failure.refused { "refused" } else { "failing" };
        let tries = HumanCount(failure.tries.into()).to_string();
        out.push_str(&format!(
            "{}  {state}  tries {tries}  {}\n",
            failure.id,
            printable(&failure.error)
        ));
    }
    let more = uploads.failing.saturating_sub(shown);
    if more > 0 {
        out.push_str(&format!("and {} more\n", HumanCount(more)));
    }
    out
}

#[cfg(test)]
mod tests {
    use objstore_client::types::UploadFailure;

    use super::*;

    #[test]
    fn what_fails_is_a_line_with_its_error() {
        let mut uploads = UploadStats::default();
        let nothing = "waiting 0, failing 0, refused 0, running 0, undecided 0";
        assert_eq!(lines(&uploads), format!("{nothing}\n"));

        let id: ObjectId = "01BRNMMS1DK3CBD4ZZM2TQ8C5B".parse().unwrap();
        let mut failure = UploadFailure::new(id);
        (failure.tries, failure.refused) = (3, true);
        failure.error = "no\nsuch bucket".to_owned();
        (uploads.queued, uploads.refused, uploads.oldest_seconds) = (2, 1, 60);
        uploads.failures.push(failure);
        assert_eq!(
            lines(&uploads),
            format!(
                "waiting 2, failing 0, refused 1, running 0, undecided 0, the oldest for 60 seconds\n\
                 {id}  refused  tries 3  no\\nsuch bucket\n"
            )
        );
    }
}
