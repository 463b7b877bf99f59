//! Not yet heard of is not absent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use objstore_client::types::ObjectId;
use objstore_client::{Error, ErrorKind};
use tokio::sync::Mutex as AsyncMutex;

use crate::cache::Hot;
use crate::node::Inner;

/// An announce of an id that is older than this has long come, or was made good.
const YOUNG_MS: u64 = 60_000;
/// The longest that peers are waited for.
const WAIT: Duration = Duration::from_secs(2);

/// Objects whose records are asked for at a time.
const TURNS: usize = 32;

/// Keeps many readers of one object from asking for its record each.
#[derive(Debug)]
pub(super) struct Asking(Vec<Turn>);

#[derive(Debug, Default)]
struct Turn {
    /// Questions begun.
    begun: AtomicU64,
    last: AsyncMutex<Option<Asked>>,
}

/// The last question, by its number, and whether all peers answered.
#[derive(Clone, Copy, Debug)]
struct Asked {
    number: u64,
    id: ObjectId,
    all_answered: bool,
}

impl Default for Asking {
    fn default() -> Self {
        Self((0..TURNS).map(|_| Turn::default()).collect())
    }
}

impl Inner {
    /// The newest version of an object that this node or, if this one may not have heard of it
    /// yet, another knows.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when nothing is known, and that cannot be relied upon.
    pub(crate) async fn lookup_anywhere(
        &self,
        id: ObjectId,
        with_body: bool,
    ) -> Result<Option<Arc<Hot>>, Error> {
        if let Some(hot) = self.lookup(id, with_body).await? {
            return Ok(Some(hot));
        }
        let now = self.env.clock.wall_nanos() / 1_000_000;
        let is_young = id.timestamp_ms().saturating_add(YOUNG_MS) > now;
        let has_synced = self.has_synced();
        if id.is_derived() || (has_synced && !is_young) {
            return Ok(None);
        }
        let all_answered = self.ask_record(id).await? && !self.cluster.peers.live().is_empty();
        let found = self.lookup(id, with_body).await?;
        if found.is_none() && !has_synced && !all_answered {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "this node has yet to hear what the others know, and they do not answer; try again",
            )
            .with_retry_after(Duration::from_secs(1)));
        }
        Ok(found)
    }

    /// Takes on what the live peers know of an object; whether all of them answered. Readers that
    /// come while one asks share the next question: that one is too old for them.
    pub(crate) async fn ask_record(&self, id: ObjectId) -> Result<bool, Error> {
        let [.., low] = id.to_bytes();
        let turns = &self.cluster.asking.0;
        let Some(turn) = turns.get(usize::from(low) % TURNS) else { return Ok(false) };
        let came = turn.begun.load(Ordering::Acquire);
        let mut last = turn.last.lock().await;
        if let Some(asked) = last.filter(|asked| asked.id == id && asked.number > came) {
            return Ok(asked.all_answered);
        }
        let number = turn.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let all_answered = self.ask_all(id).await?;
        *last = Some(Asked { number, id, all_answered });
        Ok(all_answered)
    }

    async fn ask_all(&self, id: ObjectId) -> Result<bool, Error> {
        let peers = self.cluster.peers.live();
        if peers.is_empty() {
            return Ok(true);
        }
        let asked = peers.iter().map(async |peer| {
            let answer = tokio::time::timeout(WAIT, self.ask_records(peer, &[id])).await;
            answer.ok().and_then(Result::ok).map(|(_, records)| records)
        });
        let mut all_answered = true;
        let mut known = Vec::new();
        for answer in join_all(asked).await {
            match answer {
                Some(records) => known.extend(records),
                None => all_answered = false,
            }
        }
        if !known.is_empty() {
            self.merge(known).await?;
        }
        Ok(all_answered)
    }
}
