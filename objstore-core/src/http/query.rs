use objstore_client::Error;
use percent_encoding::percent_decode_str;

use super::request;

/// The first value of a name in the query, decoded once.
pub(super) fn value(head: &http::request::Parts, name: &str) -> Option<String> {
    head.uri.query()?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| percent_decode_str(value).decode_utf8_lossy().into_owned())
    })
}

/// A time in milliseconds; one that is beyond any number counts as the longest.
pub(super) fn millis(text: &str) -> Result<u64, Error> {
    number(text).ok_or_else(|| request::invalid("wait is a number of milliseconds"))
}

/// The number of things on a page; one that is beyond any number counts as the greatest.
pub(super) fn limit(text: &str) -> Result<usize, Error> {
    let limit = number(text).filter(|limit| *limit > 0);
    let limit = limit.ok_or_else(|| request::invalid("limit is a number from 1 up"))?;
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Digits as a number, or the greatest there is.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}
