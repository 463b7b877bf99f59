use std::fmt;
use std::str::FromStr;

use http::uri::Authority;
use reqwest::Url;

use crate::error::{Error, ErrorKind};

/// Where a node serves its public API unless told otherwise.
const DEFAULT_PORT: u16 = 10999;

/// The address of a node's public API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint(Url);

impl Endpoint {
    /// Whether it is to be reached over TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The target of a request for this path and query.
    pub(crate) fn url(&self, path: &str) -> Result<Url, Error> {
        let mut url = self.0.clone();
        let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
        url.set_path(path);
        url.set_query(query);
        // Segments of dots mean something else in an URL (RFC 3986 §5.2.4).
        if url.path() == path {
            Ok(url)
        } else {
            Err(Error::new(
                ErrorKind::InvalidRequest,
                "a key whose parts between slashes are \".\" or \"..\" has no address; give it another",
            ))
        }
    }
}

/// As an URL without a path.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// `host`, `host:port`, or an `http://` or `https://` URL without a path; the port is 10999 unless
/// given.
impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(address: &str) -> Result<Self, Error> {
        let refuse = |why: String| Error::new(ErrorKind::Configuration, why);
        let (scheme, authority) = match address.split_once("://") {
            Some((scheme, authority)) if scheme.eq_ignore_ascii_case("http") => ("http", authority),
            Some((scheme, authority)) if scheme.eq_ignore_ascii_case("https") => {
                ("https", authority)
            }
            _ => ("http", address),
        };
        let authority = authority.trim_end_matches('/');
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
        let url = format!("{scheme}://{parsed}");
        Url::parse(&url)
            .map(Self)
            .map_err(|e| refuse(format!("{address:?} is not a host:port address: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (address, shown) in [
            ("localhost", "http://localhost:10999"),
            ("localhost:80", "http://localhost"),
            ("http://127.0.0.1:1/", "http://127.0.0.1:1"),
            ("[::1]", "http://[::1]:10999"),
            ("[::1]:7", "http://[::1]:7"),
            ("https://a", "https://a:10999"),
            ("https://a:443/", "https://a"),
            ("HTTPS://a:443/", "https://a"),
        ] {
            assert_eq!(address.parse::<Endpoint>().unwrap().to_string(), shown);
        }
        for address in ["", ":80", "a b", "a/b", "http://", "me@host", "host:70000", "ftp://a"] {
            let error = address.parse::<Endpoint>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{address}");
        }
    }
}
