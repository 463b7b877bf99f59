use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::error::{RemoteError, RemoteErrorKind};
use super::store::{
    RemoteAttributes, RemoteCondition, RemoteFuture, RemoteGet, RemoteHead, RemoteList,
    RemoteObject, RemotePage, RemotePart, RemoteStore, RemoteUpload,
};

/// A remote, and whether it answers.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    store: Arc<dyn RemoteStore>,
    reach: Arc<Reach>,
}

/// What the last call of a remote met, if it was of no use. A remote that was not called yet counts as reachable.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    error: Mutex<Option<String>>,
}

impl Reach {
    /// What the last call met, if it was not answered, or was not let.
    pub(crate) fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, error: Option<String>) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}

impl Watched {
    pub(crate) fn new(store: Arc<dyn RemoteStore>) -> (Self, Arc<Reach>) {
        let reach = Arc::<Reach>::default();
        (Self { store, reach: Arc::clone(&reach) }, reach)
    }

    fn watch<'a, T: 'a>(&'a self, call: RemoteFuture<'a, T>) -> RemoteFuture<'a, T> {
        let mut asked = Asked { reach: &self.reach, answered: false };
        Box::pin(async move {
            let answer = call.await;
            asked.answer(answer.as_ref().err());
            answer
        })
    }
}

/// A call under way. One that is given up was not answered: mostly because it took too long, seldom
/// because nobody waits any more, and then the next call says better.
struct Asked<'a> {
    reach: &'a Reach,
    answered: bool,
}

impl Asked<'_> {
    fn answer(&mut self, error: Option<&RemoteError>) {
        self.answered = true;
        let unanswered = error.filter(|error| {
            matches!(
                error.kind(),
                RemoteErrorKind::Unavailable
                    | RemoteErrorKind::Throttled
                    | RemoteErrorKind::Forbidden
            )
        });
        self.reach.set(unanswered.map(ToString::to_string));
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.reach.set(Some("the bucket did not answer in time".to_owned()));
        }
    }
}

impl RemoteStore for Watched {
    fn identity(&self) -> String {
        self.store.identity()
    }

    fn is_elsewhere(&self) -> bool {
        self.store.is_elsewhere()
    }

    fn get<'a>(&'a self, key: &'a str, get: RemoteGet) -> RemoteFuture<'a, RemoteObject> {
        self.watch(self.store.get(key, get))
    }

    fn head<'a>(&'a self, key: &'a str) -> RemoteFuture<'a, RemoteHead> {
        self.watch(self.store.head(key))
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        body: Bytes,
        attributes: &'a RemoteAttributes,
        condition: RemoteCondition,
    ) -> RemoteFuture<'a, String> {
        self.watch(self.store.put(key, body, attributes, condition))
    }

    fn begin<'a>(
        &'a self,
        key: &'a str,
        attributes: &'a RemoteAttributes,
    ) -> RemoteFuture<'a, String> {
        self.watch(self.store.begin(key, attributes))
    }

    fn put_part<'a>(
        &'a self,
        key: &'a str,
        upload: &'a str,
        number: u32,
        body: Bytes,
    ) -> RemoteFuture<'a, String> {
        self.watch(self.store.put_part(key, upload, number, body))
    }

    fn complete<'a>(
        &'a self,
        key: &'a str,
        upload: &'a str,
        parts: &'a [RemotePart],
        condition: RemoteCondition,
    ) -> RemoteFuture<'a, String> {
        self.watch(self.store.complete(key, upload, parts, condition))
    }

    fn abort<'a>(&'a self, key: &'a str, upload: &'a str) -> RemoteFuture<'a, ()> {
        self.watch(self.store.abort(key, upload))
    }

    fn uploads<'a>(&'a self, prefix: &'a str) -> RemoteFuture<'a, Vec<RemoteUpload>> {
        self.watch(self.store.uploads(prefix))
    }

    fn delete<'a>(&'a self, key: &'a str, condition: RemoteCondition) -> RemoteFuture<'a, ()> {
        self.watch(self.store.delete(key, condition))
    }

    fn copy<'a>(
        &'a self,
        from: &'a str,
        to: &'a str,
        attributes: Option<&'a RemoteAttributes>,
        condition: RemoteCondition,
    ) -> RemoteFuture<'a, String> {
        self.watch(self.store.copy(from, to, attributes, condition))
    }

    fn list(&self, list: RemoteList) -> RemoteFuture<'_, RemotePage> {
        self.watch(self.store.list(list))
    }
}
