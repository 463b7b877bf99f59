//! Ranges (RFC 9110 §14) and conditional requests (§13), of a body that lies in the journal and of
//! one that lies in a file and spans several units.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used)]

mod support;

use std::ops::Range;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::{Ask, Reply, Running, Wire, find, pattern};

const UNIT: usize = 64 * 1024;
const PAST: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const FUTURE: &str = "Fri, 31 Dec 2060 23:59:59 GMT";

/// Bodies of which something is worth asking: tiny, up to one unit, and beyond.
const LENGTHS: [usize; 6] = [1, 10, UNIT, UNIT + 1, 2 * UNIT, 3 * UNIT + 4321];

async fn ranged(node: &Running, id: &str, range: &str) -> Reply {
    node.ask(Ask::get(id).field("Range", range)).await
}

/// Insists on a single part with these bytes.
#[track_caller]
fn is_part(reply: &Reply, body: &[u8], range: Range<usize>) {
    assert_eq!(reply.status, 206, "{reply:?}");
    let expected = format!("bytes {}-{}/{}", range.start, range.end - 1, body.len());
    assert_eq!(reply.must("content-range"), expected);
    assert_eq!(reply.must("content-length"), range.len().to_string());
    assert!(reply.body == body[range], "other bytes than {expected}");
}

/// Insists on the whole body.
#[track_caller]
fn is_whole(reply: &Reply, body: &[u8]) {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.header("content-range").is_none(), "{reply:?}");
    assert_eq!(reply.must("content-length"), body.len().to_string());
    assert!(reply.body == body, "not the whole body");
}

/// The parts of a multipart/byteranges answer (RFC 9110 §14.6, RFC 2046 §5.1.1): the type, the
/// range it says it is, the size it names, and its bytes.
fn parts(reply: &Reply) -> Vec<(String, Range<usize>, usize, Vec<u8>)> {
    assert_eq!(reply.status, 206, "{reply:?}");
    assert!(reply.header("content-range").is_none(), "only the parts have ranges: {reply:?}");
    assert_eq!(reply.must("content-length"), reply.body.len().to_string());
    let kind = reply.must("content-type");
    let boundary = kind
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap_or_else(|| panic!("not multipart/byteranges: {kind}"))
        .trim_matches('"');
    assert!(!boundary.is_empty() && boundary.len() <= 70 && !boundary.ends_with(' '));
    let delimiter = format!("--{boundary}");
    let mut rest = reply.body.as_slice();
    // A first delimiter may or may not have a line end before it.
    rest = rest.strip_prefix(b"\r\n").unwrap_or(rest);
    let mut parts = Vec::new();
    loop {
        rest = rest.strip_prefix(delimiter.as_bytes()).expect("a delimiter");
        if let Some(end) = rest.strip_prefix(b"--") {
            assert!(end.is_empty() || end == b"\r\n", "something behind the last delimiter");
            return parts;
        }
        rest = rest.strip_prefix(b"\r\n").expect("a line end behind the delimiter");
        let head_end = find(rest, b"\r\n\r\n").expect("an empty line behind the part's head");
        let head = std::str::from_utf8(&rest[..head_end]).unwrap();
        rest = &rest[head_end + 4..];
        let field = |wanted: &str| {
            head.lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                .map(|(_, value)| value.trim().to_owned())
                .unwrap_or_else(|| panic!("no {wanted} in the head of a part: {head}"))
        };
        let content_range = field("content-range");
        let (first_last, size) =
            content_range.strip_prefix("bytes ").unwrap().split_once('/').unwrap();
        let (first, last) = first_last.split_once('-').unwrap();
        let range: Range<usize> = first.parse().unwrap()..last.parse::<usize>().unwrap() + 1;
        let bytes = rest[..range.len()].to_vec();
        rest = rest[range.len()..].strip_prefix(b"\r\n").expect("a line end behind the bytes");
        parts.push((field("content-type"), range, size.parse().unwrap(), bytes));
    }
}

// ------------------------------------------------------------------------------------------ ranges

#[tokio::test]
async fn a_range_from_one_position_to_another() {
    let node = Running::start().await;
    for len in LENGTHS {
        let body = pattern(len);
        let id = node.stored(&body).await;
        let borders = [0, 1, 5, UNIT - 1, UNIT, UNIT + 1, 2 * UNIT - 1, 2 * UNIT, len - 1];
        let inside: Vec<usize> = borders.into_iter().filter(|place| *place < len).collect();
        for first in &inside {
            for last in inside.iter().filter(|last| *last >= first) {
                let reply = ranged(&node, &id, &format!("bytes={first}-{last}")).await;
                is_part(&reply, &body, *first..last + 1);
            }
            let past = ranged(&node, &id, &format!("bytes={first}-{}", len + 7)).await;
            is_part(&past, &body, *first..len);
        }
    }
}

#[tokio::test]
async fn a_range_from_a_position_to_the_end() {
    let node = Running::start().await;
    for len in LENGTHS {
        let body = pattern(len);
        let id = node.stored(&body).await;
        for first in [0, 3, UNIT - 1, UNIT, UNIT + 1, 2 * UNIT, len - 1] {
            if first < len {
                let reply = ranged(&node, &id, &format!("bytes={first}-")).await;
                is_part(&reply, &body, first..len);
            }
        }
        let past = ranged(&node, &id, &format!("bytes={len}-")).await;
        past.is_error(416, "range-not-satisfiable");
        assert_eq!(past.must("content-range"), format!("bytes */{len}"));
    }
}

#[tokio::test]
async fn a_range_of_the_last_bytes() {
    let node = Running::start().await;
    for len in LENGTHS {
        let body = pattern(len);
        let id = node.stored(&body).await;
        for last in [1, 5, UNIT - 1, UNIT, UNIT + 1, len, len + 1, 10 * len] {
            let reply = ranged(&node, &id, &format!("bytes=-{last}")).await;
            is_part(&reply, &body, len.saturating_sub(last)..len);
        }
        let none = ranged(&node, &id, "bytes=-0").await;
        none.is_error(416, "range-not-satisfiable");
        assert_eq!(none.must("content-range"), format!("bytes */{len}"));
    }
}

#[tokio::test]
async fn a_part_carries_the_headers_of_the_whole() {
    let node = Running::start().await;
    let id = node.fresh_id();
    let put = Ask::put(&id).field("X-Meta-Name", "test.txt").body(b"It works!");
    node.ask(put).await;
    let whole = node.ask(Ask::get(&id)).await;
    let part = ranged(&node, &id, "bytes=3-7").await;
    is_part(&part, b"It works!", 3..8);
    for name in [
        "etag",
        "last-modified",
        "content-type",
        "accept-ranges",
        "x-meta-id",
        "x-meta-name",
        "x-meta-consistencylevel",
        "x-content-type-options",
    ] {
        assert_eq!(part.must(name), whole.must(name), "{name}");
    }
}

#[tokio::test]
async fn a_range_unit_is_read_in_any_case() {
    let node = Running::start().await;
    let body = pattern(100);
    let id = node.stored(&body).await;
    for unit in ["bytes", "Bytes", "BYTES"] {
        is_part(&ranged(&node, &id, &format!("{unit}=10-19")).await, &body, 10..20);
    }
}

#[tokio::test]
async fn a_few_disjoint_ranges_come_as_parts() {
    let node = Running::start().await;
    for len in [200, UNIT, 3 * UNIT + 4321] {
        let body = pattern(len);
        let id = node.fresh_id();
        node.ask(Ask::put(&id).field("X-Meta-Name", "a.txt").body(&body)).await;
        let middle = len / 2;
        let cases = [
            ("bytes=0-1,10-19".to_owned(), vec![0..2, 10..20]),
            (
                format!("bytes=0-0,{middle}-{},-3", middle + 9),
                vec![0..1, middle..middle + 10, len - 3..len],
            ),
            (format!("bytes=0-9, {middle}-"), vec![0..10, middle..len]),
            (format!("bytes=0-9 ,{middle}-{}", len + 99), vec![0..10, middle..len]),
            (format!("bytes=,0-9,,{middle}-,"), vec![0..10, middle..len]),
        ];
        for (range, expected) in cases {
            let reply = ranged(&node, &id, &range).await;
            let parts = parts(&reply);
            let ranges: Vec<Range<usize>> = parts.iter().map(|part| part.1.clone()).collect();
            assert_eq!(ranges, expected, "Range: {range}");
            for (kind, place, size, bytes) in parts {
                assert_eq!(kind, "text/plain; charset=utf-8");
                assert_eq!(size, len);
                assert!(bytes == body[place.clone()], "other bytes in {place:?} of {range}");
            }
            for name in ["etag", "last-modified", "accept-ranges", "x-content-type-options"] {
                assert!(reply.header(name).is_some(), "{name}: {reply:?}");
            }
        }
    }
}

#[tokio::test]
async fn parts_across_unit_borders_hold_the_right_bytes() {
    let node = Running::start().await;
    let body = pattern(5 * UNIT + 100);
    let id = node.stored(&body).await;
    let range = format!("bytes=0-0,{}-{},{}-{},-200", UNIT - 1, UNIT, 2 * UNIT - 10, 4 * UNIT + 10);
    let parts = parts(&ranged(&node, &id, &range).await);
    let expected =
        [0..1, UNIT - 1..UNIT + 1, 2 * UNIT - 10..4 * UNIT + 11, body.len() - 200..body.len()];
    assert_eq!(parts.len(), expected.len());
    for ((_, place, size, bytes), expected) in parts.into_iter().zip(expected) {
        assert_eq!((&place, size), (&expected, body.len()));
        assert!(bytes == body[expected]);
    }
}

#[tokio::test]
async fn ranges_that_miss_are_left_out_while_one_hits() {
    let node = Running::start().await;
    let body = pattern(100);
    let id = node.stored(&body).await;
    let two = parts(&ranged(&node, &id, "bytes=0-1,500-600,90-").await);
    assert_eq!(two.iter().map(|part| part.1.clone()).collect::<Vec<_>>(), [0..2, 90..100]);
    // With one left, RFC 9110 §15.3.7 allows either form.
    let one = ranged(&node, &id, "bytes=500-600,5-9").await;
    if one.header("content-range").is_some() {
        is_part(&one, &body, 5..10);
    } else {
        let parts = parts(&one);
        assert_eq!((parts.len(), &parts[0].1, &parts[0].3[..]), (1, &(5..10), &body[5..10]));
    }
}

#[tokio::test]
async fn a_range_belongs_to_gets_of_objects_only() {
    let node = Running::start().await;
    let id = node.stored(b"0123456789").await;
    let put = node.ask(Ask::put(&id).field("Range", "bytes=0-1").body(b"9876543210")).await;
    assert_eq!(put.status, 200);
    is_whole(&node.ask(Ask::get(&id)).await, b"9876543210");
    let meta = Ask::new("GET", &format!("/api/v1/meta/{id}")).field("Range", "bytes=0-1");
    let meta = node.ask(meta).await;
    assert_eq!((meta.status, &meta.json()["size"]), (200, &serde_json::json!(10)));
}

#[tokio::test]
async fn head_equals_get_without_the_body_under_ranges_and_conditions() {
    let node = Running::start().await;
    let id = node.stored(&pattern(100_000)).await;
    let tag = node.ask(Ask::get(&id)).await.must("etag").to_owned();
    for (name, value) in [
        ("If-None-Match", tag.as_str()),
        ("If-None-Match", "\"other\""),
        ("If-Match", "\"other\""),
        ("If-Match", &tag),
        ("If-Modified-Since", FUTURE),
        ("If-Modified-Since", PAST),
        ("If-Unmodified-Since", PAST),
        ("If-Unmodified-Since", FUTURE),
    ] {
        let got = node.ask(Ask::get(&id).field(name, value)).await;
        let mut wire = node.connect().await;
        let head = wire.ask(&Ask::get(&id).method("HEAD").field(name, value)).await;
        assert_eq!(head.status, got.status, "{name}: {value}");
        assert!(head.body.is_empty());
        for field in ["etag", "last-modified", "x-meta-id"] {
            assert_eq!(head.header(field), got.header(field), "{field} under {name}: {value}");
        }
        assert_eq!(wire.ask(&Ask::new("GET", "/api/v1/id")).await.status, 200);
    }
}

// ---------------------------------------------------------------------------------------- If-Range

#[tokio::test]
async fn a_range_of_another_version_gets_the_whole() {
    let node = Running::start().await;
    for len in [100, 200_000] {
        let body = pattern(len);
        let id = node.stored(&body).await;
        let tag = node.ask(Ask::get(&id)).await.must("etag").to_owned();
        let asked =
            |value: &str| Ask::get(&id).field("Range", "bytes=10-19").field("If-Range", value);
        is_part(&node.ask(asked(&tag)).await, &body, 10..20);
        for other in [
            "\"other\"",
            &format!("W/{tag}"),
            tag.trim_matches('"'),
            &format!("{tag}, {tag}"),
            "*",
            "",
            "nonsense",
            PAST,
            FUTURE,
        ] {
            let reply = node.ask(asked(other)).await;
            is_whole(&reply, &body);
        }
        // The range is not even looked at when the version is another.
        let past = Ask::get(&id).field("Range", "bytes=999999-").field("If-Range", "\"other\"");
        is_whole(&node.ask(past).await, &body);
        let past = Ask::get(&id).field("Range", "bytes=999999-").field("If-Range", &tag);
        assert_eq!(node.ask(past).await.status, 416);
        // If-Range without Range says nothing.
        is_whole(&node.ask(Ask::get(&id).field("If-Range", "\"other\"")).await, &body);

        // After an overwrite the old tag is of another version.
        let new = pattern(len + 5);
        node.ask(Ask::put(&id).body(&new)).await;
        is_whole(&node.ask(asked(&tag)).await, &new);
    }
}

#[tokio::test]
async fn a_date_in_if_range_counts_only_when_it_is_exact() {
    let node = Running::start().await;
    let body = pattern(100);
    let id = node.stored(&body).await;
    let date = node.ask(Ask::get(&id)).await.must("last-modified").to_owned();
    let ask = Ask::get(&id).field("Range", "bytes=10-19").field("If-Range", &date);
    let reply = node.ask(ask).await;
    // RFC 9110 §13.1.5: within the second of the change a date is a weak validator and may not
    // match.
    match reply.status {
        206 => is_part(&reply, &body, 10..20),
        _ => is_whole(&reply, &body),
    }
}

// -------------------------------------------------------------------------------------- conditions

#[tokio::test]
async fn a_copy_that_is_current_is_not_sent_again() {
    let node = Running::start().await;
    for len in [0, 10, 200_000] {
        let id = node.stored(&pattern(len)).await;
        let got = node.ask(Ask::get(&id)).await;
        let tag = got.must("etag").to_owned();
        for tags in [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"other\", {tag}"),
            format!("\"a,b\" , W/{tag},\"c\""),
            "*".to_owned(),
        ] {
            let mut wire = node.connect().await;
            let reply = wire.ask(&Ask::get(&id).field("If-None-Match", &tags)).await;
            assert_eq!(reply.status, 304, "If-None-Match: {tags}: {reply:?}");
            assert_eq!(reply.must("etag"), tag);
            assert!(reply.body.is_empty());
            let length = reply.header("content-length");
            assert!(
                length.is_none_or(|length| length == len.to_string()),
                "a 304 names the length of the 200 or none: {reply:?}"
            );
            // Were a body sent after all, it would be read as the head of this answer.
            assert_eq!(wire.ask(&Ask::new("GET", "/api/v1/id")).await.status, 200);
        }
        for tags in ["\"other\"", "\"a\", \"b\"", &format!("\"x{}\"", tag.trim_matches('"'))] {
            let reply = node.ask(Ask::get(&id).field("If-None-Match", tags)).await;
            assert_eq!(reply.status, 200, "If-None-Match: {tags}");
        }
        // Two lines of one list are one list (RFC 9110 §5.3).
        let lines = Ask::get(&id).field("If-None-Match", "\"other\"").field("If-None-Match", &tag);
        assert_eq!(node.ask(lines).await.status, 304);
    }
}

#[tokio::test]
async fn an_older_copy_is_sent_again_by_date() {
    let node = Running::start().await;
    let id = node.stored(b"hello").await;
    let date = node.ask(Ask::get(&id)).await.must("last-modified").to_owned();
    for (since, status) in [
        (date.as_str(), 304),
        (FUTURE, 304),
        (PAST, 200),
        // The two obsolete forms that RFC 9110 §5.6.7 obliges recipients to read.
        ("Sunday, 06-Nov-94 08:49:37 GMT", 200),
        ("Sun Nov  6 08:49:37 1994", 200),
    ] {
        let reply = node.ask(Ask::get(&id).field("If-Modified-Since", since)).await;
        assert_eq!(reply.status, status, "If-Modified-Since: {since}");
        if status == 304 {
            assert!(reply.header("etag").is_some() && reply.body.is_empty());
        }
    }
    for (since, status) in [
        (date.as_str(), 200),
        (FUTURE, 200),
        (PAST, 412),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 412),
        ("Sun Nov  6 08:49:37 1994", 412),
    ] {
        let reply = node.ask(Ask::get(&id).field("If-Unmodified-Since", since)).await;
        assert_eq!(reply.status, status, "If-Unmodified-Since: {since}");
    }
}

#[tokio::test]
async fn a_read_can_insist_on_a_version() {
    let node = Running::start().await;
    let id = node.stored(b"hello").await;
    let tag = node.ask(Ask::get(&id)).await.must("etag").to_owned();
    for tags in [tag.clone(), format!("\"other\", {tag}"), "*".to_owned()] {
        let reply = node.ask(Ask::get(&id).field("If-Match", &tags)).await;
        assert_eq!(reply.status, 200, "If-Match: {tags}");
    }
    for tags in ["\"other\"", "\"a\", \"b\"", &format!("W/{tag}")] {
        let reply = node.ask(Ask::get(&id).field("If-Match", tags)).await;
        reply.is_error(412, "precondition-failed");
    }
}

/// The fields of a conditional request and the answer that RFC 9110 §13.2.2 demands.
type Precedence<'a> = (&'a [(&'a str, &'a str)], u16);

#[tokio::test]
async fn conditions_are_judged_in_the_order_of_the_rfc() {
    let node = Running::start().await;
    let body = pattern(100);
    let id = node.stored(&body).await;
    let tag = node.ask(Ask::get(&id)).await.must("etag").to_owned();
    let range = ("Range", "bytes=10-19");
    let past_end = ("Range", "bytes=100-");
    let cases: &[Precedence<'_>] = &[
        // 1: If-Match decides, and If-Unmodified-Since is ignored beside it.
        (&[("If-Match", &tag), ("If-Unmodified-Since", PAST)], 200),
        (&[("If-Match", "\"x\""), ("If-Unmodified-Since", FUTURE)], 412),
        // 2: If-Unmodified-Since alone.
        (&[("If-Unmodified-Since", PAST)], 412),
        // 3: If-None-Match decides, and If-Modified-Since is ignored beside it.
        (&[("If-None-Match", &tag), ("If-Modified-Since", PAST)], 304),
        (&[("If-None-Match", "\"x\""), ("If-Modified-Since", FUTURE)], 200),
        // 1 and 2 come before 3 and 4.
        (&[("If-Match", "\"x\""), ("If-None-Match", &tag)], 412),
        (&[("If-None-Match", &tag), ("If-Match", "\"x\"")], 412),
        (&[("If-Match", &tag), ("If-None-Match", &tag)], 304),
        (&[("If-Match", &tag), ("If-None-Match", "\"x\"")], 200),
        (&[("If-Unmodified-Since", PAST), ("If-None-Match", &tag)], 412),
        (&[("If-Unmodified-Since", PAST), ("If-Modified-Since", FUTURE)], 412),
        (&[("If-Unmodified-Since", FUTURE), ("If-Modified-Since", FUTURE)], 304),
        (&[("If-Unmodified-Since", FUTURE), ("If-Modified-Since", PAST)], 200),
        // 5: ranges come last.
        (&[("If-Match", "\"x\""), range], 412),
        (&[("If-None-Match", &tag), range], 304),
        (&[("If-Modified-Since", FUTURE), range], 304),
        (&[("If-Match", &tag), range], 206),
        (&[("If-None-Match", "\"x\""), range], 206),
        (&[("If-Match", "\"x\""), past_end], 412),
        (&[("If-None-Match", &tag), past_end], 304),
        (&[("If-Match", &tag), past_end], 416),
        (&[("If-Match", "\"x\""), range, ("If-Range", &tag)], 412),
        (&[("If-None-Match", &tag), range, ("If-Range", &tag)], 304),
        (&[("If-Match", &tag), range, ("If-Range", &tag)], 206),
        (&[("If-Match", &tag), range, ("If-Range", "\"x\"")], 200),
    ];
    for (fields, status) in cases {
        let ask = fields.iter().fold(Ask::get(&id), |ask, (name, value)| ask.field(name, value));
        let reply = node.ask(ask).await;
        assert_eq!(reply.status, *status, "{fields:?}: {reply:?}");
        match status {
            200 => is_whole(&reply, &body),
            206 => is_part(&reply, &body, 10..20),
            304 => assert_eq!(reply.must("etag"), tag),
            412 => reply.is_error(412, "precondition-failed"),
            _ => assert_eq!(reply.must("content-range"), "bytes */100"),
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found_under_any_condition() {
    // RFC 9110 §13.2.1: conditions are ignored where the answer without them would be an error.
    let node = Running::start().await;
    let unknown = node.fresh_id();
    let deleted = node.stored(b"hello").await;
    let tag = node.ask(Ask::get(&deleted)).await.must("etag").to_owned();
    node.ask(Ask::get(&deleted).method("DELETE")).await;
    for (name, value) in [
        ("If-None-Match", "*"),
        ("If-None-Match", tag.as_str()),
        ("If-Modified-Since", FUTURE),
        ("Range", "bytes=0-1"),
    ] {
        for id in [&unknown, &deleted] {
            let reply = node.ask(Ask::get(id).field(name, value)).await;
            assert_eq!(reply.status, 404, "{name}: {value}: {reply:?}");
        }
    }
}

// ---------------------------------------------------------------------------------------- property

/// One range of a Range field as RFC 9110 §14.1.2 reads it; positions saturate.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Spec {
    FromTo(u128, u128),
    From(u128),
    Last(u128),
}

impl Spec {
    fn read(text: &str) -> Option<Self> {
        let number = |digits: &str| -> Option<u128> {
            let good = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            good.then(|| digits.parse().unwrap_or(u128::MAX))
        };
        let (first, last) = text.split_once('-')?;
        match (first, last) {
            ("", last) => Some(Self::Last(number(last)?)),
            (first, "") => Some(Self::From(number(first)?)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::FromTo(first, last))
            }
        }
    }

    /// Both positions are beyond 64 bits: clamped they are equal, so which is greater may go
    /// unnoticed.
    fn is_beyond(text: &str) -> bool {
        let beyond = |digits: &str| {
            digits.bytes().all(|b| b.is_ascii_digit())
                && digits.parse::<u64>().is_err()
                && !digits.is_empty()
        };
        text.split_once('-').is_some_and(|(first, last)| beyond(first) && beyond(last))
    }

    fn within(self, size: usize) -> Option<Range<usize>> {
        let size = size as u128;
        let (start, end) = match self {
            Self::FromTo(first, last) => (first, size.min(last.saturating_add(1))),
            Self::From(first) => (first, size),
            Self::Last(count) => (size - size.min(count), size),
        };
        (start < end).then(|| usize::try_from(start).unwrap()..usize::try_from(end).unwrap())
    }
}

/// What a Range field means.
#[derive(Debug)]
enum Meaning {
    /// None that can be read: it is ignored.
    Nothing,
    /// These, in the order asked.
    Ranges(Vec<Spec>),
    /// White space where the grammar has none, or numbers that no position has: reading it
    /// leniently and ignoring it are both fine.
    Doubtful,
}

fn meaning(field: &str) -> Meaning {
    let Some((unit, set)) = field.split_once('=') else { return Meaning::Nothing };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Meaning::Nothing;
    }
    let blank = |c: char| c == ' ' || c == '\t';
    let doubtful = unit.contains(blank) || set.starts_with(blank) || set.ends_with(blank);
    let mut specs = Vec::new();
    for element in set.split(',') {
        let element = element.trim_matches(blank);
        if element.is_empty() {
            // RFC 9110 §5.6.1.2: empty elements are skipped.
            continue;
        }
        if element.contains(blank) || Spec::is_beyond(element) {
            return Meaning::Doubtful;
        }
        match Spec::read(element) {
            Some(spec) => specs.push(spec),
            None => return Meaning::Nothing,
        }
    }
    if doubtful {
        Meaning::Doubtful
    } else if specs.is_empty() {
        Meaning::Nothing
    } else {
        Meaning::Ranges(specs)
    }
}

/// Judges an answer against the meaning of its Range field.
fn judge(field: &str, body: &[u8], reply: &Reply) {
    let size = body.len();
    let told = match reply.status {
        200 => {
            is_whole(reply, body);
            None
        }
        416 => {
            assert_eq!(reply.must("content-range"), format!("bytes */{size}"));
            Some(Vec::new())
        }
        206 if reply.header("content-range").is_some() => {
            let range = reply.must("content-range").to_owned();
            let (place, named) = range.strip_prefix("bytes ").unwrap().split_once('/').unwrap();
            assert_eq!(named, size.to_string());
            let (first, last) = place.split_once('-').unwrap();
            let place = first.parse().unwrap()..last.parse::<usize>().unwrap() + 1;
            is_part(reply, body, place.clone());
            Some(vec![place])
        }
        206 => {
            let parts = parts(reply);
            for (_, place, named, bytes) in &parts {
                assert_eq!(*named, size);
                assert!(*bytes == body[place.clone()], "other bytes in {place:?}");
            }
            Some(parts.into_iter().map(|part| part.1).collect())
        }
        other => panic!("status {other} to Range: {field:?}"),
    };
    let specs = match meaning(field) {
        Meaning::Nothing => {
            assert!(told.is_none(), "Range: {field:?} is none and was followed: {reply:?}");
            return;
        }
        Meaning::Doubtful => return,
        Meaning::Ranges(specs) => specs,
    };
    let hits: Vec<Range<usize>> = specs.iter().filter_map(|spec| spec.within(size)).collect();
    let beyond = |number: u128| number > u128::from(u64::MAX);
    let huge = specs.iter().any(|spec| match *spec {
        Spec::FromTo(first, last) => beyond(first) || beyond(last),
        Spec::From(number) | Spec::Last(number) => beyond(number),
    });
    if huge && told.as_ref().is_some_and(Vec::is_empty) {
        return; // "clamped or 416"
    }
    let overlap = hits
        .iter()
        .enumerate()
        .any(|(place, a)| hits.iter().skip(place + 1).any(|b| a.start < b.end && b.start < a.end));
    match (told, specs.len()) {
        (Some(told), _) if hits.is_empty() => {
            assert!(told.is_empty(), "Range: {field:?} hits nothing: {reply:?}");
        }
        (told, 1) => assert_eq!(told, Some(hits), "Range: {field:?}"),
        (Some(told), _) => {
            assert!(!overlap, "overlapping ranges get the whole: {field:?}");
            assert_eq!(told, hits, "Range: {field:?}");
        }
        (None, count) => {
            assert!(overlap || count > 4, "a few disjoint ranges are served as parts: {field:?}")
        }
    }
}

/// Positions where something changes, near them, and anywhere, far beyond the end included.
fn position() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0_u64..=4, -2_i64..=2).prop_map(|(unit, off)| {
            (unit * UNIT as u64).saturating_add_signed(off).to_string()
        }),
        3 => (0_u64..12).prop_map(|place| place.to_string()),
        3 => (0_u64..250_000).prop_map(|place| place.to_string()),
        1 => any::<u64>().prop_map(|place| place.to_string()),
        1 => "[0-9]{18,25}",
    ]
}

/// One range, mostly in form.
fn spec() -> impl Strategy<Value = String> {
    prop_oneof![
        5 => (position(), position()).prop_map(|(a, b)| {
            let swap = a.len() > b.len() || (a.len() == b.len() && a > b);
            if swap { format!("{b}-{a}") } else { format!("{a}-{b}") }
        }),
        2 => position().prop_map(|first| format!("{first}-")),
        2 => position().prop_map(|last| format!("-{last}")),
        1 => (position(), position()).prop_map(|(a, b)| format!("{a}-{b}")),
        1 => "[0-9a-z+. \\-]{0,8}",
    ]
}

/// A Range field: mostly a list of ranges, sometimes anything printable.
fn field() -> impl Strategy<Value = String> {
    let unit = prop_oneof![9 => Just("bytes="), 1 => Just("Bytes="), 1 => Just("items=")];
    let comma = prop_oneof![3 => Just(","), 1 => Just(", "), 1 => Just(" ,"), 1 => Just(",,")];
    let listed = (unit, comma, prop::collection::vec(spec(), 0..5))
        .prop_map(|(unit, comma, specs)| format!("{unit}{}", specs.join(comma)));
    prop_oneof![
        12 => listed,
        1 => "bytes=[ -~]{0,20}",
        1 => "[!-~]{0,20}",
    ]
}

#[test]
fn any_range_field_is_answered_as_the_rfc_reads_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let lengths = [0, 1, 9, UNIT - 1, UNIT, UNIT + 1, 3 * UNIT + 4321];
    let bodies: Vec<Vec<u8>> = lengths.into_iter().map(pattern).collect();
    let (_node, ids, wire) = runtime.block_on(async {
        let node = Running::start().await;
        let mut ids = Vec::new();
        for body in &bodies {
            ids.push(node.stored(body).await);
        }
        let wire: Wire = node.connect().await;
        (node, ids, wire)
    });
    let wire = std::cell::RefCell::new(wire);
    let config = Config { cases: 2000, failure_persistence: None, ..Config::default() };
    let case = (field(), 0..bodies.len());
    let result = TestRunner::new(config).run(&case, |(field, which)| {
        let ask = Ask::get(&ids[which]).field("Range", &field);
        let reply = runtime.block_on(wire.borrow_mut().ask(&ask));
        // White space around a field value is not part of it (RFC 9110 §5.5).
        judge(field.trim_matches([' ', '\t']), &bodies[which], &reply);
        Ok(())
    });
    if let Err(why) = result {
        panic!("{why}");
    }
}
