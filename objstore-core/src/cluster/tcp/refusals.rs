//! Why nodes do not get together, in words that say what to do.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use objstore_client::{Error, ErrorKind};
use rustls::{AlertDescription, CertificateError, Error as TlsError};
use tokio::time::Instant;

const SAME_KEY: &str = "give both nodes the same --cluster-key-file";

/// A refusal is told this often at most.
const PAUSE: Duration = Duration::from_secs(10);
/// Different refusals told within that time.
const REMEMBERED: usize = 64;

pub(super) fn transport(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Transport, why)
}

/// A call that failed before its answer came.
pub(super) fn explain(
    error: impl StdError + Send + Sync + 'static,
    keyed: bool,
    fresh: bool,
) -> Error {
    let tls = tls_error(&error);
    let kind = match tls {
        Some(error) if has_no_key_of_ours(error) => ErrorKind::Forbidden,
        None if not_http(&error) && !keyed => ErrorKind::Forbidden,
        _ => ErrorKind::Transport,
    };
    let why = match tls {
        Some(error) => tls_refusal(error, "there"),
        None if not_http(&error) && !keyed => {
            format!("what answers there speaks something else; if it has a cluster key, {SAME_KEY}")
        }
        None if fresh && keyed => {
            format!("the connection to the node broke; if it has no cluster key, {SAME_KEY}")
        }
        None if fresh => {
            "the connection to the node broke; without a cluster key a node serves its own machine \
             only: make one with `objstore keygen`, or give --insecure-cluster there"
                .to_owned()
        }
        None => "the connection to the node broke".to_owned(),
    };
    Error::new(kind, why).with_source(error)
}

/// Whether the two nodes have no key in common, and so are not of one cluster.
fn has_no_key_of_ours(error: &TlsError) -> bool {
    matches!(
        error,
        TlsError::InvalidMessage(_)
            | TlsError::InvalidCertificate(CertificateError::UnknownIssuer)
            | TlsError::AlertReceived(AlertDescription::UnknownCA)
    )
}

/// Why a handshake failed, seen from the side that did not like what came from the other.
pub(super) fn tls_refusal(error: &TlsError, at: &str) -> String {
    match error {
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer) => {
            format!("the node {at} has another cluster key; {SAME_KEY}")
        }
        TlsError::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => format!("the certificate of the node {at} is out of its time; are both clocks right?"),
        TlsError::InvalidCertificate(_) => {
            format!("the certificate of the node {at} is not one of a node")
        }
        TlsError::NoCertificatesPresented => {
            format!("whoever calls from {at} shows no certificate; is it a node?")
        }
        TlsError::InvalidMessage(_) => {
            format!("what speaks {at} does not use TLS; if it is a node, {SAME_KEY}")
        }
        TlsError::AlertReceived(AlertDescription::UnknownCA) => {
            format!("the node {at} does not accept this node's cluster key; {SAME_KEY}")
        }
        TlsError::AlertReceived(AlertDescription::CertificateExpired) => {
            format!(
                "the node {at} finds this node's certificate out of its time; are both clocks right?"
            )
        }
        other => format!("no agreement with the node {at} ({other})"),
    }
}

/// What rustls said, anywhere below.
pub(super) fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a TlsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<TlsError>() {
            return Some(found);
        }
        // An io::Error is not the source of what it wraps.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(found) = wrapped.and_then(|inner| inner.downcast_ref::<TlsError>()) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn not_http(error: &(dyn StdError + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
}

/// Log lines about refused connections: each reason is told of each address, and whoever knocks
/// without end does not fill the log.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<BTreeMap<(IpAddr, String), (Instant, u64)>>);

impl Told {
    /// How many of the same were not told since the last line, if there may be one now.
    pub(super) fn may_tell(&self, from: IpAddr, why: &str) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (from, why.to_owned());
        if let Some((last, untold)) = told.get_mut(&key) {
            if last.elapsed() < PAUSE {
                *untold += 1;
                return None;
            }
            *last = Instant::now();
            return Some(std::mem::take(untold));
        }
        told.retain(|_, (last, _)| last.elapsed() < PAUSE);
        if told.len() >= REMEMBERED {
            return None;
        }
        told.insert(key, (Instant::now(), 0));
        Some(0)
    }
}
