use std::fmt;

use objstore_client::types::{Level, ObjectId};

use crate::bodies::{file_path, verify_inline};
use crate::journal::{
    Horizon, Intents, JournalStore, NodeId, Presence, Space, StoreError, body_key, decode_entry,
    encode_record,
};

/// A record as a journal has it, for tests that compare journals.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeenRecord {
    /// Whose it is.
    pub id: ObjectId,
    /// The time in its stamp, in nanoseconds since the Unix epoch.
    pub time: u64,
    /// The node that made the version.
    pub node: NodeId,
    /// What every node has to have alike, as bytes.
    pub record: Vec<u8>,
    /// What it says of an object that is not deleted.
    pub live: Option<SeenLive>,
    /// Whether a body that nothing but this node vouches for is here.
    pub held: bool,
    /// The file that it is in, if it is in one.
    pub file: Option<String>,
    /// Whether a body that is in the journal is there and whole.
    pub sound: bool,
}

impl fmt::Debug for SeenRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { time, node, live, held, .. } = self;
        let sum = blake3::hash(&self.record).to_hex();
        write!(f, "{time} of {node}, held {held}, {live:?}, {}", sum.get(..8).unwrap_or_default())
    }
}

/// What a record says of an object that is not deleted.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeenLive {
    /// Its level.
    pub level: Level,
    /// The BLAKE3 of its body, where that is known.
    pub digest: Option<[u8; 32]>,
    /// Whether the remote has confirmed it.
    pub confirmed: bool,
}

impl fmt::Debug for SeenLive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, digest, confirmed } = self;
        let sum = digest.map(|digest| blake3::Hash::from_bytes(digest).to_hex());
        let sum = sum.as_ref().and_then(|hex| hex.get(..8)).unwrap_or_default();
        write!(f, "level {level}, body {sum}, confirmed {confirmed}")
    }
}

/// All records of a journal, in order of their ids. Blocks.
///
/// # Errors
/// [`StoreError`].
pub fn seen_records(store: &dyn JournalStore) -> Result<Vec<SeenRecord>, StoreError> {
    let pairs = store.scan(Space::Records, None, usize::MAX)?;
    pairs.iter().map(|(_, value)| seen(store, value)).collect()
}

/// What is yet to be done in the remote, one line each. Blocks.
///
/// # Errors
/// [`StoreError`].
pub fn seen_waiting(store: &dyn JournalStore) -> Result<Vec<String>, StoreError> {
    let intents = Intents::load(store)?;
    let pending = intents.pending.iter();
    let pending = pending.map(|v| format!("{} of {} is pending", v.record.id, v.record.stamp.time));
    let queued = intents.queued.iter();
    let queued = queued.map(|(id, upload)| match &upload.refused {
        None => format!("{id} of {} is queued", upload.stamp.time),
        Some(why) => format!("{id} of {} is refused: {why}", upload.stamp.time),
    });
    let begun = intents.begun.iter().map(|begun| format!("{} is begun", begun.key));
    Ok(pending.chain(queued).chain(begun).collect())
}

/// Up to which times deletes are forgotten and known here. Blocks.
///
/// # Errors
/// [`StoreError`].
pub fn seen_horizon(store: &dyn JournalStore) -> Result<String, StoreError> {
    let horizon = Horizon::load(store)?;
    Ok(format!("forgotten before {}, known before {}", horizon.collected, horizon.covered))
}

fn seen(store: &dyn JournalStore, value: &[u8]) -> Result<SeenRecord, StoreError> {
    let entry = decode_entry(value)?;
    let record = &entry.record;
    let live = record.live.as_ref().map(|live| SeenLive {
        level: live.level,
        digest: live.digest,
        confirmed: live.remote_etag.is_some(),
    });
    let held = entry.presence.is_held();
    let sound = match entry.presence {
        Presence::Inline => store
            .get(Space::Bodies, &body_key(record.id, record.stamp))?
            .is_some_and(|body| verify_inline(record, &body).is_some()),
        _ => true,
    };
    Ok(SeenRecord {
        id: record.id,
        time: record.stamp.time,
        node: NodeId::from_u128(record.stamp.node),
        record: encode_record(record).to_vec(),
        live,
        held,
        file: matches!(entry.presence, Presence::File { .. })
            .then(|| file_path(record.id, record.stamp)),
        sound,
    })
}
