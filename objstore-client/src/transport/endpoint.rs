use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

use crate::error::{Error, ErrorKind};

/// Where a node serves its public API unless told otherwise.
const DEFAULT_PORT: u16 = 10999;

/// The address of a node's public API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    scheme: Scheme,
    authority: Authority,
}

impl Endpoint {
    /// The target of a request for this path.
    pub(crate) fn uri(&self, path: &Bytes) -> Result<Uri, Error> {
        let wrong = |e: http::Error| {
            Error::new(ErrorKind::InvalidRequest, "not a path of a request").with_source(e)
        };
        let path = PathAndQuery::from_maybe_shared(path.clone()).map_err(|e| wrong(e.into()))?;
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .map_err(wrong)
    }
}

/// As an URL without a path.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

/// `host`, `host:port`, or an `http://` URL without a path; the port is 10999 unless given.
impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(address: &str) -> Result<Self, Error> {
        let refuse = |why: String| Error::new(ErrorKind::Configuration, why);
        if address.starts_with("https://") {
            return Err(refuse("https is not there yet; give an http:// address".to_owned()));
        }
        let authority = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
        let port = if has_port { String::new() } else { format!(":{DEFAULT_PORT}") };
        let parsed: Authority = format!("{authority}{port}")
            .parse()
            .map_err(|e| refuse(format!("{address:?} is not a host:port address: {e}")))?;
        if parsed.host().is_empty() || authority.contains('@') || parsed.port_u16().is_none() {
            return Err(refuse(format!("{address:?} is not a host:port address")));
        }
        Ok(Self { scheme: Scheme::HTTP, authority: parsed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (address, shown) in [
            ("localhost", "http://localhost:10999"),
            ("localhost:80", "http://localhost:80"),
            ("http://127.0.0.1:1/", "http://127.0.0.1:1"),
            ("[::1]", "http://[::1]:10999"),
            ("[::1]:7", "http://[::1]:7"),
        ] {
            assert_eq!(address.parse::<Endpoint>().unwrap().to_string(), shown);
        }
        for address in ["", ":80", "a b", "a/b", "http://", "me@host", "host:70000", "https://a"] {
            let error = address.parse::<Endpoint>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{address}");
        }
    }
}
