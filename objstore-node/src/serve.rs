use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use objstore_core::{Node, Server};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tracing::{debug, info, warn};

use crate::config::Settings;
use crate::failure::{Failure, describe};
use crate::logging::{self, LogFormat};
use crate::metrics;
use crate::signals::Signals;

/// How long running requests may take to finish once the listener is closed.
const GRACE: Duration = Duration::from_secs(30);

/// What `/api/v1/version` answers: the version, and the commit where the build knew it.
const VERSION: &str = concat!("objstore ", env!("OBJSTORE_VERSION"));

/// Serves a node until it is told to stop.
pub(crate) fn run(settings: Settings) -> Result<(), Failure> {
    logging::start(settings.log_format, settings.debug);
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::Other(format!("cannot start: {e}")))?;
    let served = runtime.block_on(async {
        // First of all, so that no signal finds the default action, which ends the process
        // wherever it is.
        let mut signals = Signals::new()?;
        let started = tokio::select! {
            started = start(&settings) => started,
            // Nothing has been served yet, so there is nothing to finish.
            () = signals.next() => return Ok(()),
        };
        let (node, server) = started?;
        let refused = tokio::select! {
            () = signals.next() => None,
            refused = node.refused() => Some(refused),
        };
        if let Some(refused) = refused {
            node.shutdown().await?;
            return Err(refused.into());
        }
        tokio::select! {
            stopped = stop(node, server, &settings) => stopped,
            () = signals.next() => {
                Err(Failure::Other("a second signal: ended with requests unfinished".to_owned()))
            }
        }
    });
    // What still runs now has had its grace; a stuck disk must not hold the process back.
    runtime.shutdown_background();
    served
}

/// From settings to a node that serves and has said so.
async fn start(settings: &Settings) -> Result<(Node, Server), Failure> {
    // The address comes first: when it is taken, nothing has been created or locked yet.
    let listener = TcpListener::bind(&settings.public_addr).await.map_err(|e| {
        Failure::Usage(format!(
            "cannot listen on {}: {e}; choose another with --public-addr",
            settings.public_addr
        ))
    })?;
    let recorder =
        metrics::install().map_err(|e| Failure::Other(format!("cannot record metrics: {e}")))?;
    tokio::spawn(metrics::upkeep(recorder.clone()));
    let mut node = settings.node.clone();
    node.cluster.public_addr = listener.local_addr().ok().map(|addr| addr.to_string());
    let mut builder = Node::builder().settings(node);
    if settings.new_node_id {
        builder = builder.new_node_id();
    }
    if settings.lost_files {
        builder = builder.lost_files();
    }
    let node = builder.start().await?;
    let service = node.public_service().with_metrics(metrics::page(recorder)).with_version(VERSION);
    let server = Server::start(listener, service)?;
    announce(settings, &node, &server);
    Ok((node, server))
}

/// First `/readyz` turns, so that load balancers look
/// elsewhere, then the listener goes, then the node.
async fn stop(node: Node, server: Server, settings: &Settings) -> Result<(), Failure> {
    let delay = settings.shutdown_delay;
    info!("stopping; a second signal ends at once");
    node.drain();
    if !delay.is_zero() {
        info!("serving for another {delay:?}, with /readyz at 503");
        tokio::time::sleep(delay).await;
    }
    server.stop(GRACE).await;
    let drained = if settings.drain { hand_over(&node).await } else { Ok(()) };
    node.shutdown().await.map_err(|e| Failure::Other(describe(&e)))?;
    info!("stopped");
    drained
}

/// Hands what the bucket does not have to the other nodes, and says what remains.
async fn hand_over(node: &Node) -> Result<(), Failure> {
    let drained = node.drain_to_peers().await.map_err(|e| Failure::Other(describe(&e)))?;
    info!("bodies handed over to other nodes: {}", drained.handed_over);
    if drained.remaining == 0 {
        return Ok(());
    }
    let first: Vec<_> = drained.first_remaining.iter().map(ToString::to_string).collect();
    let more = if drained.remaining > first.len() as u64 { " …" } else { "" };
    Err(Failure::Other(format!(
        "bodies that no other node could take, or be asked whether it has: {} ({}{more}); keep the directories of this one, or start it again",
        drained.remaining,
        first.join(" ")
    )))
}

/// Says where it stores, where it listens, and what to type next.
fn announce(settings: &Settings, node: &Node, server: &Server) {
    let address = server.local_addr();
    let scheme = if server.is_tls() { "https" } else { "http" };
    let has_tokens = settings.node.http.token_file.is_some();
    let state = absolute(&settings.node.state_dir);
    let files = absolute(&settings.node.files_dir);
    let remote = match (&settings.node.s3, settings.node.remote_dir.as_deref()) {
        (Some(_), _) => node.stats().remote.identity,
        (None, Some(dir)) => absolute(dir).display().to_string(),
        (None, None) => state.join("remote").display().to_string(),
    };
    let (state, files) = (state.display(), files.display());
    let id = node.id();
    match settings.log_format {
        LogFormat::Text => {
            info!("node ID: {id}");
            info!("storing in: state {state}, files {files}, remote {remote}");
            info!("listening on: {scheme}://{address}");
            if let Some(at) = node.debug_addr() {
                info!("private API for operators: http://{at}/private/v1/nodes");
            }
            let token = if has_tokens { " -H 'Authorization: Bearer TOKEN'" } else { "" };
            info!("try: curl{token} {scheme}://{}/api/v1/id", reachable(address));
        }
        LogFormat::Json => {
            info!(node_id = %id, state_dir = %state, files_dir = %files, remote = %remote,
                public_addr = %address, "listening");
        }
    }
    if !address.ip().is_loopback() && !has_tokens {
        warn!(
            "{address} is open to everyone who can reach it; --token-file has requests need a token"
        );
    }
    announce_cluster(settings, node);
}

/// Says where other nodes find this one, and where it looks for them.
fn announce_cluster(settings: &Settings, node: &Node) {
    let Some(private) = node.private_addr() else { return };
    let seeds = settings.node.cluster.nodes.join(" ");
    match settings.log_format {
        LogFormat::Text => info!("other nodes reach it at: {private}"),
        LogFormat::Json => info!(private_addr = %private, "other nodes reach it here"),
    }
    if !seeds.is_empty() {
        info!("joining to cluster [{seeds}]");
    } else if node.peers().is_empty() {
        warn!("no additional cluster nodes specified, current node starts solo");
    }
}

/// The address to type on this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn absolute(path: &Path) -> PathBuf {
    // The directory exists by now; where it cannot be resolved, its own name has to do.
    std::fs::canonicalize(path)
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_owned())
}

/// Asks for as many open files as the system allows: connections and bodies both take some, and
/// the usual 1024 is meant for programs that use `select`.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(e) =
            setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        debug!("cannot raise the limit of open files: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_type_next_is_an_address_one_can_reach() {
        for (bound, typed) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("10.0.0.1:80", "10.0.0.1:80"),
        ] {
            assert_eq!(reachable(bound.parse().unwrap()).to_string(), typed);
        }
    }
}
