//! The verbs: each is one file, and all but `keygen` talk to a running node over its public API.

mod forget;
mod get;
mod keygen;
mod ls;
mod output;
mod put;
mod rm;
mod stat;
mod stats;
mod uploads;

use std::ffi::OsString;
use std::path::Path;

use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};
use objstore_client::Client;

use crate::failure::Failure;

/// What to do on a running node.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Store files, or what a pipe brings; prints their ids
    Put(put::Put),
    /// Read an object
    Get(get::Get),
    /// Delete objects
    Rm(rm::Rm),
    /// List objects
    Ls(ls::Ls),
    /// Show what is known about an object
    Stat(stat::Stat),
    /// Show what the node says about itself
    Stats(stats::Stats),
    /// Give up a node of the cluster that will not come back
    Forget(forget::Forget),
    /// Show what waits for the bucket, try it again, or give it up
    Uploads(uploads::Uploads),
    /// Make a key for the nodes of a cluster to share
    Keygen(keygen::Keygen),
}

/// The node to talk to.
#[derive(Debug, Args)]
struct At {
    /// Public address of the node; of several, with commas, the first that answers
    #[arg(
        long,
        env = "OBJSTORE_NODE",
        hide_env_values = true,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:10999",
        global = true
    )]
    node: Vec<String>,
    /// Token to show, where the node asks for one; better in the variable, where others do not see it
    #[arg(
        long,
        env = "OBJSTORE_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        global = true
    )]
    token: Option<String>,
    /// Certificates (PEM) to believe https:// nodes by, instead of the system's
    #[arg(long, env = "OBJSTORE_CA", hide_env_values = true, value_name = "FILE", global = true)]
    ca: Option<OsString>,
}

impl At {
    fn connect(&self) -> Result<Client, Failure> {
        // A variable that is set to nothing is how many tools leave one out.
        let mut nodes: Vec<_> = self.node.iter().filter(|node| !node.is_empty()).collect();
        let default = "127.0.0.1:10999".to_owned();
        if nodes.is_empty() {
            nodes.push(&default);
        }
        let mut builder = Client::builder().nodes(nodes);
        if let Some(token) = self.token.as_ref().filter(|token| !token.is_empty()) {
            builder = builder.token(token);
        }
        if let Some(path) = self.ca.as_ref().filter(|path| !path.is_empty()) {
            let path = Path::new(path);
            let pem = std::fs::read(path).map_err(|e| {
                Failure::Usage(format!("cannot read the certificates {}: {e}", path.display()))
            })?;
            builder = builder.root_certificates(pem);
        }
        Ok(builder.build()?)
    }
}

/// The command line with the verbs.
pub(crate) fn add_to(command: Command) -> Command {
    Verb::augment_subcommands(command).subcommand_required(false)
}

/// The verb that was given, if one was.
pub(crate) fn chosen(matches: &ArgMatches) -> Result<Option<Verb>, Failure> {
    if matches.subcommand_name().is_none() {
        return Ok(None);
    }
    Verb::from_arg_matches(matches).map(Some).map_err(|e| Failure::Usage(e.to_string()))
}

/// Carries a verb out.
pub(crate) fn run(verb: Verb) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::Other(format!("cannot start: {e}")))?;
    let done = runtime.block_on(async {
        match verb {
            Verb::Put(put) => put.run().await,
            Verb::Get(get) => get.run().await,
            Verb::Rm(rm) => rm.run().await,
            Verb::Ls(ls) => ls.run().await,
            Verb::Stat(stat) => stat.run().await,
            Verb::Stats(stats) => stats.run().await,
            Verb::Forget(forget) => forget.run().await,
            Verb::Uploads(uploads) => uploads.run().await,
            Verb::Keygen(keygen) => keygen.run(),
        }
    });
    // A read of standard input cannot be cancelled; dropping the runtime would wait for it.
    runtime.shutdown_background();
    done
}
