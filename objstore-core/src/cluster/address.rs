//! Where nodes are reached.

use std::net::{IpAddr, SocketAddr};

use objstore_client::Error;
use objstore_client::wire::private::PORT;

use crate::env::Network;
use crate::settings::ClusterSettings;
use crate::state_dir::configuration;

/// A place beyond this machine to which nothing is ever sent (RFC 5737): the way there is the way
/// to other machines.
const ELSEWHERE: &str = "192.0.2.1:9";

/// With a port, where there is none.
pub(super) fn with_port(host: &str, port: u16) -> String {
    if host.parse::<std::net::Ipv6Addr>().is_ok() {
        return format!("[{host}]:{port}");
    }
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port && !host.ends_with(']') { host.to_owned() } else { format!("{host}:{port}") }
}

/// The nodes that the settings name.
pub(super) fn seeds(settings: &ClusterSettings) -> Vec<String> {
    let nodes = settings.nodes.iter().map(|node| node.trim()).filter(|node| !node.is_empty());
    nodes.map(|node| with_port(node, PORT)).collect()
}

/// What others are told of where this node is reached.
///
/// # Errors
/// There is no telling.
pub(super) async fn advertised(
    network: &dyn Network,
    bound: SocketAddr,
    settings: &ClusterSettings,
) -> Result<String, Error> {
    if let Some(given) = &settings.advertise_addr {
        let addr = with_port(given.trim(), bound.port());
        let host = addr.rsplit_once(':').map_or("", |(host, _)| host);
        let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
        if host.is_empty() || ip.is_ok_and(|ip| ip.is_unspecified()) {
            return Err(configuration(format!(
                "{given:?} is no address at which others reach this node; give --advertise-addr as HOST:PORT"
            )));
        }
        return Ok(addr);
    }
    if !bound.ip().is_unspecified() {
        return Ok(bound.to_string());
    }
    // Others come from where the seeds are, or from wherever packets go by default.
    let mut loopback = None;
    for to in seeds(settings).iter().map(String::as_str).chain([ELSEWHERE]) {
        match network.source(to).await {
            Ok(ip) if ip.is_loopback() => loopback = Some(ip),
            Ok(ip) => return Ok(SocketAddr::new(ip, bound.port()).to_string()),
            Err(_) => {}
        }
    }
    match loopback {
        Some(ip) => Ok(SocketAddr::new(ip, bound.port()).to_string()),
        None => Err(configuration(format!(
            "{bound} is every address of this machine, and which of them others reach cannot be told; name it with --advertise-addr"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_added_where_there_is_none() {
        for (given, expected) in [
            ("localhost", "localhost:11999"),
            ("localhost:7", "localhost:7"),
            ("10.0.0.1", "10.0.0.1:11999"),
            ("::1", "[::1]:11999"),
            ("[::1]", "[::1]:11999"),
            ("[::1]:7", "[::1]:7"),
        ] {
            assert_eq!(with_port(given, PORT), expected);
        }
    }
}
