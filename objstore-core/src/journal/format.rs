//! How records lie in the journal. Described in `docs/formats.md`; fixtures in `tests/formats.rs`.

use bytes::Bytes;
use objstore_client::types::{Level, ObjectId, UserMeta};

use super::record::{Entry, Presence, Record};
use super::stamp::Stamp;
use super::store::{JournalStore, Space, StoreError};

/// The first byte of every stored value; a greater one is of a newer program.
const VERSION: u8 = 1;
/// The key of the counters in [`super::Space::Meta`].
pub(super) const COUNTERS_KEY: &[u8] = b"counters";
/// Bounds of what other nodes say.
const EXTRA_MAX: usize = 16 * 1024;
const FIELD_MAX: usize = 1024;
const SIZE_MAX: u64 = 1 << 50;
const GARBAGE: &[u8] = b"garbage/";

/// The key of an object's record.
pub(crate) fn entry_key(id: ObjectId) -> [u8; 16] {
    id.to_bytes()
}

/// The object that the key of a record is of.
pub(crate) fn entry_id(key: &[u8]) -> Result<ObjectId, StoreError> {
    let id = key.try_into().ok().and_then(|bytes| ObjectId::from_bytes(bytes).ok());
    id.ok_or_else(|| StoreError::Damaged("the key of a record is no id".to_owned()))
}

/// The key of a small body: of this very version, so that an overwrite never touches bytes that a
/// reader of the old version still wants.
pub(crate) fn body_key(id: ObjectId, stamp: Stamp) -> Bytes {
    [id.to_bytes().as_slice(), stamp.to_bytes().as_slice()].concat().into()
}

/// The key that says: this version's body file is to be removed.
pub(super) fn garbage_key(id: ObjectId, stamp: Stamp) -> Bytes {
    [GARBAGE, id.to_bytes().as_slice(), stamp.to_bytes().as_slice()].concat().into()
}

pub(crate) fn garbage_prefix() -> &'static [u8] {
    GARBAGE
}

/// The version in what follows the prefix.
pub(crate) fn garbage_version(key: &[u8]) -> Option<(ObjectId, Stamp)> {
    let (id, stamp) = key.split_at_checked(16)?;
    let id = ObjectId::from_bytes(id.try_into().ok()?).ok()?;
    Some((id, Stamp::from_bytes(stamp.try_into().ok()?)))
}

pub(super) fn encode_entry(record: &Record, presence: Presence) -> Bytes {
    encode(&(presence, record))
}

/// The record in an entry, as [`encode_record`] writes it.
pub(crate) fn record_of(entry: &[u8]) -> Result<Bytes, StoreError> {
    let (_, record): (Presence, &[u8]) =
        postcard::take_from_bytes(value(entry)?).map_err(undecodable)?;
    Ok([&[VERSION], record].concat().into())
}

pub(crate) fn decode_entry(bytes: &[u8]) -> Result<Entry, StoreError> {
    let (presence, record): (Presence, Record) = decode(bytes)?;
    Ok(Entry::new(record, presence))
}

/// What is cached of a key: its name in the bucket beside the record.
pub(super) fn encode_key_entry(key: &str, record: &Record) -> Bytes {
    encode(&(key, record))
}

/// The newest version of an object, or of what is cached under a key. Blocks.
pub(crate) fn load_entry(
    store: &dyn JournalStore,
    id: ObjectId,
) -> Result<Option<Entry>, StoreError> {
    if !id.is_derived() {
        let value = store.get(Space::Records, &entry_key(id))?;
        return value.map(|bytes| decode_entry(&bytes)).transpose();
    }
    let value = store.get(Space::Keys, &entry_key(id))?;
    value.map(|bytes| decode_key_entry(&bytes)).transpose()
}

pub(crate) fn decode_key_entry(bytes: &[u8]) -> Result<Entry, StoreError> {
    let (key, record): (String, Record) = decode(bytes)?;
    Ok(Entry::of_key(record, key.into()))
}

/// A record alone, as body files carry it.
pub(crate) fn encode_record(record: &Record) -> Bytes {
    encode(record)
}

/// A record as another node sent it, if these are its bytes to the last bit and it is one that a put
/// or delete could have made. What a newer program keeps besides is passed on.
pub(crate) fn decode_foreign(bytes: &[u8]) -> Result<Record, StoreError> {
    let record: Record = decode(bytes)?;
    let refused = |why: &str| Err(StoreError::Damaged(why.to_owned()));
    if record.id.is_derived() {
        return refused("a key of the bucket is no matter of other nodes");
    }
    if record.in_remote != record.may_be_in_remote() || record.extra.len() > EXTRA_MAX {
        return refused("a record contradicts itself");
    }
    if let Some(live) = &record.live {
        let meta_max = match live.level {
            Level::Local => UserMeta::MAX_LOCAL_LEN,
            _ => UserMeta::MAX_REMOTE_LEN,
        };
        let too_many = live.user_meta.iter().count() > UserMeta::MAX_PAIRS;
        let fields = [&live.content_type, &live.content_encoding, &live.remote_etag];
        let is_field =
            |text: &String| text.len() <= FIELD_MAX && !text.chars().any(char::is_control);
        if live.user_meta.byte_len() > meta_max || too_many {
            return refused("a record has more user metadata than a put may give");
        }
        if live.size > SIZE_MAX || !fields.into_iter().flatten().all(is_field) {
            return refused("a record has what no header may carry");
        }
    }
    // There is more than one way to write a number.
    if encode_record(&record) != bytes {
        return refused("a record is written in an unusual way");
    }
    Ok(record)
}

pub(crate) fn decode_record(bytes: &[u8]) -> Result<Record, StoreError> {
    decode(bytes)
}

pub(crate) fn encode<T: serde::Serialize>(value: &T) -> Bytes {
    // Postcard fails only for types whose length is not known beforehand; ours all are.
    postcard::to_extend(value, vec![VERSION]).unwrap_or_default().into()
}

pub(crate) fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(value(bytes)?).map_err(undecodable)
}

/// What follows the version.
fn value(bytes: &[u8]) -> Result<&[u8], StoreError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => Ok(rest),
        Some((newer, _)) => Err(StoreError::Damaged(format!(
            "a record has format {newer}, this program reads up to {VERSION}"
        ))),
        None => Err(StoreError::Damaged("an empty record".to_owned())),
    }
}

// By value, as `map_err` hands it over.
#[allow(clippy::needless_pass_by_value)]
fn undecodable(error: postcard::Error) -> StoreError {
    StoreError::Damaged(format!("a record does not decode: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_in_an_entry_is_as_it_would_be_written_alone() {
        let id: ObjectId = "01KB0000000000000000000000".parse().unwrap();
        let record = Record::new(id, Stamp { time: 300, node: 7, boot: 1 }, 300, None);
        let presences = [
            Presence::Absent,
            Presence::Inline,
            Presence::File { physical: 1 << 40 },
            Presence::Cached,
        ];
        for presence in presences {
            let entry = encode_entry(&record, presence);
            assert_eq!(record_of(&entry).unwrap(), encode_record(&record));
            assert_eq!(decode_entry(&entry).unwrap().presence, presence);
        }
        assert!(record_of(&[VERSION, 9, 9]).is_err() && record_of(&[VERSION + 1]).is_err());
    }
}
