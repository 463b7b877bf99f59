use percent_encoding::percent_decode_str;

/// The first value of a name in the query, decoded once.
pub(super) fn value(head: &http::request::Parts, name: &str) -> Option<String> {
    head.uri.query()?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| percent_decode_str(value).decode_utf8_lossy().into_owned())
    })
}
