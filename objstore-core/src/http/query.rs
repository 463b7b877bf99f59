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

/// The number of things on a page; one that is beyond any number counts as the greatest.
pub(super) fn limit(text: &str) -> Result<usize, Error> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let limit = is_number.then(|| text.parse().unwrap_or(usize::MAX)).filter(|limit| *limit > 0);
    limit.ok_or_else(|| request::invalid("limit is a number from 1 up"))
}
