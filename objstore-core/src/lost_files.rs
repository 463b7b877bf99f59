//! A files directory that is lost, while the journal beside it is not: what was in it comes from
//! other nodes and the bucket, or from nowhere.

use std::sync::Arc;

use bytes::Bytes;

use crate::env;
use crate::journal::{
    Batch, Change, Entry, JournalStore, Note, Presence, Space, StoreError, versions_after,
};
use crate::node::Inner;
use crate::ops::journal_error;
use objstore_client::Error;

/// In the journal from the start that was told of it until nothing counts on those files any more.
const NOTE: &[u8] = b"lost-files";

/// Notes that all files are lost. Blocks.
pub(crate) fn note(store: &dyn JournalStore) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    batch.put(Space::Meta, NOTE, Bytes::new());
    store.commit(&batch)
}

impl Inner {
    /// Has the journal say of bodies in lost files that they are elsewhere; those of level 2 are then
    /// brought back in the background. Nothing where none are lost.
    pub(crate) async fn let_lost_files_go(&self) -> Result<(), Error> {
        let store = Arc::clone(&self.store);
        let noted = move || store.get(Space::Meta, NOTE);
        let noted = env::run(self.env.blocking.as_ref(), noted).await?.map_err(journal_error)?;
        if noted.is_none() {
            return Ok(());
        }
        let mut bodies = 0;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let (store, from) = (Arc::clone(&self.store), after.take());
            let page = env::run(self.env.blocking.as_ref(), move || {
                let is_lost = |entry: &Entry| matches!(entry.presence, Presence::File { .. });
                versions_after(store.as_ref(), from.as_deref(), is_lost)
            });
            let (lost, last) = page.await?.map_err(journal_error)?;
            bodies += lost.len();
            if !lost.is_empty() {
                self.commit(Change::Lose(lost)).await?;
            }
            if last.is_none() {
                break;
            }
            after = last;
        }
        self.commit(Change::Note(vec![Note::new(NOTE, None)])).await?;
        tracing::warn!(
            bodies,
            "the files of these bodies are lost; what other nodes or the bucket have comes from there"
        );
        Ok(())
    }
}
