//! A record as the metadata of its object in the bucket, and back.
//!
//! The names are those of the original Go program (`id`, `name`, `size`, `timestamp`,
//! `consistency`, `usermeta-…`), so that each reads what the other wrote. Ours besides: `stamp`,
//! `blake3`, and `usermeta`, a JSON object for user metadata that headers would not bring back as
//! it was. Where `stamp` is, values are percent-encoded.

use std::collections::BTreeMap;

use objstore_client::types::{ETag, Level, ObjectId, ObjectName, UserMeta};
use objstore_client::{Error, ErrorKind};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::rules::is_token;
use super::store::{METADATA_MAX, RemoteAttributes, RemoteHead};
use crate::journal::{Live, Record, Stamp};

const ID: &str = "id";
const NAME: &str = "name";
const SIZE: &str = "size";
const TIMESTAMP: &str = "timestamp";
const CONSISTENCY: &str = "consistency";
const STAMP: &str = "stamp";
const BLAKE3: &str = "blake3";
const USER_META: &str = "usermeta";
const USER_META_PREFIX: &str = "usermeta-";

/// The stamp of what we did not write: below every other, so that it beats no put and no delete.
const LOWEST: Stamp = Stamp { time: 0, node: 0, boot: 0 };
/// The most bytes of a content type, coding or tag.
const FIELD_MAX: usize = 255;
/// What buckets say of an object whose type nobody gave.
const NO_TYPE: [&str; 2] = ["binary/octet-stream", "application/octet-stream"];
/// Besides these, all that is not ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// What is to be kept beside the body of a version.
///
/// # Errors
/// [`ErrorKind::InvalidUserMeta`] when name and user metadata do not fit into [`METADATA_MAX`].
pub(crate) fn to_attributes(record: &Record) -> Result<RemoteAttributes, Error> {
    let Some(live) = &record.live else {
        return Err(Error::new(ErrorKind::Internal, "a deleted object has nothing to upload"));
    };
    let mut metadata: BTreeMap<String, String> = [
        (ID, record.id.to_string()),
        (SIZE, live.size.to_string()),
        (TIMESTAMP, record.modified.to_string()),
        (CONSISTENCY, live.level.to_string()),
        (STAMP, stamp_text(record.stamp)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    // A header without a value may be lost on its way, and says no more than none.
    if !live.name.is_empty() {
        metadata.insert(NAME.to_owned(), encode(live.name.as_str()));
    }
    if let Some(digest) = live.digest {
        metadata.insert(BLAKE3.to_owned(), blake3::Hash::from_bytes(digest).to_hex().to_string());
    }
    let (single, is_all) = single_entries(&live.user_meta);
    let json = || (USER_META.to_owned(), encode(&live.user_meta.to_json()));
    let mut with_single = metadata.clone();
    with_single.extend(single);
    if !is_all {
        with_single.extend([json()]);
    }
    if byte_len(&with_single) <= METADATA_MAX {
        metadata = with_single;
    } else {
        // One entry is often shorter than many.
        metadata.extend([json()]);
    }
    let len = byte_len(&metadata);
    if len > METADATA_MAX {
        return Err(Error::new(
            ErrorKind::InvalidUserMeta,
            format!(
                "name and user metadata take {len} bytes of S3 metadata, with {METADATA_MAX} at most; shorten them, or put at level 0"
            ),
        ));
    }
    let (content_type, content_encoding) =
        (live.content_type.clone(), live.content_encoding.clone());
    Ok(RemoteAttributes { content_type, content_encoding, metadata })
}

/// User metadata of what is stored under a key of the user's, where other programs read it too: as
/// it is, so that only what S3 brings back as it was is taken.
///
/// # Errors
/// [`ErrorKind::InvalidUserMeta`].
pub(crate) fn plain_metadata(user_meta: &UserMeta) -> Result<BTreeMap<String, String>, Error> {
    let fits = |name: &str, value: &str| {
        !name.is_empty()
            && name.bytes().all(is_token)
            && !name.bytes().any(|b| b.is_ascii_uppercase())
            && value.bytes().all(|b| (0x20..0x7f).contains(&b))
            && value.trim() == value
            && !value.is_empty()
    };
    let plain: BTreeMap<_, _> =
        user_meta.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    if user_meta.iter().all(|(name, value)| fits(name, value)) && byte_len(&plain) <= METADATA_MAX {
        return Ok(plain);
    }
    Err(Error::new(
        ErrorKind::InvalidUserMeta,
        format!(
            "user metadata of a key has names of lower-case letters, digits and -, values of printable ASCII, and {METADATA_MAX} bytes at most"
        ),
    ))
}

/// The record of an object found in the bucket under this id: as we wrote it, as the original did,
/// or, of one that says nothing, nameless and with the lowest stamp.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when what is there cannot be an object of this id.
pub(crate) fn from_head(id: ObjectId, head: &RemoteHead) -> Result<Record, Error> {
    let metadata = &head.attributes.metadata;
    let get = |name: &str| metadata.get(name).map(String::as_str);
    if get(ID).is_some_and(|said| said.parse::<ObjectId>().ok() != Some(id)) {
        return Err(stranger("its metadata names another id"));
    }
    let stamp = get(STAMP).map(|text| parse_stamp(text).ok_or_else(|| stranger("a bad stamp")));
    let stamp = stamp.transpose()?;
    let read = |value: &str| match stamp {
        Some(_) => decode(value),
        // The original did not encode; what looks encoded was written so.
        None => Ok(value.to_owned()),
    };
    let name = get(NAME).map_or(Ok(String::new()), read)?;
    let name = ObjectName::new(&name).map_err(|e| stranger("a bad name").with_source(e))?;
    let user_meta = match get(USER_META).filter(|_| stamp.is_some()) {
        Some(json) => UserMeta::from_json(decode(json)?.as_bytes()),
        None => {
            let single = metadata.iter().filter_map(|(name, value)| {
                Some((name.strip_prefix(USER_META_PREFIX)?, read(value)))
            });
            let pairs: Result<Vec<_>, Error> =
                single.map(|(name, value)| Ok((name, value?))).collect();
            UserMeta::new(pairs?)
        }
    };
    let user_meta = user_meta.map_err(|e| stranger("bad user metadata").with_source(e))?;
    // A copy in the bucket is level 1, whatever it says.
    let level = get(CONSISTENCY).and_then(|text| text.parse().ok()).unwrap_or(Level::Remote);
    let modified = get(TIMESTAMP).and_then(|text| text.parse().ok()).unwrap_or(head.modified);
    let digest = match get(BLAKE3).filter(|_| stamp.is_some()) {
        Some(hex) => {
            let hash = blake3::Hash::from_hex(hex).map_err(|_| stranger("a bad digest"))?;
            Some(*hash.as_bytes())
        }
        None => None,
    };
    if head.etag.is_empty() || head.etag.len() > FIELD_MAX || ETag::new(&head.etag).is_err() {
        return Err(stranger("a bad tag"));
    }
    let content_type = field(head.attributes.content_type.as_deref());
    let live = Live {
        level: level.max(Level::Remote),
        size: head.size,
        digest,
        name,
        content_type: content_type.filter(|kind| !NO_TYPE.contains(&kind.as_str())),
        content_encoding: field(head.attributes.content_encoding.as_deref()),
        user_meta,
        remote_etag: Some(head.etag.clone()),
    };
    let mut record = Record::new(id, stamp.unwrap_or(LOWEST), modified, Some(Box::new(live)));
    record.in_remote = true;
    Ok(record)
}

/// The entries for single names that can be had, and whether they say all there is to say.
fn single_entries(user_meta: &UserMeta) -> (BTreeMap<String, String>, bool) {
    let (mut entries, mut is_all) = (BTreeMap::new(), true);
    for (name, value) in user_meta.iter() {
        if name.is_empty() || value.is_empty() || !name.bytes().all(is_token) {
            is_all = false;
            continue;
        }
        let folded = name.to_ascii_lowercase();
        is_all &= folded == name;
        // Of two names that fold to one the lower-case one comes last and stays.
        entries.insert(format!("{USER_META_PREFIX}{folded}"), encode(value));
    }
    (entries, is_all)
}

fn byte_len(metadata: &BTreeMap<String, String>) -> usize {
    metadata.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// Spaces at the ends are encoded too: a header loses them (RFC 9110 §5.5).
fn encode(value: &str) -> String {
    let inner = value.trim_matches(' ');
    let ahead = value.len() - value.trim_start_matches(' ').len();
    let behind = value.len() - ahead - inner.len();
    let spaces = |count: usize| "%20".repeat(count);
    format!("{}{}{}", spaces(ahead), utf8_percent_encode(inner, ENCODED), spaces(behind))
}

fn decode(value: &str) -> Result<String, Error> {
    let text = percent_decode_str(value).decode_utf8();
    text.map(Into::into).map_err(|e| stranger("metadata that is not UTF-8").with_source(e))
}

/// A stamp as text.
pub(crate) fn stamp_text(stamp: Stamp) -> String {
    format!("{:016x}-{:032x}-{:08x}", stamp.time, stamp.node, stamp.boot)
}

/// The stamp in a text, if it is one.
pub(crate) fn parse_stamp(text: &str) -> Option<Stamp> {
    let mut parts = text.split('-');
    let stamp = Stamp {
        time: u64::from_str_radix(parts.next()?, 16).ok()?,
        node: u128::from_str_radix(parts.next()?, 16).ok()?,
        boot: u32::from_str_radix(parts.next()?, 16).ok()?,
    };
    // One stamp, one spelling.
    (stamp_text(stamp) == text).then_some(stamp)
}

/// A field that may become a header of ours; left out when it may not.
fn field(text: Option<&str>) -> Option<String> {
    let fits = |text: &&str| {
        !text.is_empty()
            && text.len() <= FIELD_MAX
            && text.bytes().all(|b| (0x20..0x7f).contains(&b) || b == b'\t')
    };
    text.filter(fits).map(str::to_owned)
}

fn stranger(what: &'static str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("what the bucket has under this id is no object of objstore: {what}; put it again"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id() -> ObjectId {
        "01M8QZ4V6E3N5T7W9Y1A2B3C4D".parse().unwrap()
    }

    fn record(name: &str, user_meta: UserMeta) -> Record {
        let live = Live {
            level: Level::Full,
            size: 9,
            digest: Some([0xab; 32]),
            name: ObjectName::new(name).unwrap(),
            content_type: Some("text/x-test".to_owned()),
            content_encoding: Some("gzip".to_owned()),
            user_meta,
            remote_etag: None,
        };
        let stamp = Stamp { time: 0x1234, node: u128::MAX - 7, boot: 5 };
        Record::new(id(), stamp, 1_795_341_402_017_790_936, Some(Box::new(live)))
    }

    fn head(attributes: RemoteAttributes) -> RemoteHead {
        RemoteHead { size: 9, etag: "tag-1".to_owned(), modified: 77, attributes }
    }

    fn head_of(pairs: &[(&str, &str)]) -> RemoteHead {
        let metadata = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        head(RemoteAttributes { metadata, ..RemoteAttributes::default() })
    }

    fn user_meta(pairs: &[(&str, &str)]) -> UserMeta {
        UserMeta::new(pairs.iter().copied()).unwrap()
    }

    /// What a bucket gives back: header values trimmed, names in lower case.
    fn through_headers(mut attributes: RemoteAttributes) -> RemoteAttributes {
        for value in attributes.metadata.values() {
            assert!(value.bytes().all(|b| (0x20..0x7f).contains(&b)), "{value:?}");
            assert!(!value.is_empty());
        }
        let old = std::mem::take(&mut attributes.metadata);
        attributes.metadata = old
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        attributes
    }

    #[test]
    fn metadata_is_that_of_the_original_and_ours() {
        let record = record("test.txt", user_meta(&[("lang", "en"), ("note", "50% ö ")]));
        let metadata = to_attributes(&record).unwrap().metadata;
        let expected = [
            ("blake3", "ab".repeat(32)),
            ("consistency", "2".to_owned()),
            ("id", "01M8QZ4V6E3N5T7W9Y1A2B3C4D".to_owned()),
            ("name", "test.txt".to_owned()),
            ("size", "9".to_owned()),
            ("stamp", "0000000000001234-fffffffffffffffffffffffffffffff8-00000005".to_owned()),
            ("timestamp", "1795341402017790936".to_owned()),
            ("usermeta-lang", "en".to_owned()),
            ("usermeta-note", "50%25 %C3%B6%20".to_owned()),
        ];
        assert_eq!(metadata, expected.map(|(n, v)| (n.to_owned(), v)).into());
    }

    #[test]
    fn what_the_original_wrote_is_read_as_it_is() {
        let head = head_of(&[
            ("consistency", "1"),
            ("id", "01M8QZ4V6E3N5T7W9Y1A2B3C4D"),
            ("name", "100%25.txt"),
            ("size", "0"),
            ("timestamp", "1795341402017790936"),
            ("usermeta-author", "bob%20"),
            ("usermeta-lang", "en"),
            // Only ours mean something to us.
            ("usermeta", "{}"),
            ("blake3", "none"),
        ]);
        let record = from_head(id(), &head).unwrap();
        assert_eq!((record.stamp, record.modified), (LOWEST, 1_795_341_402_017_790_936));
        let live = record.live.unwrap();
        assert_eq!((live.name.as_str(), live.level, live.size), ("100%25.txt", Level::Remote, 9));
        assert_eq!(live.user_meta, user_meta(&[("author", "bob%20"), ("lang", "en")]));
        assert_eq!((live.digest, live.remote_etag.as_deref()), (None, Some("tag-1")));
    }

    #[test]
    fn a_foreign_object_has_neither_name_nor_stamp() {
        let mut head = head_of(&[("owner", "someone")]);
        head.attributes.content_type = Some("binary/octet-stream".to_owned());
        let record = from_head(id(), &head).unwrap();
        assert_eq!((record.stamp, record.modified), (LOWEST, 77));
        let live = record.live.unwrap();
        assert!(live.name.is_empty() && live.user_meta.is_empty());
        assert_eq!((live.level, live.content_type), (Level::Remote, None));
    }

    #[test]
    fn a_level_is_never_below_one() {
        for (said, level) in [("0", 1), ("1", 1), ("2", 2), ("3", 1), ("abc", 1), ("", 1)] {
            let record = from_head(id(), &head_of(&[("consistency", said)])).unwrap();
            assert_eq!(u8::from(record.live.unwrap().level), level, "{said:?}");
        }
    }

    #[test]
    fn what_cannot_be_ours_is_refused() {
        let stamp = ("stamp", "0000000000001234-fffffffffffffffffffffffffffffff8-00000005");
        let long = "n".repeat(1025);
        for pairs in [
            vec![("id", "01BRNMMS1DK3CBD4ZZM2TQ8C5B")],
            vec![("id", "")],
            vec![("id", "../../etc/passwd")],
            vec![("name", "a\nb")],
            vec![("name", &long)],
            vec![("stamp", "")],
            vec![("stamp", "1-2-3")],
            vec![("stamp", "+000000000001234-fffffffffffffffffffffffffffffff8-00000005")],
            vec![("stamp", "0000000000001234-fffffffffffffffffffffffffffffff8-00000005-0")],
            vec![stamp, ("name", "%0A")],
            vec![stamp, ("name", "%FF")],
            vec![stamp, ("usermeta", "[]")],
            vec![stamp, ("usermeta", "%")],
            vec![stamp, ("blake3", "abcd")],
        ] {
            let error = from_head(id(), &head_of(&pairs)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{pairs:?}");
        }
        for etag in ["", "a\"b", "a\nb", &"e".repeat(256)] {
            let head = RemoteHead { etag: etag.to_owned(), ..head_of(&[]) };
            assert!(from_head(id(), &head).is_err(), "{etag:?}");
        }
        let lower = head_of(&[("id", "01m8qz4v6e3n5t7w9y1a2b3c4d")]);
        assert!(from_head(id(), &lower).is_ok());
    }

    #[test]
    fn names_that_headers_fold_come_back_as_they_were() {
        for pairs in [
            vec![("Author", "bob"), ("lang", "en")],
            vec![("a", "1"), ("A", "2")],
            vec![("with space", "1")],
            vec![("", "1")],
            vec![("empty", "")],
            vec![("größe", "1")],
        ] {
            let user_meta = user_meta(&pairs);
            let written = to_attributes(&record("", user_meta.clone())).unwrap();
            assert!(written.metadata.contains_key("usermeta"), "{pairs:?}");
            let read = from_head(id(), &head(through_headers(written))).unwrap();
            assert_eq!(read.live.unwrap().user_meta, user_meta);
        }
        let written = to_attributes(&record("", user_meta(&[("Author", "bob")]))).unwrap();
        assert_eq!(written.metadata.get("usermeta-author").map(String::as_str), Some("bob"));
    }

    #[test]
    fn too_much_is_refused_with_its_length_and_single_entries_give_way() {
        let big = |len: usize| record("", user_meta(&[("Key", &"v".repeat(len))]));
        let written = to_attributes(&big(1000)).unwrap().metadata;
        assert!(!written.contains_key("usermeta-key") && written.contains_key("usermeta"));
        let empty = byte_len(&to_attributes(&record("", UserMeta::default())).unwrap().metadata);
        let most = METADATA_MAX - empty - "usermeta{\"Key\":\"\"}".len();
        assert_eq!(byte_len(&to_attributes(&big(most)).unwrap().metadata), METADATA_MAX);
        let error = to_attributes(&big(most + 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidUserMeta);
        assert!(error.to_string().contains("2049 bytes"), "{error}");
        let tombstone = Record { live: None, ..big(1) };
        assert!(to_attributes(&tombstone).is_err());
    }

    proptest! {
        #[test]
        fn what_we_write_we_read(
            name in "\\PC{0,40}| {0,2}[a%ö ]{0,10} {0,2}",
            pairs in proptest::collection::vec(
                ("[aAbB]{1,2}|[a-z-]{0,6}|\\PC{0,4}", "[ -~]{0,12}|(?s).{0,6}"), 0..6),
            digest in proptest::option::of(any::<[u8; 32]>()),
            kind in proptest::option::of("[a-z]{1,5}/[a-z]{1,5}"),
        ) {
            let mut record = record(&name, UserMeta::new(pairs).unwrap());
            let live = record.live.as_mut().unwrap();
            (live.digest, live.content_type) = (digest, kind);
            let written = to_attributes(&record).unwrap();
            crate::remote::rules::check_attributes(&written).unwrap();
            let read = from_head(record.id, &head(through_headers(written))).unwrap();
            record.live.as_mut().unwrap().remote_etag = Some("tag-1".to_owned());
            prop_assert_eq!(read, record);
        }

        #[test]
        fn nothing_in_a_bucket_makes_it_panic(
            metadata in proptest::collection::btree_map(
                "id|name|stamp|blake3|usermeta|usermeta-[a-c]|consistency", "(?s).{0,80}", 0..8),
            etag in "(?s).{0,9}",
        ) {
            let attributes = RemoteAttributes { metadata, ..RemoteAttributes::default() };
            let _ = from_head(id(), &RemoteHead { etag, ..head(attributes) });
        }
    }
}
