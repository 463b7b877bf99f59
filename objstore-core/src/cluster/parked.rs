//! Records from the future: kept until their time has come.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use objstore_client::Error;
use objstore_client::types::ObjectId;

use crate::journal::{Change, Record};
use crate::node::Inner;

/// Records that are kept; what comes beyond is brought again by the next comparison.
const KEPT: usize = 10_000;

/// What came from nodes whose clocks are ahead. Taken on early, their stamps would beat everything
/// that is written until then.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    records: Mutex<BTreeMap<ObjectId, Record>>,
}

impl Parked {
    fn records(&self) -> MutexGuard<'_, BTreeMap<ObjectId, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn park(&self, record: Record) {
        let mut records = self.records();
        let record = match records.remove(&record.id) {
            Some(known) => known.merge(record),
            None => record,
        };
        if records.len() < KEPT {
            records.insert(record.id, record);
        } else {
            tracing::warn!(id = %record.id, "too many records from the future; this one is asked for again later");
        }
    }

    /// Those whose time has come.
    fn take(&self, is_beyond: impl Fn(u64) -> bool) -> Vec<Record> {
        let mut records = self.records();
        let due = records.extract_if(.., |_, record| !is_beyond(record.stamp.time));
        due.map(|(_, record)| record).collect()
    }
}

impl Inner {
    /// Takes on records of other nodes, which are durable when this returns; those from the future
    /// are parked.
    pub(crate) async fn merge(&self, records: Vec<Record>) -> Result<(), Error> {
        let (beyond, records): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|record| self.is_beyond(record.stamp.time));
        if let Some(first) = beyond.first() {
            tracing::warn!(id = %first.id, records = beyond.len(), "another node's clock is far ahead; what it wrote is kept aside until its time has come");
        }
        for record in beyond {
            self.cluster.parked.park(record);
        }
        if records.is_empty() {
            return Ok(());
        }
        self.commit(Change::Merge(records)).await.map(drop)
    }

    /// Takes on what was parked and is due.
    pub(super) async fn unpark(&self) {
        let due = self.cluster.parked.take(|time| self.is_beyond(time));
        if due.is_empty() {
            return;
        }
        if let Err(error) = self.merge(due.clone()).await {
            tracing::warn!(%error, "records whose time has come could not be taken on yet");
            for record in due {
                self.cluster.parked.park(record);
            }
        }
    }
}
