//! The `Range` field (RFC 9110 §14.2).

use std::ops::Range;

use objstore_client::options::ByteRange;

/// More ranges than this are answered with the whole object.
const RANGES_MAX: usize = 16;

/// What a `Range` field comes to for a body of known size.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ranges {
    /// The field is to be ignored.
    Whole,
    One(Range<u64>),
    /// Disjoint, two or more.
    Several(Vec<Range<u64>>),
    /// No byte of it exists.
    None,
}

impl Ranges {
    /// The first range of a field, before the size is known.
    pub(super) fn first(field: &[u8]) -> Option<ByteRange> {
        parse(field)?.first().copied()
    }

    /// An unknown unit, a malformed field, too many ranges, or ranges that overlap all mean the
    /// whole object; ranges past the end of several are left out.
    pub(super) fn of(field: &[u8], size: u64) -> Self {
        let Some(specs) = parse(field) else { return Self::Whole };
        if specs.len() > RANGES_MAX {
            return Self::Whole;
        }
        let mut ranges: Vec<Range<u64>> =
            specs.iter().filter_map(|spec| spec.within(size)).collect();
        match ranges.len() {
            0 => Self::None,
            1 => ranges.pop().map_or(Self::None, Self::One),
            _ => {
                let mut sorted = ranges.clone();
                sorted.sort_by_key(|range| range.start);
                let overlap = sorted.windows(2).any(|pair| match pair {
                    [a, b] => b.start < a.end,
                    _ => false,
                });
                if overlap { Self::Whole } else { Self::Several(ranges) }
            }
        }
    }
}

/// The ranges of a well-formed field in bytes.
fn parse(field: &[u8]) -> Option<Vec<ByteRange>> {
    let text = std::str::from_utf8(field).ok()?;
    let (unit, set) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    // RFC 9110 §5.6.1.2: empty elements of a list are to be tolerated.
    let specs: Option<Vec<_>> =
        set.split(',').map(str::trim).filter(|spec| !spec.is_empty()).map(parse_spec).collect();
    specs.filter(|specs| !specs.is_empty())
}

fn parse_spec(spec: &str) -> Option<ByteRange> {
    let (first, last) = spec.split_once('-')?;
    match (first, last) {
        ("", last) => Some(ByteRange::Last(position(last)?)),
        (first, "") => Some(ByteRange::From(position(first)?)),
        (first, last) => {
            let (first, last) = (position(first)?, position(last)?);
            (first <= last).then_some(ByteRange::FromTo(first, last))
        }
    }
}

/// Digits only; a number beyond 64 bits lies past every end.
fn position(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_to_what_the_rfc_says() {
        let of = |field: &str| Ranges::of(field.as_bytes(), 10);
        assert_eq!(of("bytes=3-7"), Ranges::One(3..8));
        assert_eq!(of("bytes=3-"), Ranges::One(3..10));
        assert_eq!(of("bytes=-3"), Ranges::One(7..10));
        assert_eq!(of("BYTES=-30"), Ranges::One(0..10));
        assert_eq!(of("bytes=3-99999999999999999999999"), Ranges::One(3..10));
        assert_eq!(of("bytes=99999999999999999999999-"), Ranges::None);
        assert_eq!(of("bytes=10-"), Ranges::None);
        assert_eq!(of("bytes=-0"), Ranges::None);
        assert_eq!(of("bytes=0-1, 4-5"), Ranges::Several(vec![0..2, 4..6]));
        assert_eq!(of("bytes=0-1,20-"), Ranges::One(0..2));
        assert_eq!(of("bytes=0-5,4-6"), Ranges::Whole);
        for odd in [
            "",
            "bytes",
            "bytes=",
            "lines=1-2",
            "bytes=a-b",
            "bytes=5-3",
            "bytes=+1-2",
            "bytes=1-2-3",
            "bytes=-",
            "bytes=0x1-2",
        ] {
            assert_eq!(of(odd), Ranges::Whole, "{odd}");
        }
        assert_eq!(of(&format!("bytes={}", "0-0,".repeat(1000))), Ranges::Whole);
        assert_eq!(Ranges::of(b"bytes=0-", 0), Ranges::None);
    }
}
