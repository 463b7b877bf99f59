//! Connections over TLS.

use std::time::Duration;

#[cfg(feature = "tls")]
use super::{IDLE_MAX, KEEPALIVE, KEEPALIVE_PROBES, UNACKNOWLEDGED_MAX};
use crate::error::{Error, ErrorKind};

/// A client that waits for a connection for so long, and believes these authorities, each some PEM,
/// or where there are none those of the system.
///
/// What is tried again is decided elsewhere, so nothing is done behind our back: no redirect is
/// followed, no proxy used, nothing sent twice.
#[cfg(feature = "tls")]
pub(super) fn client(connect: Duration, authorities: &[Vec<u8>]) -> Result<reqwest::Client, Error> {
    let refused = |why| Error::new(ErrorKind::Configuration, why);
    let mut believed = Vec::new();
    for pem in authorities {
        let some = reqwest::Certificate::from_pem_bundle(pem)
            .map_err(|e| refused("the certificates to believe are no PEM").with_source(e))?;
        if some.is_empty() {
            return Err(refused("there is no certificate in what is to be believed; it is PEM"));
        }
        believed.extend(some);
    }
    let mut builder = reqwest::Client::builder();
    if !believed.is_empty() {
        builder = builder.tls_certs_only(believed);
    }
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    {
        builder = builder.tcp_user_timeout(UNACKNOWLEDGED_MAX);
    }
    builder
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .tcp_nodelay(true)
        .tcp_keepalive(KEEPALIVE)
        .tcp_keepalive_interval(KEEPALIVE)
        .tcp_keepalive_retries(KEEPALIVE_PROBES)
        .connect_timeout(connect)
        .pool_idle_timeout(IDLE_MAX)
        .build()
        .map_err(|e| refused("the HTTP client cannot be made").with_source(e))
}

#[cfg(not(feature = "tls"))]
pub(super) fn client(_: Duration, _: &[Vec<u8>]) -> Result<reqwest::Client, Error> {
    Err(Error::new(
        ErrorKind::Configuration,
        "this program was built without TLS; turn the feature tls of objstore-client on",
    ))
}
