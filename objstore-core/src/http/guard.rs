//! Refusals that need no look at an object: framing, bounds of the head, who asks.

use http::Version;
use http::header::{CONTENT_LENGTH, EXPECT, HOST, ORIGIN, TRANSFER_ENCODING};
use objstore_client::{Error, ErrorKind};

use super::framing::Framing;
use super::intake::Pending;
use super::request::invalid;
use crate::settings::HttpSettings;

/// The longest request target, in bytes.
const TARGET_MAX: usize = 8 * 1024;
/// The most bytes of a head: request line, fields and the empty line.
const HEAD_MAX: usize = 32 * 1024;
const FIELDS_MAX: usize = 100;

/// Checks the head of a request. A doubt about where its body ends closes the connection: what
/// follows could be taken for a request that nobody made (RFC 9112 §11.2).
pub(super) fn check<B>(
    head: &http::request::Parts,
    framing: Option<&Framing>,
    body: &mut Pending<B>,
) -> Result<(), Error> {
    let target = target_len(&head.uri);
    if target > TARGET_MAX {
        body.distrust();
        return Err(Error::new(
            ErrorKind::TargetTooLong,
            "the request target is longer than 8 KiB",
        ));
    }
    let fields = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    let request_line = head.method.as_str().len() + target + "  HTTP/1.1\r\n\r\n".len();
    if head.headers.len() > FIELDS_MAX || request_line + fields.sum::<usize>() > HEAD_MAX {
        body.distrust();
        return Err(Error::new(
            ErrorKind::HeadTooLarge,
            "the head has more than 100 fields or 32 KiB",
        ));
    }
    if let Some(coding) = head.headers.get(TRANSFER_ENCODING) {
        let twice = head.headers.get_all(TRANSFER_ENCODING).iter().count() > 1;
        if twice || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            body.distrust();
            return Err(Error::new(
                ErrorKind::NotImplemented,
                "no transfer coding but chunked is known here",
            ));
        }
        // hyper drops a Content-Length beside it, so the head is looked at as it came.
        let both = head.headers.contains_key(CONTENT_LENGTH)
            || framing.is_some_and(|framing| !framing.is_plainly_chunked());
        if both {
            body.distrust();
            return Err(invalid("both Content-Length and Transfer-Encoding are given"));
        }
    }
    // In process, or behind somebody else's server, there may be none to name.
    check_host(head, framing.is_some()).inspect_err(|_| body.distrust())?;
    if let Some(expect) = head.headers.get(EXPECT)
        && !expect.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        return Err(Error::new(
            ErrorKind::ExpectationFailed,
            "no expectation but 100-continue is known here",
        ));
    }
    Ok(())
}

/// The length of a request target in whichever form it came (RFC 9112 §3.2).
fn target_len(uri: &http::Uri) -> usize {
    let scheme = uri.scheme_str().map_or(0, |scheme| scheme.len() + "://".len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    scheme + authority + uri.path_and_query().map_or(0, |target| target.as_str().len())
}

/// RFC 9112 §3.2: exactly one valid `Host` in a request of HTTP/1.1.
fn check_host(head: &http::request::Parts, needed: bool) -> Result<(), Error> {
    let mut hosts = head.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if !needed || head.version < Version::HTTP_11 || head.uri.host().is_some() => {
            Ok(())
        }
        (None, _) => Err(invalid("a request of HTTP/1.1 needs a Host")),
        (Some(_), Some(_)) => Err(invalid("Host is given twice")),
        (Some(host), None) => {
            if host_name(host.as_bytes()).is_some() {
                Ok(())
            } else {
                Err(invalid("Host is not a host name"))
            }
        }
    }
}

/// The name in a `host[:port]`.
fn host_name(host: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(host).ok()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&b);
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (address, if after.is_empty() { "" } else { after.strip_prefix(':')? })
        }
        None => {
            let (name, port) = text.split_once(':').unwrap_or((text, ""));
            (!name.is_empty() && name.bytes().all(plain)).then_some(())?;
            (name, port)
        }
    };
    let is_port = port.bytes().all(|b| b.is_ascii_digit()) && port.len() <= 5;
    (is_port && port.parse::<u32>().unwrap_or(0) <= 65535).then_some(name)
}

/// A page in a browser is not this machine's user: whatever name it was loaded from, that name is
/// in `Host` (DNS rebinding) or `Origin` (a request across sites).
pub(super) fn check_origin(
    head: &http::request::Parts,
    settings: &HttpSettings,
) -> Result<(), Error> {
    let host = head.uri.host().map(str::as_bytes);
    let host = host.or_else(|| head.headers.get(HOST).map(|host| host.as_bytes()));
    let foreign = match host {
        Some(host) if !host_name(host).is_some_and(|name| is_local(name, settings)) => Some("Host"),
        _ => head
            .headers
            .get_all(ORIGIN)
            .iter()
            .any(|origin| !is_local_origin(origin.as_bytes(), settings))
            .then_some("Origin"),
    };
    match foreign {
        None => Ok(()),
        Some(field) => Err(Error::new(
            ErrorKind::Forbidden,
            format!(
                "this node listens on loopback only, and {field} names something else; list it with --allow-host if it is meant to"
            ),
        )),
    }
}

/// What a browser adds, and what a proxy adds: neither is a node on this machine, whatever address
/// the connection comes from.
pub(super) fn check_direct(head: &http::request::Parts) -> Result<(), Error> {
    let indirect = head.headers.keys().map(http::HeaderName::as_str).find(|name| {
        matches!(*name, "origin" | "forwarded" | "via" | "x-real-ip")
            || name.starts_with("x-forwarded-")
            || name.starts_with("sec-fetch-")
    });
    match indirect {
        None => Ok(()),
        Some(field) => Err(Error::new(
            ErrorKind::Forbidden,
            format!(
                "nobody is served here through a browser or a proxy, and {field} says that this came through one"
            ),
        )),
    }
}

/// As [`check_origin`], for the private API reached at this address of this machine.
pub(super) fn check_host_is_here(
    head: &http::request::Parts,
    at: Option<std::net::IpAddr>,
    settings: &HttpSettings,
) -> Result<(), Error> {
    let host = head.headers.get(HOST).and_then(|host| host_name(host.as_bytes()));
    let host = head.uri.host().or(host);
    let here = |name: &str| {
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let address = name.parse::<std::net::IpAddr>().ok();
        (address.is_some() && address.map(|ip| ip.to_canonical()) == at) || is_local(name, settings)
    };
    // HTTP/1.0 may go without one.
    if host.is_none_or(here) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Forbidden,
        "only this very machine is served here, and Host names something else; list it with --allow-host if it is meant to",
    ))
}

fn is_local_origin(origin: &[u8], settings: &HttpSettings) -> bool {
    let text = std::str::from_utf8(origin).unwrap_or_default();
    let host = text.split_once("://").map(|(_, host)| host.as_bytes());
    host.and_then(host_name).is_some_and(|name| is_local(name, settings))
}

fn is_local(name: &str, settings: &HttpSettings) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    if is("localhost") || name == "127.0.0.1" {
        return true;
    }
    let is_allowed = settings.allow_hosts.iter().any(|host| allowed_name(host).is_some_and(is));
    if let Ok(address) = name.parse::<std::net::IpAddr>() {
        return address.is_loopback() || is_allowed;
    }
    let below_localhost = name.len() > 10
        && name.get(name.len() - 10..).is_some_and(|end| end.eq_ignore_ascii_case(".localhost"));
    below_localhost || is_allowed || rustix::system::uname().nodename().to_str().is_ok_and(is)
}

/// The name in what the settings allow, a host or an origin: scheme and port say nothing, as those of
/// a request say nothing about who asks.
pub(crate) fn allowed_name(host: &str) -> Option<&str> {
    let authority = host.split_once("://").map_or(host, |(_, authority)| authority);
    match authority.parse::<std::net::Ipv6Addr>() {
        Ok(_) => Some(authority),
        Err(_) => host_name(authority.as_bytes()).filter(|name| !name.contains('*')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names() {
        for good in ["a", "a:80", "127.0.0.1:10999", "[::1]", "[::1]:80", "localhost:"] {
            assert!(host_name(good.as_bytes()).is_some(), "{good}");
        }
        for bad in
            ["", ":80", "a:b", "a:99999", "a b", "a/b", "u@h", "[::1", "[x]", "[::1]x", "a,b/"]
        {
            assert!(host_name(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
